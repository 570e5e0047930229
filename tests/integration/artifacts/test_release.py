"""The publisher's source: what is fetched, and what is refused without leaving a file behind."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import threading
import zipfile
from typing import TYPE_CHECKING

import pytest

from holdfast.artifacts import Damaged, NoSpace, Rejected, Unavailable, download, held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Signer, Workshop

    from holdfast.errors import Error

CONTENT = bytes(range(256)) * 4096  # 1 MiB


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in members.items():
            package.writestr(name, content)
    return stream.getvalue()


def tarred(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as package:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            package.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def refused(
    workshop: Workshop, kind: type[Error], words: str, *sources: object, **how: object
) -> str:
    """Fetching ends in `kind` with `words` in its message, and the cache holds no file."""
    with pytest.raises(kind, match=words) as caught:
        workshop.fetch(*sources, **how)  # type: ignore[arg-type]
    assert workshop.entries() == []
    return str(caught.value)


def test_a_signed_and_pinned_file_is_fetched_once(workshop: Workshop) -> None:
    source = workshop.release(CONTENT)
    first = workshop.fetch(source)
    assert first.path.read_bytes() == CONTENT
    assert first.path.stat().st_mode & 0o777 == 0o755
    assert first.receipt.source == "release"
    asked = len(workshop.publisher.asked)
    second = workshop.fetch(source)
    assert second.path == first.path
    assert (first.fetched, second.fetched) == (True, False)
    assert len(workshop.publisher.asked) == asked


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_member_is_taken_out(workshop: Workshop, pack: Callable[..., bytes]) -> None:
    content = pack(**{"tool-1.0.0/tool": CONTENT, "tool-1.0.0/LICENSE": b"free"})
    found = workshop.fetch(workshop.release(content, member="tool-{version}/tool"))
    assert found.path.read_bytes() == CONTENT
    assert found.receipt.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_the_file_itself_may_be_what_is_signed(workshop: Workshop) -> None:
    found = workshop.fetch(workshop.release(CONTENT, checksums=False))
    assert found.path.read_bytes() == CONTENT


def test_a_key_in_binary_form_and_a_signing_subkey_serve(
    workshop: Workshop, make_signer: Callable[..., Signer]
) -> None:
    workshop.signer = make_signer("with-subkey")
    workshop.signer.add_subkey()
    source = workshop.release(CONTENT)
    (workshop.folder / "key.asc").write_bytes(workshop.signer.public_key(armour=False))
    assert workshop.fetch(source).path.read_bytes() == CONTENT


def test_a_redirect_over_https_is_followed(workshop: Workshop) -> None:
    source = workshop.release(CONTENT)
    workshop.publisher.offer("/mirror", CONTENT)
    workshop.publisher.offer("/tool.bin", status=302, location="/mirror")
    assert workshop.fetch(source).path.read_bytes() == CONTENT


def test_a_wrong_pin_is_refused_before_the_download(workshop: Workshop) -> None:
    source = workshop.release(CONTENT, pin="a" * 64)
    refused(workshop, Rejected, "correct the manifest only then", source)
    assert "/tool.bin" not in workshop.publisher.asked


def test_other_content_than_the_signed_checksum_is_refused(workshop: Workshop) -> None:
    source = workshop.release(CONTENT)
    workshop.publisher.offer("/tool.bin", CONTENT[:-1] + b"?")
    refused(workshop, Rejected, "do not use it", source)


def test_a_tampered_checksum_list_is_refused(workshop: Workshop) -> None:
    evil = b"#!/bin/sh\n"
    source = workshop.release(CONTENT, pin=hashlib.sha256(evil).hexdigest())
    workshop.publisher.offer("/tool.bin", evil)
    listed = f"{hashlib.sha256(evil).hexdigest()}  tool.bin\n".encode()
    workshop.publisher.offer("/SUMS", listed)
    refused(workshop, Rejected, "does not match what was signed", source)


def test_another_key_is_refused(workshop: Workshop, stranger: Signer) -> None:
    source = workshop.release(CONTENT)
    workshop.publisher.offer("/SIG", stranger.sign(workshop.publisher.offers["/SUMS"].content))
    refused(workshop, Rejected, "signed with another key", source)


def test_a_key_file_with_another_key_than_the_fingerprint_is_refused(
    workshop: Workshop, stranger: Signer
) -> None:
    source = workshop.release(CONTENT)
    workshop.publisher.offer("/SIG", stranger.sign(workshop.publisher.offers["/SUMS"].content))
    (workshop.folder / "key.asc").write_bytes(stranger.public_key())
    refused(workshop, Rejected, "no good signature by " + workshop.signer.fingerprint, source)


def test_a_revoked_key_is_refused(workshop: Workshop, make_signer: Callable[..., Signer]) -> None:
    workshop.signer = make_signer("revoked")
    source = workshop.release(CONTENT)
    workshop.signer.revoke()
    (workshop.folder / "key.asc").write_bytes(workshop.signer.public_key())
    refused(workshop, Rejected, "revoked", source)


def test_an_expired_key_is_refused(workshop: Workshop, make_signer: Callable[..., Signer]) -> None:
    workshop.signer = make_signer("expired", expire="seconds=3")
    source = workshop.release(CONTENT)
    subprocess.run(["sleep", "4"], check=True)
    refused(workshop, Rejected, "expired", source)


def test_something_else_than_a_signature_is_refused(workshop: Workshop) -> None:
    source = workshop.release(CONTENT)
    workshop.publisher.offer("/SIG", b"<html>please log in</html>")
    refused(workshop, Rejected, "no good signature", source)


def test_a_list_without_the_file_is_refused(workshop: Workshop) -> None:
    source = workshop.release(CONTENT)
    listed = workshop.publisher.offers["/SUMS"].content.replace(b"tool.bin", b"mytool.bin")
    workshop.publisher.offer("/SUMS", listed)
    workshop.publisher.offer("/SIG", workshop.signer.sign(listed))
    refused(workshop, Rejected, "no checksum for tool.bin", source)


def test_a_verified_refusal_does_not_fall_through(workshop: Workshop) -> None:
    good = workshop.release(CONTENT)
    bad = {"release": {**good["release"], "url": f"{workshop.publisher.url}/evil/tool.bin"}}
    workshop.publisher.offer("/evil/tool.bin", b"evil")
    refused(workshop, Rejected, "do not use it", bad, good)
    assert "/tool.bin" not in workshop.publisher.asked


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_publisher_without_the_file_is_passed_over(workshop: Workshop, status: int) -> None:
    good = workshop.release(CONTENT)
    bad = {"release": {**good["release"], "url": f"{workshop.publisher.url}/old/tool.bin"}}
    workshop.publisher.offer("/old/tool.bin", status=status)
    assert workshop.fetch(bad, good).path.read_bytes() == CONTENT
    assert any(f"answered {status}" in line for line in workshop.said)


def test_an_unreachable_publisher_is_named_with_the_way_out(workshop: Workshop) -> None:
    source = workshop.release(CONTENT)
    workshop.publisher.close()
    message = refused(workshop, Unavailable, "Connection refused", source)
    assert message.endswith("or bring it with `holdfast artifacts import`.")


def test_a_publisher_that_nobody_vouches_for_is_not_believed(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = workshop.release(CONTENT)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    refused(workshop, Unavailable, "certificate verify failed", source)


@pytest.mark.parametrize("announce_length", [True, False])
def test_a_truncated_download_is_refused(workshop: Workshop, *, announce_length: bool) -> None:
    source = workshop.release(CONTENT)
    workshop.publisher.offer(
        "/tool.bin", CONTENT, send_only=700_000, announce_length=announce_length
    )
    kind, words = (Unavailable, "broke off") if announce_length else (Rejected, "do not use it")
    refused(workshop, kind, words, source)


@pytest.mark.parametrize("announce_length", [True, False])
def test_an_oversized_download_is_refused(workshop: Workshop, *, announce_length: bool) -> None:
    large = CONTENT + b"!"
    source = workshop.release(large)
    gate = threading.Event()  # stays shut: an announced size is refused without the bytes
    workshop.publisher.offer(
        "/tool.bin",
        large,
        announce_length=announce_length,
        go_on=gate if announce_length else None,
    )
    refused(workshop, Rejected, "larger than the 1 MiB", source, max_mib=1)
    gate.set()


def test_a_member_that_unpacks_too_large_is_refused(workshop: Workshop) -> None:
    source = workshop.release(zipped(tool=bytes(3 * 1024**2)), member="tool")
    refused(workshop, Rejected, "larger than 1 MiB", source, max_mib=1)


def test_a_redirect_to_http_is_refused(workshop: Workshop) -> None:
    source = workshop.release(CONTENT)
    workshop.publisher.offer("/tool.bin", status=301, location="http://127.0.0.1:1/tool.bin")
    refused(workshop, Rejected, "not HTTPS", source)


def test_a_publisher_that_falls_silent_is_given_up(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_SILENCE_SECONDS", 0.3)
    source = workshop.release(CONTENT)
    gate = threading.Event()
    workshop.publisher.offer("/tool.bin", CONTENT, go_on=gate)
    refused(workshop, Unavailable, "broke off", source)
    gate.set()


def test_a_publisher_that_never_ends_is_given_up(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TOTAL_SECONDS", 0)
    refused(workshop, Unavailable, "did not end within", workshop.release(CONTENT))


def test_redirects_without_end_are_given_up(workshop: Workshop) -> None:
    source = workshop.release(CONTENT)
    workshop.publisher.offer("/tool.bin", status=302, location="/tool.bin")
    refused(workshop, Unavailable, "redirects more than", source)
    assert workshop.publisher.asked.count("/tool.bin") < 10


@pytest.fixture
def small_disk(workshop: Workshop) -> Iterator[Path]:
    """The cache on a disk of two MiB."""
    workshop.cache.folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(workshop.cache.folder)]
    subprocess.run(mount, check=True)
    yield workshop.cache.folder
    subprocess.run(["umount", str(workshop.cache.folder)], check=True)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_named(workshop: Workshop) -> None:
    source = workshop.release(CONTENT * 3)
    refused(workshop, NoSpace, "HOLDFAST_CACHE", source)
    assert workshop.fetch(workshop.release(b"small")).path.read_bytes() == b"small"


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_fills_while_unpacking_is_named(workshop: Workshop) -> None:
    source = workshop.release(zipped(tool=bytes(3 * 1024**2)), member="tool")
    refused(workshop, NoSpace, "HOLDFAST_CACHE", source)


def test_damage_in_the_cache_is_seen_on_use_and_mended(workshop: Workshop) -> None:
    source = workshop.release(CONTENT)
    path = workshop.fetch(source).path
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(Damaged, match="holdfast artifacts fetch tool"):
        held(workshop.artifact(source), arch="amd64", cache=workshop.cache)
    again = workshop.fetch(source)
    assert again.fetched
    assert again.path.read_bytes() == CONTENT


def test_a_failed_repair_leaves_no_damaged_file_in_use(workshop: Workshop) -> None:
    source = workshop.release(CONTENT)
    workshop.fetch(source).path.write_bytes(b"rotten")
    workshop.publisher.close()
    with pytest.raises(Unavailable):
        workshop.fetch(source)


def test_a_changed_pin_never_finds_the_old_file(workshop: Workshop) -> None:
    old = workshop.fetch(workshop.release(CONTENT))
    new = workshop.fetch(workshop.release(CONTENT + b"new"))
    assert new.fetched
    assert new.path != old.path
