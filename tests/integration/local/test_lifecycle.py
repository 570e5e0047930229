"""Hosts on this machine: they come up, survive what happens to them, and leave nothing behind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from holdfast.installation import Installation
from holdfast.local.podman import Podman
from tests.integration.local.conftest import LABEL, Holdfast, command, names, pinned


def test_the_life_of_an_installation(
    holdfast: Holdfast, podman: Podman, installation: Installation
) -> None:
    """Up, looked at, stopped, started, a host lost and made again, destroyed."""
    holdfast("up", "--until", "servers")
    state = json.loads(holdfast("status", "--json").stdout)
    assert {host["name"]: host["state"] for host in state["hosts"]} == {
        "one": "running",
        "two": "running",
    }
    assert holdfast("ssh", "two", "id", "-un").stdout == "ops\n"
    found = holdfast("ssh", "two", "getent", "hosts", "one", "panel.itest.holdfast.test").stdout
    assert len(found.splitlines()) == 2
    assert "systemd" in holdfast("logs", "one").stdout
    assert installation.folder.stat().st_mode & 0o777 == 0o700
    network = json.loads(podman("network", "inspect", "holdfast-itest"))[0]
    bridge = Path("/sys/class/net", network["network_interface"])
    assert bridge.name.startswith("hf-")  # podman's own names may be given to the user's networks
    assert bridge.exists()
    unit = "sudo systemd-run --quiet --pipe --property=SetCredential=word:given"
    read = f"{unit} sh -c 'cat $CREDENTIALS_DIRECTORY/word'"
    assert holdfast("ssh", "one", read).stdout == "given"

    holdfast("ssh", "one", "sudo tee /srv/data/kept <<<here; hostname | sudo tee /etc/lost")
    before = state["hosts"]
    holdfast("down")
    states = json.loads(holdfast("status", "--json").stdout)["hosts"]
    assert {host["state"] for host in states} == {"exited"}
    holdfast("up", "--until", "servers")
    assert holdfast("ssh", "one", "cat", "/etc/lost").stdout == "one\n"

    podman("rm", "--force", "--time", "0", "holdfast-itest_one")
    holdfast("up", "--until", "servers")
    assert holdfast("ssh", "one", "cat", "/srv/data/kept").stdout == "here\n"
    assert json.loads(holdfast("status", "--json").stdout)["hosts"] == before
    assert pinned(installation) == ["one", "two"]

    holdfast("destroy", status=130)  # it asks, and an empty standard input does not answer
    assert installation.folder.exists()
    holdfast("destroy", "--yes")
    assert names(podman) == []
    assert podman("volume", "ls", "--quiet", *LABEL) == ""
    assert not podman.succeeds("network", "exists", "holdfast-itest")
    assert not bridge.exists()
    assert not installation.folder.exists()


def test_a_host_with_another_key_is_not_believed(holdfast: Holdfast, podman: Podman) -> None:
    """Somebody who takes a host's address without its key gets neither login nor commands."""
    holdfast("up", "--until", "servers")
    container = "holdfast-itest_two"
    podman("exec", container, "rm", "/etc/ssh/ssh_host_ed25519_key")
    podman("exec", container, "ssh-keygen", "-q", "-A")
    podman("exec", container, "systemctl", "restart", "ssh")
    refused = holdfast("ssh", "two", "true", status=255)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in refused.stderr


def test_the_second_command_leaves_with_its_own_status(holdfast: Holdfast, inventory: Path) -> None:
    with subprocess.Popen(
        command(inventory, "up", "--until", "servers"), stderr=subprocess.PIPE, text=True
    ) as first:
        assert first.stderr is not None
        first.stderr.readline()
        second = holdfast("up", "--until", "servers", status=3)
        assert f"up` (process {first.pid}) is at work here; wait for it" in second.stderr
        holdfast("up", "--until", "servers", "--wait", "60")
        first.wait()
    assert first.returncode == 0


def test_a_name_that_cannot_be_is_refused(inventory: Path) -> None:
    done = subprocess.run(
        command(inventory, "up", name="../x"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "cannot name an installation; use 1 to 16" in done.stderr


def test_an_image_that_cannot_be_made_is_refused(holdfast: Holdfast, inventory: Path) -> None:
    hosts = inventory / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("trixie", "buster"))
    refused = holdfast("up", "--until", "servers", status=2)
    assert "set local_release to trixie or bookworm" in refused.stderr


def test_an_inventory_that_is_no_yaml_is_refused(holdfast: Holdfast, inventory: Path) -> None:
    hosts = inventory / "hosts.yml"
    good = hosts.read_text()
    hosts.write_text("all: {hosts: [")
    refused = holdfast("up", status=2)
    assert str(inventory) in refused.stderr
    assert "is not YAML; mend it" in refused.stderr
    hosts.write_text(good)
