"""The login that the agent of a service keeps in memory, as it is at this moment."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REFUSED = "database.refused"
# How PostgreSQL says that a login is over: it is gone, or it is nobody any more.
_REFUSALS = (
    "password authentication failed",
    "pg_hba.conf rejects",
    "no pg_hba.conf entry",
    "is not permitted to log in",
)
# Seconds between two calls for a new login: each ends in one more that is leased.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0


class NoLogin(Exception):
    """There is no login; the message says who brings it."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """Parameters of a connection, by libpq's names; the password is among them."""

    user: str
    parameters: Mapping[str, str | int] = field(repr=False)


class Lease:
    """The login in a file that the agent replaces whole, before the one in it ends.

    May be shared by threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._login: Login | None = None
        self._not_before = 0.0
        self._pause = _FIRST_PAUSE

    def login(self) -> Login:
        """Return the login that is good now. Raises NoLogin."""
        try:
            found = self.path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            with self._lock:
                if self._login is None or seen != self._seen:
                    parameters = json.loads(self.path.read_text())
                    self._login = Login(user=parameters["user"], parameters=parameters)
                    self._seen = seen
                return self._login
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NoLogin(
                f"{self.path} holds no login; the agent of this service brings it when Vault is "
                f"open (journalctl -u 'holdfast-agent-{self.path.parent.name}')."
            ) from error

    def is_current(self, login: Login) -> bool:
        """Tell whether nothing newer than `login` is there."""
        try:
            return self.login().user == login.user
        except NoLogin:
            return True  # what there is may still be good

    def refused(self, login: Login, reason: str) -> None:
        """Note why no connection could be made with `login`.

        A login that ends before its time is noticed by nobody else: then the agent is asked for
        a new one, less and less often while that does not help.
        """
        if not any(words in reason for words in _REFUSALS) or not self.is_current(login):
            return
        with self._lock:
            now = time.monotonic()
            if now < self._not_before:
                return
            self._not_before = now + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        (self.path.parent / REFUSED).write_text(f"{login.user}\n")

    def accepted(self) -> None:
        """Note that a connection was made."""
        with self._lock:
            self._pause = _FIRST_PAUSE
