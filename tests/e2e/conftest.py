"""The one installation that all end-to-end tests share.

It is made fresh under the name e2e and destroyed at the end. With HOLDFAST_NAME set, an
installation that stands already is used and left standing.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast import paths
from holdfast.installation import Installation

_BIN = Path(sys.executable).parent
_HEADING = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?P<task>.+)\] \*")
_CHANGED = re.compile(r"^changed: \[(?P<host>[^\]]+)\]")
_RECAP = re.compile(r"^(?P<host>\S+)\s+: ok=\d+\s+changed=(?P<changed>\d+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Play:
    """What a run of a playbook said."""

    status: int
    output: str

    @property
    def changed(self) -> set[tuple[str, str]]:
        """Task and host of everything that was, or would be, changed."""
        found = set()
        task = ""
        for line in self.output.splitlines():
            if heading := _HEADING.match(line):
                task = heading["task"]
            elif changed := _CHANGED.match(line):
                found.add((task, changed["host"]))
        return found

    @property
    def recap(self) -> dict[str, int]:
        """Number of changed tasks by host, as Ansible counts them."""
        return {row["host"]: int(row["changed"]) for row in _RECAP.finditer(self.output)}


class Site:
    """The installation under test."""

    def __init__(self, name: str) -> None:
        self.installation = Installation(name)
        self.fresh_check: Play | None = None

    def holdfast(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_BIN / "holdfast", "--name", self.installation.name, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )

    def ssh(self, host: str, command: str) -> str:
        done = self.holdfast("ssh", host, command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def play(self, *argv: str, strategy: str | None = None) -> Play:
        """Run site.yml as a person would run it, with Ansible's own command."""
        done = subprocess.run(
            [_BIN / "ansible-playbook", "playbooks/site.yml", *argv],
            cwd=paths.repository(),
            env={**os.environ, **({"ANSIBLE_STRATEGY": strategy} if strategy else {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
        return Play(status=done.returncode, output=done.stdout + done.stderr)

    def play_until(self, moment: str) -> None:
        """Run site.yml, and kill it at the task whose name begins with `moment`."""
        with subprocess.Popen(
            [_BIN / "ansible-playbook", "playbooks/site.yml"],
            cwd=paths.repository(),
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            seen = []
            for line in process.stdout:
                seen.append(line)
                if line.startswith(f"TASK [{moment}"):
                    # As when the machine dies: with its workers, which have sessions of their own.
                    process.send_signal(signal.SIGSTOP)
                    subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=True)
                    process.kill()
                    break
            else:
                pytest.fail(f"never at {moment}:\n{''.join(seen)}")


@pytest.fixture(scope="session", autouse=True)
def site() -> Iterator[Site]:
    """Up once, after a check on hosts that nothing was done to."""
    made = Site(os.environ.setdefault("HOLDFAST_NAME", "e2e"))
    if made.installation.folder.exists() and made.installation.name != "e2e":
        yield made
        return
    try:
        made.holdfast("destroy", "--yes")
        servers = made.holdfast("up", "--until", "servers")
        assert servers.returncode == 0, servers.stderr
        made.fresh_check = made.play("--check", "--diff")
        up = made.holdfast("up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield made
    finally:
        made.holdfast("destroy", "--yes")
