"""What a machine cannot do ends in one message with its fix, before anything is made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.local.conftest import command


def refused(*around: str, inventory: Path, state: Path) -> str:
    """What `up` says, run by the command line `around` it with the state folder `state`."""
    done = subprocess.run(
        [*around, *command(inventory, "up", "--until", "servers")],
        env={**os.environ, "HOLDFAST_STATE": str(state)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("around", "message"),
    [
        (["setpriv", "--bounding-set=-sys_admin,-net_admin", "--"], "no NET_ADMIN, SYS_ADMIN here"),
        (["unshare", "--user", "--map-root-user", "--"], "root of a user namespace only"),
        (["setpriv", "--reuid=65534", "--clear-groups", "--"], "run again with sudo"),
    ],
    ids=["lost capabilities", "user namespace", "nobody"],
)
def test_too_few_rights(inventory: Path, tmp_path: Path, around: list[str], message: str) -> None:
    state = tmp_path / "state"
    assert message in refused(*around, inventory=inventory, state=state)
    assert not (state / "podman").exists()


def test_overlay_on_overlay(inventory: Path, tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    merged = tmp_path / "merged"
    mount = (
        f"mount -t overlay -o lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,"
        f'workdir={tmp_path}/work overlay {merged} && exec "$@"'
    )
    around = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    message = refused(*around, inventory=inventory, state=merged)
    assert (
        f"- {merged} is on overlayfs, which cannot carry containers; set HOLDFAST_STATE" in message
    )
    assert not list((tmp_path / "upper").glob("podman"))
