"""How getting an artifact can fail; the difference decides whether the next source is tried."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_SPACE_WORDS = ("no space left on device", "disk quota exceeded")


class BadManifest(Error):
    """The manifest does not say what it must, or says something unknown."""


class Unavailable(Error):
    """A source gave nothing: not reached, not there, broke off. The next source may be tried."""


class Rejected(Error):
    """A source gave something that is not what is pinned. No other source is tried."""


class NoSpace(Error):
    """The disk under the cache is full."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"the disk that holds {folder} is full; free space there, "
            "or set HOLDFAST_CACHE to a folder on a larger disk."
        )


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turn a full disk, met by us or by a command we ran, into NoSpace for `folder`."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpace(folder) from error
        raise
    except Error as error:
        if any(words in str(error).lower() for words in _NO_SPACE_WORDS):
            raise NoSpace(folder) from error
        raise
