"""What Vault is given by a root token: the audit trail first, then a way in for operators.

From then on operators log in for an hour with a certificate, and configure with the policy
`deployer`; nothing else of this can be changed without a quorum (`holdfast vault rotate-root`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from holdfast.vault.client import Vault

AUDIT_FILE = "/var/log/vault/audit.log"
LOGIN = "cert"
ROLE = "operators"
POLICY = "deployer"
UNIT = "holdfast-operator"
_HOUR = 3600


def policy() -> str:
    """Return the rules of `deployer`."""
    return (Path(__file__).parent / "policies" / f"{POLICY}.hcl").read_text()


def set_up(vault: Vault, *, operators_ca: str, audit_file: str = AUDIT_FILE) -> tuple[str, ...]:
    """Make it so, and say what is so, in words for the protocol.

    `operators_ca` is the PEM of the authority that signs the operators' certificates. What is
    there already and right is left alone.
    """
    _audit(vault, file=audit_file)
    if f"{LOGIN}/" not in (vault.read("sys/auth") or {}):
        vault.write(f"sys/auth/{LOGIN}", {"type": "cert"})
    vault.write(f"sys/policies/acl/{POLICY}", {"policy": policy()})
    vault.write(
        f"auth/{LOGIN}/certs/{ROLE}",
        {
            "certificate": operators_ca,
            "allowed_organizational_units": [UNIT],
            "token_policies": [POLICY],
            "token_no_default_policy": True,
            "token_type": "service",
            "token_ttl": _HOUR,
            "token_max_ttl": _HOUR,
        },
    )
    return (
        f"audit device file at {audit_file}",
        f"login {LOGIN} with the role {ROLE} for certificates of the operators' authority",
        f"policy {POLICY}",
    )


def _audit(vault: Vault, *, file: str) -> None:
    devices: Mapping[str, Any] = vault.read("sys/audit") or {}
    if "file/" not in devices:
        vault.write("sys/audit/file", {"type": "file", "options": {"file_path": file}})
        return
    found = devices["file/"]["options"].get("file_path")
    if found != file:
        raise Error(
            f"Vault writes its audit trail to {found}, not to {file}, where the hosts look after "
            "it; disable that device (sys/audit/file) by hand and run again."
        )
