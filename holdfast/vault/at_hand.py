"""The operator who sits here: whose secret key is at hand on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.local.operators import throw_away_keys
from holdfast.vault.gpg import Gpg
from holdfast.vault.holders import GpgHolder, NoShare, ThrowAwayHolder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.installation import Installation


def operator_at_hand(
    installation: Installation, operators: Sequence[Mapping[str, Any]]
) -> GpgHolder:
    """Return the first of `operators` (as in the inventory) who can decrypt here.

    Raises NoShare when there is none.
    """
    for name, key in throw_away_keys(installation.folder / "operators").items():
        return ThrowAwayHolder(name=name, key=key)
    for operator in operators:
        if Gpg(None).has_secret(operator["fingerprint"]):
            return GpgHolder(name=operator["name"])
    names = ", ".join(operator["name"] for operator in operators) or "nobody is listed"
    raise NoShare(
        "Only an operator's PGP key opens this, and no operator's secret key is in your GnuPG "
        f"({names}); run it as one of them, or list people in vault_operators."
    )
