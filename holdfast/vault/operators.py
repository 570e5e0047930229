"""The people who hold Vault's shares, and whether their PGP keys can be relied upon.

The inventory lists them in `vault_operators` (name, fingerprint, key) and says in `vault_threshold`
how many of them it takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from holdfast.errors import Error
from holdfast.vault.gpg import keyring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from holdfast.inventory import Inventory
    from holdfast.vault.gpg import Gpg

THROW_AWAY = "THROW-AWAY operator of a Holdfast installation on one machine"
WARN = timedelta(days=60)

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}")
_RSA = frozenset({"1", "2", "3"})
_RSA_BITS = 3072
_CURVES = frozenset({"cv25519", "ed25519", "nistp256", "nistp384", "nistp521"})
_ELLIPTIC = frozenset({"18", "19", "22"})
_MOST = 255  # of Vault's
_HAS_SECRET = 16  # in gpg's IMPORT_OK


class BadOperators(Error):
    """The inventory's operators cannot be trusted with Vault; the message lists every reason."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A person with a key that was checked. Fingerprints are upper-case hexadecimal.

    `public` is the minimal binary key, `signing` the fingerprint of the (sub)key that signs, and
    `encryption` the long ids of those that a share may be encrypted to. `expires` is the first
    moment at which one that is needed ends.
    """

    name: str
    fingerprint: str
    public: bytes
    signing: str
    encryption: frozenset[str]
    expires: datetime | None


@dataclass(frozen=True, kw_only=True)
class Quorum:
    """Everybody who holds a share, and how many of them open Vault."""

    operators: tuple[Operator, ...]
    threshold: int
    throw_away: bool = False

    def warnings(self) -> list[str]:
        """What is allowed and should be changed."""
        soon = [
            f"{operator.name}'s key ends on {operator.expires:%Y-%m-%d}: {operator.name} should "
            "prolong it and send the new public key for vault_operators"
            for operator in self.operators
            if operator.expires and operator.expires - datetime.now(UTC) < WARN
        ]
        if len(self.operators) == self.threshold and not self.throw_away:
            soon.append(
                "every operator is needed to open Vault: one lost key loses everything; list one "
                "more in vault_operators"
            )
        return soon


@dataclass(frozen=True, kw_only=True)
class _Key:
    """A primary key or subkey, as gpg lists it."""

    validity: str
    bits: int
    algorithm: str
    id: str
    created: int
    expires: int | None
    uses: str
    curve: str
    fingerprint: str
    grip: str

    def is_alive(self) -> bool:
        return self.validity not in {"r", "e", "i", "d", "n"}

    def is_strong(self) -> bool:
        if self.algorithm in _RSA:
            return self.bits >= _RSA_BITS
        return self.algorithm in _ELLIPTIC and self.curve in _CURVES

    def kind(self) -> str:
        return self.curve or {"16": "Elgamal", "17": "DSA"}.get(self.algorithm, f"RSA {self.bits}")


def from_inventory(inventory: Inventory) -> Quorum:
    """Return the operators of the inventory, every key checked. Raises BadOperators."""
    listed = inventory.variable("vault_operators", [])
    throw_away = bool(inventory.variable("vault_throw_away", default=False))
    if throw_away:
        _require_local(inventory)
    return quorum(listed, threshold=inventory.variable("vault_threshold", 0), throw_away=throw_away)


def quorum(
    listed: Sequence[Mapping[str, Any]], *, threshold: int, throw_away: bool = False
) -> Quorum:
    """Check every operator's key and the numbers. Raises BadOperators with all findings."""
    findings: list[str] = []
    operators: list[Operator] = []
    grips: dict[str, str] = {}
    for position, entry in enumerate(listed, start=1):
        try:
            operator, own_grips = _operator(entry, position=position, throw_away=throw_away)
        except BadOperators as error:
            findings.append(str(error))
            continue
        others = {grips[grip] for grip in own_grips if grip in grips}
        findings += [
            f"{operator.name} has the same key as {other}: each needs a key of their own."
            for other in sorted(others)
        ]
        grips |= dict.fromkeys(own_grips, operator.name)
        operators.append(operator)
    findings += _numbers(listed, threshold=threshold, throw_away=throw_away)
    if findings:
        raise BadOperators(
            "The operators of Vault in the inventory are not in order:\n"
            + "\n".join(f"- {finding}" for finding in findings)
        )
    return Quorum(operators=tuple(operators), threshold=threshold, throw_away=throw_away)


