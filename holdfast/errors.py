"""Errors that a person reads: each message says what is wrong and ends with what to do."""

from __future__ import annotations


class Error(Exception):
    """Base of every expected failure. Only the command line turns it into an exit."""


class Busy(Error):
    """Another command works on the same thing; trying again later is enough."""
