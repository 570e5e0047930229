"""Hosts that are locked out on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast import paths
from holdfast.local.machine import inspect
from holdfast.local.podman import Podman

NAME = "itest-rollback"
_HOSTS = """\
---
all:
  hosts:
    all-shut: {local_release: trixie}
    new-shut: {local_release: bookworm}
    sshd-shut: {local_release: trixie}
  vars:
    firewall_flows: []
"""
_PLAYS = Path(__file__).with_name("plays")
_BIN = Path(sys.executable).parent


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a play ended."""

    status: int
    output: str


class Hosts:
    """What a test does to the hosts, and how it looks at them."""

    def __init__(self, inventory: Path) -> None:
        self._inventory = inventory
        self._podman = Podman(inspect(storage=paths.state_folder()))

    def holdfast(self, *argv: str) -> None:
        command = [_BIN / "holdfast", "--name", NAME, "--inventory", self._inventory, *argv]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr

    def start(self, play: str, *, only: str, strategy: str = "", **variables: object) -> Playing:
        """Start one of the plays beside this file, on the hosts `only`."""
        argv = [str(_BIN / "ansible-playbook"), "-i", str(self._inventory), "--limit", only]
        argv.append(str(_PLAYS / play))
        env = {**os.environ, "HOLDFAST_NAME": NAME}
        if strategy:
            env["ANSIBLE_STRATEGY"] = strategy
        return Playing([*argv, "-e", json.dumps(variables)], env)

    def play(self, play: str, *, only: str, **variables: object) -> Ended:
        """Run one of the plays beside this file to its end."""
        return self.start(play, only=only, **variables).end()

    def shell(self, host: str, command: str) -> str:
        """Run a command from inside the machine: also on a host that is shut."""
        return self._podman("exec", f"holdfast-{NAME}_{host}", "sh", "-c", command)

    def restart(self, host: str) -> None:
        """Reset the host without any notice, and start it again."""
        self._podman("kill", f"holdfast-{NAME}_{host}")
        self._podman("start", f"holdfast-{NAME}_{host}")

    def login(self, host: str) -> None:
        """Log in afresh, as the operator does."""
        self.holdfast("ssh", host, "sudo", "-n", "true")


class Playing:
    """A play that runs."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            argv,
            cwd=paths.repository(),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self) -> Ended:
        """Wait for the end."""
        output, _ = self._process.communicate(timeout=300)
        return Ended(status=self._process.returncode, output=output)


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Three hosts; two have the firewall, one is fresh."""
    inventory = tmp_path_factory.mktemp("inventory")
    (inventory / "hosts.yml").write_text(_HOSTS)
    (inventory / "servers").symlink_to(paths.repository() / "inventory" / "local" / "servers")
    made = Hosts(inventory)
    try:
        made.holdfast("up", "--until", "servers")
        configured = made.play("way_in.yml", only="all-shut,new-shut", way="firewall")
        assert configured.status == 0, configured.output
        yield made
    finally:
        made.holdfast("destroy", "--yes")
