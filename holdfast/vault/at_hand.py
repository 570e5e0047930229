"""The operator who sits here: whose secret PGP key is at hand on this machine."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from holdfast.local.operators import throw_away_keys
from holdfast.vault import login as logins
from holdfast.vault.authority import unlock
from holdfast.vault.gpg import Gpg
from holdfast.vault.holders import GpgHolder, NoShare, ThrowAwayHolder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from holdfast.installation import Installation


def somebody(folder: Path) -> GpgHolder:
    """Return who decrypts here: a throw-away operator, else whoever calls, by their own GnuPG.

    `folder` is the installation's.
    """
    for name, key in throw_away_keys(folder / "operators").items():
        return ThrowAwayHolder(name=name, key=key)
    return GpgHolder(name=getpass.getuser())


def operator(folder: Path, operators: Sequence[Mapping[str, Any]]) -> GpgHolder:
    """Return the first of `operators` (as in the inventory) who can decrypt here.

    Raises NoShare when there is none.
    """
    found = somebody(folder)
    if isinstance(found, ThrowAwayHolder):
        return found
    for one in operators:
        if Gpg(None).has_secret(one["fingerprint"]):
            return GpgHolder(name=one["name"])
    names = ", ".join(one["name"] for one in operators) or "nobody is listed"
    raise NoShare(
        f"No operator's secret key is in your GnuPG ({names}); run it as one of them, or list "
        "yourself in vault_operators."
    )


def log_in(
    installation: Installation, nodes: Mapping[str, str], operators: Sequence[Mapping[str, Any]]
) -> str:
    """Log in at Vault as the operator whose key is at hand, and return the name.

    `nodes` is the address of each node by its name, `operators` as in the inventory.
    """
    person = operator(installation.folder, operators)
    authority = unlock(installation.folder / "vault", "operators-ca", person)
    logins.login(installation, nodes, authority=authority, operator=person.name)
    return person.name


def log_in_if_needed(installation: Installation, nodes: Mapping[str, str]) -> str | None:
    """Log a throw-away operator in, unless somebody is logged in for long enough already.

    Returns the operator's name if it did. Raises NotLoggedIn where only a person can.
    """
    if logins.is_logged_in(installation, nodes):
        return None
    if not throw_away_keys(installation.folder / "operators"):
        raise logins.NotLoggedIn(
            "Looking at Vault and configuring it needs an operator's login, for an hour; run "
            f"`holdfast --name {installation.name} vault login`, then this again."
        )
    return log_in(installation, nodes, ())
