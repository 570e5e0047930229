"""The intermediate that signs the servers' certificates: its key never leaves Vault.

The root that signs it is not in Vault. What trusts the root trusts a new intermediate at once, so
that changing it loses no connection.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from holdfast.vault.desired import SERVERS

if TYPE_CHECKING:
    from holdfast.vault.authority import Authority
    from holdfast.vault.desired import Api

VALIDITY = timedelta(days=365)  # the mount lets nothing live longer
_RESERVE = timedelta(days=60)


def why_new_intermediate(api: Api, root: x509.Certificate) -> str | None:
    """Tell why the mount needs an intermediate, or None when it has one as wanted."""
    default = (api.read(f"{SERVERS}/config/issuers") or {}).get("default")
    found = api.read(f"{SERVERS}/issuer/{default}") if default else None
    if not found:
        return "there is none"
    current = x509.load_pem_x509_certificate(str(found["certificate"]).encode())
    try:
        current.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return "it is not one of this installation's root"
    if current.not_valid_after_utc - datetime.now(UTC) < _RESERVE:
        return f"it ends on {current.not_valid_after_utc:%Y-%m-%d}"
    return None


def new_intermediate(api: Api, root: Authority, *, domain: str) -> None:
    """Have Vault make a key, sign it by the offline root, and issue by it from now on.

    Killed in between, it leaves a key without a certificate, which issues nothing. The former
    intermediate stays for its own revocation list until what it signed has ended.
    """
    made = api.write(
        f"{SERVERS}/intermediate/generate/internal",
        {"common_name": f"{domain} servers", "key_type": "ec", "key_bits": 256},
    )
    signed = root.sign_intermediate(str(made["csr"]).encode(), domain=domain, validity=VALIDITY)
    installed = api.write(
        f"{SERVERS}/intermediate/set-signed", {"certificate": (signed + root.pem).decode()}
    )
    issuers = [
        issuer
        for issuer, key in dict(installed["mapping"]).items()
        if key and key == made["key_id"]
    ]
    api.write(f"{SERVERS}/config/issuers", {"default": issuers[0]})
