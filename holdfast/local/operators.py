"""Throw-away operators: so that Vault can be tried on one machine without people and their keys.

Their secret keys have no passphrase and lie in the installation's folder. An inventory whose hosts
stand elsewhere refuses them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.files import private_folder, write_atomic
from holdfast.vault.gpg import keyring
from holdfast.vault.operators import THROW_AWAY

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("anna", "ben", "cara")
THRESHOLD = 2

_VARIABLES = "operators.json"
_NOTICE = """\
THROW-AWAY: the operators of a Holdfast installation on this machine, who are no people.
Their secret keys are not encrypted: whoever reads this folder opens Vault. Use them for trying this
installation, and for nothing else.
"""


def ensure_operators(folder: Path) -> None:
    """Make the operators in `folder` where they are missing. Can be killed and run again.

    `operators.json` is written last and holds the inventory's variables that list them.
    """
    private_folder(folder)
    if not (folder / "README").exists():
        write_atomic(folder / "README", _NOTICE)
    if (folder / _VARIABLES).exists():
        return
    variables = {
        "vault_operators": [_make(folder, name) for name in NAMES],
        "vault_threshold": THRESHOLD,
        "vault_throw_away": True,
    }
    write_atomic(folder / _VARIABLES, json.dumps(variables, indent=2, sort_keys=True) + "\n")


def throw_away_keys(folder: Path) -> dict[str, Path]:
    """Return the file of each operator's secret key, by name; empty where there are none.

    Raises Error when one is missing that is listed.
    """
    if not (folder / _VARIABLES).exists():
        return {}
    listed = json.loads((folder / _VARIABLES).read_text())["vault_operators"]
    keys = {operator["name"]: _secret(folder, operator["name"]) for operator in listed}
    for name, path in keys.items():
        if not path.exists():
            raise Error(
                f"{path}, the key of the throw-away operator {name}, is missing; bring it back, or "
                "destroy the installation and begin again."
            )
    return keys


def _secret(folder: Path, name: str) -> Path:
    return folder / f"{name}.secret.asc"


def _make(folder: Path, name: str) -> dict[str, str]:
    unlocked = ("--pinentry-mode", "loopback", "--passphrase", "")
    user = f"{name} ({THROW_AWAY})"
    with keyring() as gpg:
        made = gpg.must(*unlocked, "--quick-generate-key", user, "ed25519", "cert,sign", "never")
        fingerprint = made.said("KEY_CREATED")[0][1]
        gpg.must(*unlocked, "--quick-add-key", fingerprint, "cv25519", "encr", "never")
        secret = gpg.must(*unlocked, "--armor", "--export-secret-keys", fingerprint).out
        public = gpg.must("--armor", "--export", fingerprint).out
    write_atomic(_secret(folder, name), secret, mode=0o600)
    return {"name": name, "fingerprint": fingerprint, "key": public.decode()}
