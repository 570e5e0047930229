"""A wrong key in the inventory locks nobody out: the change undoes itself, and the play says so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast import paths
from holdfast.local.machine import inspect
from holdfast.local.podman import Podman

NAME = "itest-accounts"
HOST = "somebody"
ACCESS = (
    "cd /home/ops/.ssh && stat -c '%n %a %U' . authorized_keys && cat authorized_keys"
    " && cd /etc/sudoers.d && ls -l && cat holdfast-administrators && getent shadow ops root"
)
PENDING = "find /var/lib/holdfast/rollback -name record.json"
_HOSTS = f"all: {{hosts: {{{HOST}: {{local_release: trixie}}}}}}\n"
_PLAY = Path(__file__).with_name("plays") / "base.yml"
_BIN = Path(sys.executable).parent

Play = Callable[..., "subprocess.CompletedProcess[str]"]
Shell = Callable[[str], str]


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One host, not configured yet."""
    folder = tmp_path_factory.mktemp("inventory")
    (folder / "hosts.yml").write_text(_HOSTS)
    (folder / "servers").symlink_to(paths.repository() / "inventory" / "local" / "servers")
    try:
        _holdfast(folder, "up", "--until", "servers")
        yield folder
    finally:
        _holdfast(folder, "destroy", "--yes")


def _holdfast(inventory: Path, *argv: str) -> None:
    command = [_BIN / "holdfast", "--name", NAME, "--inventory", inventory, *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def shell(inventory: Path) -> Shell:
    """Run a command from inside the machine: also on a host that is shut."""
    podman = Podman(inspect(storage=paths.state_folder()))
    assert inventory.exists()
    return lambda command: podman("exec", f"holdfast-{NAME}_{HOST}", "sh", "-c", command)


@pytest.fixture(scope="module")
def play(inventory: Path) -> Play:
    """Run role base on the host."""

    def run(*argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_BIN / "ansible-playbook", "-i", inventory, _PLAY, "-e", json.dumps(variables), *argv],
            cwd=paths.repository(),
            env={**os.environ, "HOLDFAST_NAME": NAME},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
            check=False,
        )

    first = run()
    assert first.returncode == 0, first.stdout
    return run


def test_unchanged_way_in_arms_nothing(play: Play) -> None:
    again = play()
    assert again.returncode == 0, again.stdout
    assert "changed=0" in again.stdout
    assert "Ensure the old state comes back unless it is confirmed" not in again.stdout


def test_wrong_key_does_not_lock_the_operator_out(
    inventory: Path, play: Play, shell: Shell, tmp_path: Path
) -> None:
    """Nor does it last on the host, and a check before it says what would be changed."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    wrong = key.with_suffix(".pub").read_text(encoding="utf-8").strip()
    before = shell(ACCESS)
    checked = play("--check", key=wrong)
    assert checked.returncode == 0, checked.stdout
    assert "changed=1" in checked.stdout
    assert shell(ACCESS) == before

    ended = play(key=wrong)
    assert ended.returncode != 0
    message = rf"No fresh login to {HOST} worked after the change of accounts .*Permission denied"
    assert re.search(message, ended.stdout), ended.stdout
    assert f"come back by itself: {HOST} answers again" in ended.stdout
    _holdfast(inventory, "ssh", HOST, "sudo", "-n", "true")
    assert shell(ACCESS) == before
    assert shell(PENDING) == ""
