"""What a check may say besides passing and failing."""

from __future__ import annotations


class NotEvaluated(Exception):
    """This cannot be seen on this host; the message says why."""


class NotApplicable(Exception):
    """The promise has no object on this host; the message says why."""
