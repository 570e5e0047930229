"""Three nodes of Vault, and how long nobody can write when the one that leads is killed."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from holdfast import paths
from holdfast.errors import Error
from holdfast.installation import Installation
from holdfast.local import record
from holdfast.vault.login import deployer

_NAME = "bench-cluster"
_BIN = Path(sys.executable).parent
_NODES = ("vault1", "vault2", "vault3")
_SECONDS = 120  # after which it does not count as fail-over any more


def inventory(folder: Path) -> Path:
    """Make the inventory of the local installation with three nodes of Vault, in `folder`."""
    made = folder / "inventory"
    shutil.copytree(paths.repository() / "inventory" / "local", made)
    hosts = yaml.safe_load((made / "hosts.yml").read_text())
    hosts["all"]["children"]["installation"]["children"]["vault"]["hosts"] = dict.fromkeys(_NODES)
    (made / "hosts.yml").write_text(yaml.safe_dump(hosts))
    return made


def measure(*, runs: int) -> float:
    """Return the seconds, the median of `runs`, until a write succeeds through another node."""
    with tempfile.TemporaryDirectory() as folder:
        made = inventory(Path(folder))
        try:
            _holdfast(made, "destroy", "--yes")
            _holdfast(made, "up", "--until", "site")
            return statistics.median(_fail_over(made) for _ in range(runs))
        finally:
            _holdfast(made, "destroy", "--yes")


def _fail_over(made: Path) -> float:
    _holdfast(made, "vault", "login")
    installation = Installation(_NAME)
    hosts = record.load(installation.folder)["hosts"]
    nodes = {name: hosts[name]["addresses"][0] for name in _NODES}
    leads = [name for name in nodes if deployer(installation, {name: nodes[name]}).is_leader()]
    address = nodes.pop(leads[0])
    _holdfast(made, "ssh", leads[0], "sudo systemctl kill --signal=KILL vault.service")
    began = time.monotonic()
    while not _writes(installation, nodes):
        if time.monotonic() - began > _SECONDS:
            raise Error(f"Nobody writes {_SECONDS} s after {leads[0]} ({address}) was killed.")
        time.sleep(0.1)
    taken = time.monotonic() - began
    _holdfast(made, "vault", "unseal")
    return taken


def _writes(installation: Installation, nodes: dict[str, str]) -> bool:
    """Whether the operator's login can be renewed, which Vault has to note."""
    try:
        deployer(installation, nodes).write("auth/token/renew-self", {})
    except Error:
        return False
    return True


def _holdfast(made: Path, *argv: str) -> None:
    subprocess.run([_BIN / "holdfast", "--name", _NAME, "--inventory", made, *argv], check=True)
