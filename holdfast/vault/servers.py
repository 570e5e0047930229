"""The intermediate that signs the servers' certificates: its key never leaves Vault.

The root that signs it is not in Vault. What trusts the root trusts a new intermediate at once, so
that changing it loses no connection. How far a change has come stands in Vault, in the names of
its issuers: whoever runs it again, from whichever machine, goes on where it was killed.

  leaving         the one that is being replaced
  former-SERIAL   replaced: it signs only its revocation list, until what it signed has ended
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from holdfast.errors import Error
from holdfast.vault.desired import SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.vault.authority import Authority
    from holdfast.vault.desired import Api

VALIDITY = timedelta(days=365)  # the mount lets nothing live longer
_RESERVE = timedelta(days=60)
_CLOCK_SKEW = timedelta(minutes=5)
_LEAVING = "leaving"
_FORMER = "former-"


class NoIntermediate(Error):
    """The mount has none that could be replaced."""


@dataclass(frozen=True, kw_only=True)
class Intermediate:
    """An issuer in Vault that has a key there."""

    id: str
    name: str
    certificate: x509.Certificate

    @property
    def serial(self) -> str:
        """Its serial number, as Vault and OpenSSL write it."""
        return f"{self.certificate.serial_number:x}"

    def signed(self, certificate: x509.Certificate) -> bool:
        """Tell whether it signed `certificate`."""
        return _signed(certificate, by=self.certificate)


@dataclass(frozen=True, kw_only=True)
class Former:
    """One that was replaced; `ends` is when the last certificate that it signed has ended."""

    serial: str
    ends: datetime


def why_new_intermediate(api: Api, root: x509.Certificate) -> str | None:
    """Tell why the mount needs an intermediate, or None when it has one as wanted."""
    found = current(api)
    return _why_not(found.certificate, root) if found else "there is none"


def new_intermediate(api: Api, root: Authority, *, domain: str) -> None:
    """Issue by a new intermediate from now on, or finish the change that was begun."""
    change(api, root.certificate, lambda: root, domain=domain)
    end_change(api)


def change(
    api: Api, root: x509.Certificate, unlock: Callable[[], Authority], *, domain: str
) -> Intermediate:
    """Issue by a new intermediate, signed by the root that `unlock` opens; return it.

    An earlier change that was killed is gone on with: `unlock` is not called where its intermediate
    is signed already. A key whose certificate was not signed in time stays in Vault, and signs
    nothing. Until `end_change`, calling it again changes nothing more.
    """
    present = intermediates(api)
    default = current(api)
    leaving = _leaving(present)
    if leaving and default and leaving.id != default.id:
        return default
    if default and not leaving:
        _name(api, default, _LEAVING)
    signed = [
        one
        for one in present
        if (default is None or one.id != default.id)
        and not one.name.startswith(_FORMER)
        and _why_not(one.certificate, root) is None
    ]
    chosen = signed[0].id if signed else _make(api, unlock(), domain=domain)
    api.write(f"{SERVERS}/config/issuers", {"default": chosen})
    new = current(api)
    if new is None or new.id != chosen:
        raise Error(f"Vault does not issue by the new intermediate {chosen}; run again.")
    _require_revocation_list(api, new)
    return new


def end_change(api: Api) -> None:
    """Let what was replaced sign nothing but its revocation list; the change is over then."""
    leaving = _leaving(intermediates(api))
    if leaving:
        # One request: with the name, that a change is going on is forgotten.
        _name(api, leaving, f"{_FORMER}{leaving.serial}", usage="read-only,crl-signing")


def is_changing(api: Api) -> bool:
    """Tell whether a change was begun and is not over."""
    return _leaving(intermediates(api)) is not None


def remove_ended(api: Api, *, now: datetime | None = None) -> tuple[list[str], list[Former]]:
    """Remove former intermediates that signed nothing that is still valid.

    Returns the serials of the removed ones, and what is kept. Their keys stay in Vault, where
    nobody may remove keys; without a certificate they sign nothing.
    """
    former = [one for one in intermediates(api) if one.name.startswith(_FORMER)]
    if not former:
        return [], []
    ends: dict[str, datetime] = {}
    for certificate in _certificates(api):
        for one in former:
            if one.signed(certificate):
                known = ends.get(one.id, certificate.not_valid_after_utc)
                ends[one.id] = max(known, certificate.not_valid_after_utc)
    removed, kept = [], []
    limit = (now or datetime.now(UTC)) - _CLOCK_SKEW
    for one in former:
        if one.id in ends and ends[one.id] > limit:
            kept.append(Former(serial=one.serial, ends=ends[one.id]))
        else:
            api.delete(f"{SERVERS}/issuer/{one.id}")
            removed.append(one.serial)
    return removed, kept


def current(api: Api) -> Intermediate | None:
    """Return the intermediate that signs now."""
    default = (api.read(f"{SERVERS}/config/issuers") or {}).get("default")
    return next((one for one in intermediates(api) if one.id == default), None)


def intermediates(api: Api) -> list[Intermediate]:
    """Return every issuer with a key; the root is there, too, but not its key."""
    found = []
    for issuer in api.list(f"{SERVERS}/issuers"):
        told = api.read(f"{SERVERS}/issuer/{issuer}")
        if told and told.get("key_id"):
            certificate = x509.load_pem_x509_certificate(str(told["certificate"]).encode())
            name = str(told.get("issuer_name") or "")
            found.append(Intermediate(id=issuer, name=name, certificate=certificate))
    return found


def _make(api: Api, root: Authority, *, domain: str) -> str:
    """Have Vault make a key, and give it a certificate; return the issuer's id."""
    made = api.write(
        f"{SERVERS}/intermediate/generate/internal",
        {"common_name": f"{domain} servers", "key_type": "ec", "key_bits": 256},
    )
    signed = root.sign_intermediate(str(made["csr"]).encode(), domain=domain, validity=VALIDITY)
    installed = api.write(
        f"{SERVERS}/intermediate/set-signed", {"certificate": (signed + root.pem).decode()}
    )
    return next(
        str(issuer)
        for issuer, key in dict(installed["mapping"]).items()
        if key and key == made["key_id"]
    )


