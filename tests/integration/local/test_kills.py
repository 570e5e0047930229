"""Killed at any moment, the same command run again ends in the same state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.installation import Installation
from holdfast.local.podman import Podman, folder
from tests.integration.local.conftest import LABEL, MAKE_IMAGE, Holdfast, command, names, pinned


def killed(argv: list[str], *, seconds: float) -> None:
    """Start a command and kill it, with all that it started, after some seconds."""
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("seconds", [1.5, 2.5])
def test_up(
    holdfast: Holdfast, inventory: Path, podman: Podman, installation: Installation, seconds: float
) -> None:
    killed(command(inventory, "up", "--until", "servers"), seconds=seconds)
    holdfast("up", "--until", "servers")
    assert names(podman) == ["holdfast-itest_one", "holdfast-itest_two"]
    assert pinned(installation) == ["one", "two"]
    assert holdfast("ssh", "one", "true").returncode == 0


def test_the_start_of_a_host(holdfast: Holdfast, inventory: Path, podman: Podman) -> None:
    """What runc has begun by then is no obstacle."""
    holdfast("up", "--until", "servers")
    holdfast("down")
    begun = Path(
        "/run/runc", podman("inspect", "--format", "{{.Id}}", "holdfast-itest_one").strip()
    )
    argv = command(inventory, "up", "--until", "servers")
    with subprocess.Popen(argv, start_new_session=True) as process:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    assert begun.exists()
    holdfast("up", "--until", "servers")


@pytest.mark.parametrize("then", ["inspect", "stop"])
def test_a_host_and_its_monitor(holdfast: Holdfast, podman: Podman, then: str) -> None:
    """Of such an end nobody tells podman."""
    holdfast("up", "--until", "servers")
    name = "holdfast-itest_one"
    found = podman.json("inspect", name)[0]["State"]
    monitor = found["ConmonPid"]
    os.kill(monitor, signal.SIGKILL)
    os.kill(found["Pid"], signal.SIGKILL)
    podman(then, name)
    while podman.json("inspect", name)[0]["Id"] in podman.processes():
        time.sleep(0.1)
    hosts = json.loads(holdfast("status", "--json").stdout)["hosts"]
    assert {host["name"]: host["state"] for host in hosts} == {"one": "exited", "two": "running"}
    holdfast("up", "--until", "servers")
    assert holdfast("ssh", "one", "true").returncode == 0


def test_destroy(
    holdfast: Holdfast, inventory: Path, podman: Podman, installation: Installation
) -> None:
    """What is half destroyed can be brought up again, or destroyed to the end."""
    holdfast("up", "--until", "servers")
    killed(command(inventory, "destroy", "--yes"), seconds=1.2)
    holdfast("up", "--until", "servers")
    assert names(podman) == ["holdfast-itest_one", "holdfast-itest_two"]
    for seconds in (0.9, 1.2, 1.5):
        killed(command(inventory, "destroy", "--yes"), seconds=seconds)
    holdfast("destroy", "--yes")
    assert names(podman) == []
    assert podman("volume", "ls", "--quiet", *LABEL) == ""
    assert not podman.succeeds("network", "exists", "holdfast-itest")
    assert not installation.folder.exists()
    assert not list(installation.folder.parent.glob(f".{installation.name}.*"))


@pytest.fixture
def own_image(podman: Podman) -> Iterator[list[str]]:
    """The command that makes an image; at the end what it printed is removed."""
    made: list[str] = []
    yield made
    for name in made:
        podman("rmi", "--ignore", name)


def test_the_making_of_an_image(podman: Podman, own_image: list[str]) -> None:
    """Neither a mount nor a program stays, which the next run would delete through or race with."""
    make = [sys.executable, "-c", MAKE_IMAGE]
    scratch = str(folder() / "image")
    with subprocess.Popen(make, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while not any(scratch in mounts for mounts in mounts_of_group(process.pid)):
            assert process.poll() is None
            time.sleep(0.1)
        process.kill()
    time.sleep(1)
    assert mounts_of_group(process.pid) == []
    assert scratch not in Path("/proc/self/mounts").read_text()

    done = subprocess.run(make, stdout=subprocess.PIPE, text=True, check=True)
    own_image.append(done.stdout.strip())
    assert podman.succeeds("image", "exists", own_image[0])
    assert not Path(scratch).exists()


def mounts_of_group(leader: int) -> list[str]:
    """What each process of a process group sees mounted."""
    listed = subprocess.run(
        ["pgrep", "--pgroup", str(leader), "--runstates", "DRST"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = []
    for number in listed.stdout.split():
        try:
            found.append(Path("/proc", number, "mounts").read_text())
        except OSError:  # it has ended
            continue
    return found
