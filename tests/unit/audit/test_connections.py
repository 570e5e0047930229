"""How the audit reaches hosts."""

import subprocess

import pytest

from holdfast import inventory as inventories
from holdfast.audit import connections


def _inventory(**variables):
    listed = {"installation": {"hosts": ["h1"]}, "_meta": {"hostvars": {"h1": variables}}}
    return inventories.parse(listed, path="inventory")


def test_host_keys_are_always_checked(tmp_path):
    inventory = _inventory(ansible_ssh_common_args="-o UserKnownHostsFile=/k/known_hosts -J gate")
    config = connections.ssh_config(inventory, sockets=tmp_path)
    assert "StrictHostKeyChecking yes" in config
    assert "UserKnownHostsFile /k/known_hosts" in config
    assert "ProxyJump gate" in config


def test_the_inventory_cannot_turn_off_what_the_audit_insists_on(tmp_path):
    inventory = _inventory(
        ansible_ssh_common_args="-o StrictHostKeyChecking=no -o BatchMode=no "
        "-o HostName=192.0.2.9 -o LocalCommand=x -o UserKnownHostsFile=/k/known_hosts"
    )
    config = tmp_path / "config"
    config.write_text(connections.ssh_config(inventory, sockets=tmp_path))
    said = subprocess.run(
        ["ssh", "-F", config, "-G", "h1"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "stricthostkeychecking true" in said
    assert "batchmode yes" in said
    assert "hostname h1" in said
    assert "userknownhostsfile /k/known_hosts" in said


def test_ansibles_own_sockets_are_not_used(tmp_path):
    inventory = _inventory(ansible_ssh_common_args="-o ControlPath=/a/b -o ControlMaster=no")
    config = connections.ssh_config(inventory, sockets=tmp_path)
    assert "/a/b" not in config
    assert f"ControlPath {tmp_path}/%C" in config


def test_an_argument_that_is_not_understood_is_refused(tmp_path):
    with pytest.raises(connections.UnsupportedArgument, match="-F"):
        connections.ssh_config(_inventory(ansible_ssh_extra_args="-F /x"), sockets=tmp_path)


def test_a_host_that_does_not_answer_is_named():
    inventory = _inventory(ansible_host="127.0.0.1", ansible_port=9, ansible_user="nobody")
    with (
        pytest.raises(connections.Unreachable, match=r"h1: .*refused"),
        connections.connected(inventory),
    ):
        pytest.fail("it went on without the host")
