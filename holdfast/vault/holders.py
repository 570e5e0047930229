"""How an operator's share comes to us: by gpg, from a file or pipe, or typed unseen."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from holdfast.errors import Error
from holdfast.vault.gpg import Gpg, GpgFailed, keyring
from holdfast.vault.memory import in_memory
from holdfast.vault.shares import Share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LONGEST = 65_536  # bytes: an encrypted share given by mistake is still recognised


class NoShare(Error):
    """An operator who could not, or would not, give a share."""


class Holder(Protocol):
    """An operator, as far as we can reach them from here."""

    @property
    def name(self) -> str:
        """The operator's."""

    def share(self, message: bytes) -> Share:
        """Return the share out of its encrypted form. Raises NoShare or BadShare."""

    def sign(self, data: bytes, *, fingerprint: str) -> bytes | None:
        """Return a detached signature; None if this operator signs elsewhere."""


@dataclass(frozen=True, kw_only=True)
class GpgHolder:
    """An operator whose secret key is in the caller's own GnuPG, or on a card in it."""

    name: str

    @contextmanager
    def _gpg(self) -> Iterator[Gpg]:
        yield Gpg(None)

    def decrypt(self, message: bytes) -> bytes:
        """Open any message to this operator. Raises NoShare."""
        with self._gpg() as gpg:
            try:
                return gpg.decrypt(message)
            except GpgFailed as error:
                raise NoShare(
                    f"{self.name} cannot open what is encrypted to them: {error} Try with "
                    f"`gpg --decrypt`; if the key is lost, the others run `holdfast vault rekey`."
                ) from error

    def share(self, message: bytes) -> Share:
        """Decrypt the share in memory."""
        return Share.parse(self.decrypt(message), owner=self.name)

    def sign(self, data: bytes, *, fingerprint: str) -> bytes | None:
        """Sign with the given (sub)key."""
        with self._gpg() as gpg:
            return gpg.sign(data, fingerprint=fingerprint)


@dataclass(frozen=True, kw_only=True)
class ThrowAwayHolder(GpgHolder):
    """An operator whom `holdfast up` made, whose secret key lies open in `key`."""

    key: Path

    @contextmanager
    def _gpg(self) -> Iterator[Gpg]:
        with keyring(self.key.read_bytes()) as gpg:
            yield gpg


@dataclass(frozen=True, kw_only=True)
class FileHolder:
    """An operator whose share, decrypted elsewhere, comes from a pipe, a file in memory, or "-"."""

    name: str
    source: str

    def share(self, message: bytes) -> Share:
        """Read it, once; a named pipe waits for its writer."""
        del message  # the operator has a copy
        return self._share

    @cached_property
    def _share(self) -> Share:
        if self.source == "-":
            return Share.parse(sys.stdin.buffer.read(_LONGEST), owner=self.name)
        path = Path(self.source)
        try:
            with path.open("rb") as stream:
                self._require_safe(path, os.fstat(stream.fileno()))
                return Share.parse(stream.read(_LONGEST), owner=self.name)
        except OSError as error:
            raise NoShare(
                f"The share of {self.name} cannot be read from {path} ({error.strerror}); name a "
                "file or a pipe that is there."
            ) from error

    def _require_safe(self, path: Path, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            return
        if found.st_mode & 0o077:
            raise NoShare(
                f"Others can read {path}: this share of {self.name} is known and worth nothing; "
                "delete it, and let the operators run `holdfast vault rekey`."
            )
        if not in_memory(path):
            raise NoShare(
                f"{path} is on a disk, where a share of {self.name} must not lie; delete it there "
                f"and use a pipe: --share {self.name}=<(gpg --decrypt {self.name}.asc)."
            )

    def sign(self, data: bytes, *, fingerprint: str) -> bytes | None:
        """Sign elsewhere."""
        del data, fingerprint
        return None


@dataclass(frozen=True, kw_only=True)
class TerminalHolder:
    """An operator who types or pastes the share; the terminal shows nothing."""

    name: str

    def share(self, message: bytes) -> Share:
        """Ask on the terminal; an empty answer means that this operator is not here."""
        del message
        typed = getpass.getpass(f"Share of {self.name}, not shown (Enter if not here): ")
        if not typed.strip():
            raise NoShare(f"{self.name} gave no share; ask another operator.")
        return Share.parse(typed.encode(), owner=self.name)

    def sign(self, data: bytes, *, fingerprint: str) -> bytes | None:
        """Sign elsewhere."""
        del data, fingerprint
        return None


def choose(
    operators: Mapping[str, str],
    *,
    given: Mapping[str, str],
    throw_away: Mapping[str, Path],
    interactive: bool,
) -> dict[str, Holder]:
    """Return a way to each operator (fingerprint by name), as far as there is one.

    `given` are files and pipes by name; then come throw-away keys, secret keys in the caller's
    GnuPG, and the terminal if `interactive`. Raises NoShare for a name that holds no share.
    """
    for name in given:
        if name not in operators:
            raise NoShare(f"{name} holds no share; those who do are {', '.join(operators)}.")
    if list(given.values()).count("-") > 1:
        raise NoShare("Only one share can come from standard input; name pipes for the others.")
    found: dict[str, Holder] = {}
    for name, fingerprint in operators.items():
        if name in given:
            found[name] = FileHolder(name=name, source=given[name])
        elif name in throw_away:
            found[name] = ThrowAwayHolder(name=name, key=throw_away[name])
        elif Gpg(None).has_secret(fingerprint):
            found[name] = GpgHolder(name=name)
        elif interactive:
            found[name] = TerminalHolder(name=name)
    return found
