"""Downloads over HTTPS: bounded in size and time, never by way of plain HTTP."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from holdfast.artifacts.errors import Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.artifacts.report import Report

_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0  # without a byte
_TOTAL_SECONDS = 1800.0
_REDIRECTS = 5
_BLOCK = 1024 * 1024


def download(url: str, target: BinaryIO, *, max_bytes: int, report: Report) -> None:
    """Write what `url` gives to `target`.

    Raises Unavailable if it does not come in full, Rejected if it is larger than `max_bytes` or
    the way leads through anything but HTTPS, OSError if it cannot be written.
    """
    deadline = time.monotonic() + _TOTAL_SECONDS
    with requests.Session() as session, _open(session, url) as response:
        announced = response.headers.get("Content-Length", "")
        total = int(announced) if announced.isdigit() else None
        if total is not None and total > max_bytes:
            raise _too_large(url, max_bytes)
        done = 0
        for block in _blocks(url, response):
            done += len(block)
            if done > max_bytes:
                raise _too_large(url, max_bytes)
            if time.monotonic() > deadline:
                raise Unavailable(f"{url} did not end within {_TOTAL_SECONDS:.0f} s")
            target.write(block)
            report.progress(url.rsplit("/", 1)[-1], done, total)


@contextmanager
def _open(session: requests.Session, url: str) -> Iterator[requests.Response]:
    """Follow redirects by hand, so that each one is looked at before it is asked."""
    here = url
    for _ in range(_REDIRECTS + 1):
        try:
            response = session.get(
                here,
                stream=True,
                allow_redirects=False,
                timeout=(_CONNECT_SECONDS, _SILENCE_SECONDS),
                headers={"Accept-Encoding": "identity"},
            )
        except requests.RequestException as error:
            raise Unavailable(f"{here} was not reached: {_reason(error)}") from error
        with response:
            if not response.is_redirect:
                if response.status_code != requests.codes.ok:
                    raise Unavailable(f"{here} answered {response.status_code} {response.reason}")
                yield response
                return
            there = urljoin(here, response.headers["Location"])
        if urlsplit(there).scheme != "https":
            raise Rejected(
                f"{here} leads to {there}, which is not HTTPS; "
                "find the publisher's present address and correct it in the manifest."
            )
        here = there
    raise Unavailable(f"{url} redirects more than {_REDIRECTS} times")


def _blocks(url: str, response: requests.Response) -> Iterator[bytes]:
    """The bytes as sent. urllib3 raises when they are fewer than announced."""
    try:
        yield from response.raw.stream(_BLOCK, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable(f"{url} broke off: {error}") from error


def _too_large(url: str, max_bytes: int) -> Rejected:
    return Rejected(
        f"{url} is larger than the {max_bytes // 1024**2} MiB that the manifest allows; "
        "find out why, and raise max_mib only if it is right."
    )


def _reason(error: BaseException) -> str:
    """The innermost cause, without the library's wrapping."""
    text = str(error)
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # one is there
        text = str(error) or text
    return text
