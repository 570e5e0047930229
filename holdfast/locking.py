"""One command at a time on one thing; the lock dies with its process."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from holdfast.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_POLL_SECONDS = 0.5


@contextmanager
def exclusive(
    path: Path,
    *,
    purpose: str,
    wait: float = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[None]:
    """Hold `path` locked; whoever holds it is named to those who come second.

    `wait` is how many seconds to wait for the other. Raises Busy after that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    told = False
    with path.open("a+") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stream.seek(0)
                holder = stream.read().strip() or "another command"
                if time.monotonic() >= deadline:
                    raise Busy(
                        f"{holder} is at work here; wait for it, or run again with --wait SECONDS."
                    ) from None
                if not told:
                    say(f"waiting for {holder}")
                    told = True
                time.sleep(_POLL_SECONDS)
        stream.truncate(0)
        stream.write(f"`{purpose}` (process {os.getpid()})")
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)
