"""What a machine cannot do ends in one message with its fix, before anything is made."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from holdfast.installation import Installation
from holdfast.local import record
from tests.integration.local.conftest import Holdfast, command

_IP_FREEBIND = 15  # linux/in.h


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


def test_port_53_is_taken(holdfast: Holdfast, installation: Installation) -> None:
    """A name server on every address keeps podman's own from the bridge; once gone, `up` mends."""
    holdfast("up", "--until", "servers")
    holdfast("down")
    gateways = record.load(installation.folder)["operator_addresses"]
    with ExitStack() as held:
        for address in gateways:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            occupant = held.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            # The bridge is down, and its addresses with it.
            occupant.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
            occupant.bind((address, 53))
        message = holdfast("up", "--until", "servers", status=2).stderr
        assert "`ss -lunp sport = :53` names it" in message
    holdfast("up", "--until", "servers")
    holdfast("ssh", "two", "getent", "hosts", "panel.itest.holdfast.test")