def _name(api: Api, one: Intermediate, name: str, *, usage: str = "") -> None:
    """Name an issuer. What is not written here falls back to Vault's default, as it was made."""
    limits = {"usage": usage} if usage else {}
    api.write(f"{SERVERS}/issuer/{one.id}", {"issuer_name": name, **limits})


def _leaving(present: Sequence[Intermediate]) -> Intermediate | None:
    return next((one for one in present if one.name == _LEAVING), None)


def _certificates(api: Api) -> list[x509.Certificate]:
    """Every certificate that Vault keeps: its tidying removes those that have ended."""
    found = []
    for serial in api.list(f"{SERVERS}/certs"):
        told = api.read(f"{SERVERS}/cert/{serial}")
        if told:
            found.append(x509.load_pem_x509_certificate(str(told["certificate"]).encode()))
    return found


def _require_revocation_list(api: Api, one: Intermediate) -> None:
    """Its list must be there from the beginning; Vault makes lists from time to time only."""
    for path in (None, f"{SERVERS}/crl/rotate"):
        if path:
            api.read(path)
        told = (api.read(f"{SERVERS}/issuer/{one.id}/crl") or {}).get("crl")
        if told and x509.load_pem_x509_crl(str(told).encode()).is_signature_valid(
            one.certificate.public_key()  # type: ignore[arg-type]  # P-256, as was asked for
        ):
            return
    raise Error(
        f"Vault makes no revocation list for the intermediate {one.serial}; run site.yml, which "
        f"configures {SERVERS}/config/crl, and then this again."
    )


def _why_not(certificate: x509.Certificate, root: x509.Certificate) -> str | None:
    if not _signed(certificate, by=root):
        return "it is not one of this installation's root"
    if certificate.not_valid_after_utc - datetime.now(UTC) < _RESERVE:
        return f"it ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return None


def _signed(certificate: x509.Certificate, *, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
