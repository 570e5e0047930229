"""How long work is told: the command line shows it, others may keep silent."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Takes what is going on."""

    def say(self, message: str) -> None:
        """Take one finished or beginning step, a whole line."""

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Take bytes `done` of `total` (None: unknown) of the transfer `label`."""


class Silence:
    """Says nothing."""

    def say(self, message: str) -> None:
        """Drop the message."""

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Drop the figure."""
