"""An operator's login at Vault: for an hour, by a certificate that is made for it and thrown away.

The token lies in memory only, for the operator alone, where the playbooks find it.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from holdfast.errors import Error
from holdfast.files import private_folder, write_atomic
from holdfast.vault.client import Denied, Token, Unreachable, Vault
from holdfast.vault.memory import memory, scratch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from holdfast.installation import Installation
    from holdfast.vault.authority import Authority

ROLE = "operators"
# So much has to be left for a run of the site.
_RESERVE_SECONDS = 900


class NotLoggedIn(Error):
    """There is no operator's token, or it has ended."""


def login(
    installation: Installation, nodes: Mapping[str, str], *, authority: Authority, operator: str
) -> None:
    """Log `operator` in at one of `nodes` (address by host name) and keep the token.

    Raises Error when Vault cannot be reached, is sealed, or refuses.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.sign_operator(key.public_key(), name=operator)
    with scratch() as folder:
        paths = (folder / "login.crt", folder / "login.key")
        write_atomic(paths[0], certificate, mode=0o600)
        write_atomic(
            paths[1],
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            mode=0o600,
        )
        vault = _open_node(installation, nodes, certificate=paths)
        token = vault.login_by_certificate(role=ROLE)
    until = int(time.time() + token.seconds)
    write_atomic(_token_file(installation), f"{until} {token.value}\n", mode=0o600)


def is_logged_in(installation: Installation, nodes: Mapping[str, str]) -> bool:
    """Tell whether there is a token that lasts for a run of the site, and that Vault takes."""
    try:
        vault = deployer(installation, nodes)
        found = vault.read("auth/token/lookup-self") or {}
    except (NotLoggedIn, Denied):
        return False
    return float(found.get("ttl", 0)) > _RESERVE_SECONDS


def forget(installation: Installation) -> None:
    """Remove the token, without asking Vault."""
    _token_file(installation).unlink(missing_ok=True)


def deployer(installation: Installation, nodes: Mapping[str, str]) -> Vault:
    """Return a client with the operator's token. Raises NotLoggedIn when there is none."""
    token = _read(installation)
    vault = _open_node(installation, nodes)
    vault.token = token
    return vault


def operators_ca(installation: Installation) -> Path:
    """Return where the certificate is that Vault's own are verified by."""
    return installation.folder / "vault" / "operators-ca.crt"


def _open_node(
    installation: Installation,
    nodes: Mapping[str, str],
    *,
    certificate: tuple[Path, Path] | None = None,
) -> Vault:
    """Return the first node that answers and is open: one that is not leader asks the leader."""
    reason: Error = Unreachable("The inventory has no host in group vault; add one.")
    for name, address in nodes.items():
        vault = Vault(
            address, ca=operators_ca(installation), name=name, certificate=certificate, patience=0
        )
        try:
            status = vault.seal_status()
        except Unreachable as error:
            reason = error
            continue
        if not status.sealed:
            return vault
        reason = Error(f"Vault on {name} is sealed; run `holdfast vault unseal`.")
    raise reason


def _token_file(installation: Installation) -> Path:
    own = memory() / f"holdfast-operator-{os.geteuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Error(f"{own} is not yours alone: somebody else made it; remove it and run again.")
    return private_folder(own / installation.name) / "token"


def _read(installation: Installation) -> Token:
    try:
        until, value = _token_file(installation).read_text().split()
    except (FileNotFoundError, ValueError):
        until, value = "0", ""
    left = int(until) - time.time()
    if left <= 0:
        raise NotLoggedIn(
            "You are not logged in at Vault, or your hour is over; run "
            f"`holdfast --name {installation.name} vault login`."
        )
    return Token(value=value, seconds=left)
