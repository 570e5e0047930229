"""What the operators keep of a ceremony: encrypted shares, the protocol, its signatures.

`vault/` holds what is valid, `vault/next/` what a rekey makes and has not made valid yet, and
`vault/earlier/` what was valid before: an old snapshot of Vault opens with the shares of its time.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.files import private_folder, sync_folder, write_atomic
from holdfast.vault.protocol import Protocol, parse, sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DIGITS = 16


class Damaged(Error):
    """A file that is not what the protocol says it is."""


@dataclass(frozen=True)
class Records:
    """A folder with one set of shares and their protocol."""

    folder: Path

    @property
    def protocol_file(self) -> Path:
        """What everybody signs."""
        return self.folder / "protocol.json"

    def share_file(self, name: str) -> Path:
        """Where an operator's encrypted share is."""
        return self.folder / "shares" / f"{name}.asc"

    def signature_file(self, name: str) -> Path:
        """Where an operator's detached signature of the protocol is."""
        return self.folder / f"protocol.json.{name}.asc"

    def protocol(self) -> Protocol | None:
        """Return the protocol, or None before there is one. Raises BadProtocol."""
        try:
            return parse(self.protocol_file.read_bytes())
        except FileNotFoundError:
            return None

    def signature(self, name: str) -> bytes | None:
        """Return an operator's signature, or None."""
        try:
            return self.signature_file(name).read_bytes()
        except FileNotFoundError:
            return None

    def share(self, protocol: Protocol, name: str) -> bytes:
        """Return an operator's encrypted share, as the protocol knows it. Raises Damaged."""
        file = self.share_file(name)
        wanted = protocol.party(name).share_sha256
        try:
            message = file.read_bytes()
        except FileNotFoundError:
            message = b""
        if sha256(message) != wanted:
            what = "was changed" if message else "is missing"
            raise Damaged(
                f"{file} {what}: it is not the share that the protocol records; bring it back "
                f"from a backup, or from {name}'s own copy (SHA-256 {wanted})."
            )
        return message

    def write_shares(self, messages: Mapping[str, bytes]) -> None:
        """Keep encrypted shares; each file is whole or not there."""
        private_folder(self.folder)
        private_folder(self.folder / "shares")
        for name, message in messages.items():
            write_atomic(self.share_file(name), message, mode=0o600)

    def write_protocol(self, protocol: Protocol) -> None:
        """Keep the protocol: from now on this set exists."""
        write_atomic(self.protocol_file, protocol.as_bytes(), mode=0o600)

    def write_signature(self, name: str, signature: bytes) -> None:
        """Keep an operator's signature."""
        write_atomic(self.signature_file(name), signature, mode=0o600)

    @property
    def next(self) -> Records:
        """What a rekey makes."""
        return Records(self.folder / "next")

    def earlier(self) -> list[Records]:
        """What was valid before, the newest first."""
        found = [
            Records(folder) for folder in (self.folder / "earlier").glob("*") if not folder.suffix
        ]
        return sorted(found, key=lambda one: one.protocol_file.stat().st_mtime, reverse=True)

    @property
    def _verified(self) -> Path:
        return self.next.folder / "verified"

    def next_is_verified(self) -> bool:
        """Tell whether Vault is known to have taken the next set."""
        return self._verified.exists()

    def mark_next_verified(self) -> None:
        """Note durably that Vault has taken the next set."""
        write_atomic(self._verified, b"", mode=0o600)

    def drop_next(self) -> None:
        """Forget the next set, which Vault has not taken."""
        _remove(self.next.folder)

    def promote_next(self) -> None:
        """Make the next set the valid one. Can be killed anywhere and run again."""
        self.set_aside()
        protocol = self.next.protocol()
        if protocol is None:
            raise Damaged(f"{self.next.folder} has no protocol; bring it back from a backup.")
        names = [party.name for party in protocol.operators]
        self.write_shares({name: self.next.share(protocol, name) for name in names})
        self.write_protocol(protocol)
        for file in self._signatures():
            file.unlink()
        wanted = {self.share_file(name) for name in names}
        for file in set((self.folder / "shares").iterdir()) - wanted:
            file.unlink()
        self.drop_next()

    def set_aside(self) -> None:
        """Keep a copy of what is valid under earlier/, whole or not at all."""
        protocol = self.protocol()
        if protocol is None:
            return
        kept = private_folder(self.folder / "earlier") / protocol.digest()[:_DIGITS]
        if kept.exists() or (self.next.folder.exists() and self.next.protocol() == protocol):
            return
        half = kept.with_suffix(".half")
        _remove(half)
        private_folder(half / "shares")
        shares = sorted((self.folder / "shares").glob("*.asc"))
        for file in [*shares, *self._signatures(), self.protocol_file]:
            # As they are: a damaged one is no reason to lose the others.
            write_atomic(half / file.relative_to(self.folder), file.read_bytes(), mode=0o600)
        half.rename(kept)
        sync_folder(kept.parent)

    def clear(self) -> None:
        """Begin anew: what a finished ceremony left is set aside, what a broken one left is not."""
        self.drop_next()
        self.set_aside()
        self.protocol_file.unlink(missing_ok=True)
        for file in self._signatures():
            file.unlink()
        _remove(self.folder / "shares")

    def _signatures(self) -> list[Path]:
        return sorted(self.folder.glob("protocol.json.*.asc"))


def _remove(folder: Path) -> None:
    """Remove a folder so that half of it never looks like all of it."""
    trash = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(trash, ignore_errors=True)
    if folder.exists():
        folder.rename(trash)
        sync_folder(trash.parent)
        shutil.rmtree(trash)
