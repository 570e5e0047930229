"""Folders that exist in memory only, for what must never reach a disk."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator


def in_memory(path: Path) -> bool:
    """Tell whether `path` is on a file system that is lost with the power."""
    kind = run(["stat", "--file-system", "--format=%T", str(path)]).strip()
    return kind in {"tmpfs", "ramfs"}


def memory() -> Path:
    """Return a folder in memory that we may write to. Raises Error."""
    wanted = [os.environ.get("XDG_RUNTIME_DIR"), "/run", "/dev/shm"]  # noqa: S108  (checked below)
    for folder in [Path(path) for path in wanted if path]:
        if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) and in_memory(folder):
            return folder
    raise Error(
        "No folder of this machine is kept in memory (tmpfs) and writable, and a secret is not "
        "written to a disk; mount a tmpfs on /run, or log in so that XDG_RUNTIME_DIR is set."
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of our own (0700) in memory, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="holdfast-", dir=memory()) as folder:
        yield Path(folder)
