"""What a person sees: live progress on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Progress goes to standard error, so that standard output holds the answer only.
_console = Console(stderr=True, highlight=False)
_start = time.monotonic()
_QUIET_SECONDS = 15


def say(line: str) -> None:
    """Print a line of progress with the seconds since the start."""
    _console.print(f"{time.monotonic() - _start:5.0f}s  {line}", markup=False, soft_wrap=True)


@contextmanager
def working(title: str) -> Iterator[Callable[[str], None]]:
    """Show that long work goes on; the yielded function replaces the words beside the spinner."""
    say(title)
    if not sys.stderr.isatty():
        yield _now_and_then(say)
        return
    with _console.status(title) as status:
        yield status.update


def _now_and_then(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Where lines stay, one every few seconds is enough to see that work goes on."""
    last = time.monotonic()

    def update(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _QUIET_SECONDS:
            last = time.monotonic()
            tell(line)

    return update


def fail(message: str) -> None:
    """Print an error as a person reads it."""
    _console.print("[bold red]holdfast:[/bold red]", end=" ")
    _console.print(message, markup=False, soft_wrap=True)
