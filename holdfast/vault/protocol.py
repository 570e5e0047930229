"""The protocol of a ceremony: who, what, when, for which keys; signed by all who took part."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from holdfast.errors import Error
from holdfast.vault.gpg import keyring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.vault.operators import Operator

SCHEMA = 1


class BadProtocol(Error):
    """A protocol that cannot be what a ceremony wrote."""


@dataclass(frozen=True, kw_only=True)
class Party:
    """An operator who took part. `share_sha256` is of the encrypted share's file."""

    name: str
    fingerprint: str
    share_sha256: str


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What happened. Times are UTC (RFC 3339); `rounds` name whose shares opened Vault together.

    `previous` is the SHA-256 of the protocol that this one replaces, or "".
    """

    event: Literal["init", "rekey"]
    installation: str
    cluster_id: str
    vault_version: str
    conductor: str
    begun: str
    ended: str
    threshold: int
    operators: tuple[Party, ...]
    rounds: tuple[tuple[str, ...], ...]
    set_up: tuple[str, ...]
    previous: str = ""
    schema: int = SCHEMA

    def as_bytes(self) -> bytes:
        """Return the canonical form, which is what is signed: keys sorted, no blanks."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return f"{text}\n".encode()

    def digest(self) -> str:
        """Return the SHA-256 of the canonical form."""
        return sha256(self.as_bytes())

    def party(self, name: str) -> Party:
        """Return the operator of that name. Raises BadProtocol."""
        for party in self.operators:
            if party.name == name:
                return party
        names = ", ".join(party.name for party in self.operators)
        raise BadProtocol(f"{name} holds no share; those who do are {names}.")


def parse(data: bytes) -> Protocol:
    """Read a protocol. Raises BadProtocol unless it is in the very form that we write."""
    try:
        fields: dict[str, Any] = json.loads(data)
        if fields.get("schema") != SCHEMA:
            raise BadProtocol(
                f"The protocol has the schema {fields.get('schema')!r}, and this Holdfast knows "
                f"{SCHEMA}; use the one that wrote it, or a newer one."
            )
        fields["operators"] = tuple(Party(**party) for party in fields["operators"])
        fields["rounds"] = tuple(tuple(names) for names in fields["rounds"])
        fields["set_up"] = tuple(fields["set_up"])
        protocol = Protocol(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadProtocol(
            "protocol.json is damaged; bring it back from a backup, with its signatures."
        ) from error
    if protocol.as_bytes() != data:
        raise BadProtocol(
            "protocol.json is not in the form in which it was written; bring it back from a "
            "backup, with its signatures."
        )
    return protocol


def sha256(data: bytes) -> str:
    """Return the hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def why_not_signed(data: bytes, signature: bytes | None, *, operator: Operator) -> str | None:
    """Say what is wrong with an operator's signature of `data`; None if it holds.

    A key that ended since may have signed: a protocol is older than what is read with it.
    """
    if signature is None:
        return "has not signed the protocol"
    with keyring(operator.public) as gpg:
        message = gpg.home / "protocol" if gpg.home else None
        assert message is not None  # noqa: S101  (a keyring has a home)
        message.write_bytes(data)
        answer = gpg.run("--verify", "-", str(message), stdin=signature)
    valid = answer.said("VALIDSIG")
    good = answer.said("GOODSIG") or answer.said("EXPKEYSIG")
    if answer.said("REVKEYSIG"):
        return "signed the protocol with a key that is revoked now"
    if not good or len(valid) != 1 or valid[0][-1] != operator.fingerprint:
        return "did not sign this protocol: the signature does not fit"
    return None


def differing(protocol: Protocol, operators: Mapping[str, Operator]) -> list[str]:
    """Say how the inventory's operators differ from those who hold shares."""
    held = {party.name: party.fingerprint for party in protocol.operators}
    findings = [f"{name} holds no share yet" for name in sorted(operators.keys() - held.keys())]
    findings += [
        f"{name} still holds a share, and is not in vault_operators"
        for name in sorted(held.keys() - operators.keys())
    ]
    findings += [
        f"{name} has another key now than the share is encrypted to"
        for name in sorted(held.keys() & operators.keys())
        if operators[name].fingerprint != held[name]
    ]
    return findings