def _numbers(
    listed: Sequence[Mapping[str, Any]], *, threshold: object, throw_away: bool
) -> Iterator[str]:
    names = [str(entry.get("name")) for entry in listed if isinstance(entry, dict)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"the name {name} is given twice; give each operator a name of their own."
    if not listed:
        yield "there are none; list them in vault_operators (name, fingerprint, key)."
    elif not isinstance(threshold, int) or isinstance(threshold, bool):
        yield f"vault_threshold is {threshold!r}; write a whole number."
    elif threshold > len(listed):
        yield (
            f"vault_threshold is {threshold}, and there are {len(listed)} operators: Vault could "
            "never be opened; lower it, or list more operators."
        )
    elif threshold < (1 if throw_away and len(listed) == 1 else 2):
        yield (
            f"vault_threshold is {threshold}: one person alone could open everything; "
            "make it 2 or more."
        )
    elif len(listed) > _MOST:
        yield f"there are {len(listed)} operators; Vault takes {_MOST} at most."


def _require_local(inventory: Inventory) -> None:
    """Throw-away operators have keys without a passphrase on the operator's disk."""
    elsewhere = [
        host.name
        for host in inventory.group("installation")
        if "local_release" not in host.variables
    ]
    if elsewhere:
        raise BadOperators(
            f"vault_throw_away is for hosts on this machine only, and {', '.join(elsewhere)} "
            "stands elsewhere; remove it, and list people with keys of their own in "
            "vault_operators."
        )


def _operator(
    entry: Mapping[str, Any], *, position: int, throw_away: bool
) -> tuple[Operator, frozenset[str]]:
    """Check one entry; return it, and the key material it uses."""
    name, fingerprint, text = _fields(entry, position=position)
    with keyring() as gpg:
        imported = gpg.run("--import", stdin=text.encode())
        if any(int(flags) & _HAS_SECRET for flags, *_ in imported.said("IMPORT_OK")):
            raise BadOperators(
                f"{name}: this is a secret key, and by standing there it is known; make another, "
                "and list its public half (gpg --armor --export)."
            )
        keys = _keys(gpg)
        if len(keys) != 1:
            raise BadOperators(
                f"{name}: gpg finds {len(keys) or 'no'} public keys there; paste exactly what "
                f"`gpg --armor --export {fingerprint}` prints."
            )
        primary, *subkeys = keys[0]
        _check_primary(name, fingerprint, primary)
        _check_purpose(name, _owner(gpg), throw_away=throw_away)
        usable = [key for key in (primary, *subkeys) if key.is_alive()]
        encryption = _fit(name, usable, use="e", what="encrypt to")
        signing = _fit(name, usable, use="s", what="sign with")
        public = gpg.must("--export-options", "export-minimal", "--export", fingerprint).out
    ends = [key.expires for key in (primary, encryption[0], signing[0]) if key.expires]
    operator = Operator(
        name=name,
        fingerprint=fingerprint,
        public=public,
        signing=signing[0].fingerprint,
        encryption=frozenset(key.id for key in encryption),
        expires=datetime.fromtimestamp(min(ends), UTC) if ends else None,
    )
    return operator, frozenset(key.grip for key in (primary, *subkeys))


def _fields(entry: Mapping[str, Any], *, position: int) -> tuple[str, str, str]:
    if not isinstance(entry, dict) or not entry.keys() >= {"name", "fingerprint", "key"}:
        raise BadOperators(f"entry {position} needs name, fingerprint and key.")
    name = str(entry["name"])
    fingerprint = str(entry["fingerprint"]).replace(" ", "").upper()
    if not _NAME.fullmatch(name):
        raise BadOperators(
            f"{name!r} cannot name an operator; use 1 to 32 of a-z, 0-9 and -, beginning with a "
            "letter."
        )
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise BadOperators(
            f"{name}: {entry['fingerprint']!r} is no fingerprint; write all 40 digits of it "
            "(gpg --fingerprint), as the operator read them to you."
        )
    return name, fingerprint, str(entry["key"])


def _check_primary(name: str, fingerprint: str, primary: _Key) -> None:
    if primary.fingerprint != fingerprint:
        raise BadOperators(
            f"{name}: the key has the fingerprint {primary.fingerprint}, not {fingerprint}; ask "
            "the operator in person which one is right."
        )
    if primary.validity == "r":
        raise BadOperators(f"{name}: the key is revoked; ask for the new one.")
    if primary.validity == "e":
        raise BadOperators(
            f"{name}: the key has expired; the operator prolongs it (gpg --quick-set-expire "
            f"{fingerprint} 2y) and sends the public key again."
        )
    if not primary.is_alive():
        raise BadOperators(f"{name}: gpg calls the key invalid; export it again, or make another.")
    if not primary.is_strong():
        raise BadOperators(
            f"{name}: the primary key is {primary.kind()}; make one on Curve 25519 or a NIST "
            f"curve, or RSA with {_RSA_BITS} bits or more."
        )


def _check_purpose(name: str, owner: str, *, throw_away: bool) -> None:
    if THROW_AWAY in owner and not throw_away:
        raise BadOperators(
            f"{name}: this is the key of a throw-away operator, whose secret half is no secret; "
            "list the key of a person."
        )


def _fit(name: str, keys: Sequence[_Key], *, use: str, what: str) -> list[_Key]:
    """Return the keys that may be used so, the newest first, which gpg and Vault choose."""
    able = sorted((key for key in keys if use in key.uses), key=lambda key: -key.created)
    if not able:
        raise BadOperators(
            f"{name}: nothing in the key is there to {what} that is neither expired nor revoked; "
            "the operator adds or prolongs a subkey and sends the public key again."
        )
    for key in able:
        if not key.is_strong():
            raise BadOperators(
                f"{name}: the key to {what} is {key.kind()}; replace it by Curve 25519, a NIST "
                f"curve, or RSA with {_RSA_BITS} bits or more, and revoke the old one."
            )
    return able


def _owner(gpg: Gpg) -> str:
    lines = gpg.must("--with-colons", "--list-keys").out.decode(errors="replace").splitlines()
    return "\n".join(line.split(":")[9] for line in lines if line.startswith("uid:"))


def _keys(gpg: Gpg) -> list[list[_Key]]:
    """Return every primary key in the keyring, each followed by its subkeys."""
    listing = gpg.run("--with-colons", "--with-keygrip", "--list-keys").out.decode(errors="replace")
    found: list[list[_Key]] = []
    row: list[str] = []
    fingerprint = ""
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] in {"pub", "sub"}:
            row = fields
        elif fields[0] == "fpr" and row:
            fingerprint = fields[9]
        elif fields[0] == "grp" and row:
            key = _key(row, fingerprint=fingerprint, grip=fields[9])
            if row[0] == "pub":
                found.append([key])
            else:
                found[-1].append(key)
            row = []
    return found


def _key(row: Sequence[str], *, fingerprint: str, grip: str) -> _Key:
    """Read a pub or sub record; the columns are those of GnuPG's doc/DETAILS."""
    return _Key(
        validity=row[1],
        bits=int(row[2] or 0),
        algorithm=row[3],
        id=row[4],
        created=int(row[5]),
        expires=int(row[6]) if row[6] else None,
        uses="".join(letter for letter in row[11] if letter.islower()),
        curve=row[16] if len(row) > 16 else "",  # noqa: PLR2004  (the column)
        fingerprint=fingerprint,
        grip=grip,
    )
