"""GnuPG by its command, in a home of its own; what counts is its exit status and its status lines.

`DECRYPTION_OKAY` alone is also said of altered data, and a clean exit alone of a file that was cut
to its first packet: both are required, everywhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.vault.memory import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS = (
    *("--no-options", "--trust-model", "always"),
    *("--no-auto-key-locate", "--no-auto-key-retrieve"),
)
_SECONDS = 60
# Somebody has to find the card, and to type.
_PERSON_SECONDS = 600
_STATUS = "[GNUPG:] "


class GpgFailed(Error):
    """gpg said no; the message has its words, and never any plain text."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What gpg printed (`out` may be secret), its status lines, and how it ended."""

    out: bytes
    status: tuple[str, ...]
    words: str
    code: int

    def said(self, keyword: str) -> list[list[str]]:
        """Return the arguments of each status line with this keyword."""
        lines = [line.split() for line in self.status]
        return [line[1:] for line in lines if line and line[0] == keyword]


class Gpg:
    """One GNUPGHOME: ours at `home`, or with None that of the person who called us."""

    def __init__(self, home: Path | None) -> None:
        self.home = home

    def run(self, *arguments: str, stdin: bytes = b"", person: bool = False) -> Answer:
        """Run gpg whatever it says; with `person` there is time to type a passphrase."""
        where = [*_OURS, "--homedir", str(self.home)] if self.home else []
        argv = ["gpg", *where, "--batch", "--no-tty", "--status-fd", "2", *arguments]
        environment = {**os.environ, "LC_ALL": "C"}
        if person and not sys.stdin.closed and sys.stdin.isatty():
            environment["GPG_TTY"] = os.ttyname(sys.stdin.fileno())
        try:
            done = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                env=environment,
                timeout=_PERSON_SECONDS if person else _SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise GpgFailed("gpg is not installed; run `make setup`.") from error
        except subprocess.TimeoutExpired as error:
            raise GpgFailed("gpg did not end in time; look for its agent and run again.") from error
        lines = done.stderr.decode(errors="replace").splitlines()
        return Answer(
            out=done.stdout,
            status=tuple(x.removeprefix(_STATUS) for x in lines if x.startswith(_STATUS)),
            words="; ".join(x.removeprefix("gpg: ") for x in lines if not x.startswith(_STATUS)),
            code=done.returncode,
        )

    def must(self, *arguments: str, stdin: bytes = b"", person: bool = False) -> Answer:
        """Run gpg to a good end. Raises GpgFailed."""
        answer = self.run(*arguments, stdin=stdin, person=person)
        if answer.code != 0:
            raise GpgFailed(f"gpg failed: {answer.words or 'without a word'}.")
        return answer

    def decrypt(self, message: bytes) -> bytes:
        """Return the plain text of a message that is whole. Raises GpgFailed."""
        answer = self.run("--decrypt", stdin=message, person=True)
        if answer.said("NO_SECKEY") and not answer.said("DECRYPTION_OKAY"):
            raise GpgFailed("the secret key for it is not here.")
        if answer.code != 0 or not answer.said("DECRYPTION_OKAY") or not answer.out:
            raise GpgFailed(f"it does not decrypt ({answer.words or 'nothing came out'}).")
        return answer.out

    def sign(self, data: bytes, *, fingerprint: str) -> bytes:
        """Return a detached, armoured signature by the key with this (sub)key fingerprint."""
        user = ("--local-user", f"{fingerprint}!", "--digest-algo", "SHA512")
        return self.must("--armor", *user, "--detach-sign", stdin=data, person=True).out

    def has_secret(self, fingerprint: str) -> bool:
        """Tell whether the secret key, or a card's stub of it, is here."""
        home = self.home or Path(os.environ.get("GNUPGHOME") or Path.home() / ".gnupg")
        if not home.is_dir():
            return False  # gpg would make one
        return self.run("--list-secret-keys", fingerprint).code == 0

    def recipients(self, message: bytes) -> list[str]:
        """Return the long ids of the keys that a message is encrypted to; nothing is decrypted."""
        answer = self.run("--list-only", "--decrypt", stdin=message)
        return [words[0] for words in answer.said("ENC_TO")]


@contextmanager
def keyring(*keys: bytes) -> Iterator[Gpg]:
    """A GNUPGHOME in memory with these keys, gone afterwards together with its agent."""
    with scratch() as home:
        gpg = Gpg(home)
        try:
            for key in keys:
                gpg.must("--import", stdin=key)
            yield gpg
        finally:
            subprocess.run(
                ["gpgconf", "--homedir", str(home), "--kill", "all"],
                capture_output=True,
                check=False,  # an agent that is gone already is as good
                timeout=_SECONDS,
            )
