"""People with PGP keys, for tests: small and fast ones, whose secret halves stay in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from holdfast.vault.gpg import Gpg, keyring

UNLOCKED = ("--pinentry-mode", "loopback", "--passphrase", "")


@dataclass(frozen=True)
class Person:
    """Somebody with a key. `secret` is their exported secret key, `unrevoked` as it was first."""

    name: str
    fingerprint: str
    public: str
    secret: bytes
    unrevoked: bytes = b""

    def entry(self, **changes: Any) -> dict[str, Any]:
        """Return what the inventory lists, with changes."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "key": self.public,
            **changes,
        }


def make(
    name: str,
    *,
    primary: str = "ed25519",
    uses: str = "cert,sign",
    subkeys: tuple[tuple[str, str, str], ...] = (("cv25519", "encr", "never"),),
    expires: str = "never",
    time: str = "",
    revoked: bool = False,
    comment: str = "",
) -> Person:
    """Make a key; `subkeys` are (algorithm, use, expiry), `time` is when (ISO 8601)."""
    clock = ("--faked-system-time", f"{time}!") if time else ()
    with keyring() as gpg:
        made = gpg.must(
            *UNLOCKED, *clock, "--quick-gen-key", name + comment, primary, uses, expires
        )
        fingerprint = made.said("KEY_CREATED")[0][1]
        for subkey in subkeys:
            gpg.must(*UNLOCKED, *clock, "--quick-add-key", fingerprint, *subkey)
        person = export(gpg, name, fingerprint)
        if not revoked:
            return person
        revoke(gpg, fingerprint)
        return replace(export(gpg, name, fingerprint), unrevoked=person.secret)


def revoke(gpg: Gpg, fingerprint: str) -> None:
    """Revoke the key with the certificate that gpg made beforehand."""
    assert gpg.home is not None
    stored = gpg.home / "openpgp-revocs.d" / f"{fingerprint}.rev"
    certificate = stored.read_text().replace(":-----BEGIN", "-----BEGIN")
    gpg.must("--import", stdin=certificate.encode())


def export(gpg: Gpg, name: str, fingerprint: str) -> Person:
    """Return the person whose key is in a keyring."""
    public = gpg.must("--armor", "--export", fingerprint).out.decode()
    secret = gpg.must(*UNLOCKED, "--armor", "--export-secret-keys", fingerprint).out
    return Person(name, fingerprint, public, secret)
