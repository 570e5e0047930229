"""A change that locks the operator out undoes itself, and the play says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.rollback.conftest import Ended, Hosts

FIREWALLS = ("all-shut", "new-shut")
RULES = "cat /etc/holdfast/firewall.nft; nft --stateless list table inet holdfast"
SSHD = "cd /etc/ssh && sha256sum sshd_config ssh_host_* && ls -l && sshd -T"
PENDING = "find /var/lib/holdfast/rollback -name record.json"
# Checks rules as ever, and refuses to load them once: a kernel that lacks a module.
WRITE_NFT = r"""cat > /usr/sbin/nft <<'END' && chmod 755 /usr/sbin/nft
#!/bin/sh
if [ "$1" = -f ]; then
    ln --symbolic --force nft.real /usr/sbin/nft
    echo 'no such module' >&2
    exit 1
fi
exec /usr/sbin/nft.real "$@"
END"""
MAKE_OLD = """set -e
mkdir -m 0750 /srv/folder
echo old | tee /srv/folder/kept > /srv/file
chown ops:ops /srv/file
chmod 0604 /srv/file
chmod 0640 /srv/folder/kept"""
LOOK = "cd /srv; stat -c '%n %a %U' * folder/*; cat file folder/*"
OLD = ["file 604 ops", "folder 750 root", "folder/kept 640 root", "old", "old"]


@dataclass(frozen=True, kw_only=True)
class LockedOut:
    """What two plays did that shut three hosts, and what the hosts were before."""

    firewall: Ended
    sshd: Ended
    before: dict[str, str]


@pytest.fixture(scope="module")
def locked_out(hosts: Hosts) -> LockedOut:
    """Shut two hosts by their firewalls and one by its sshd, all at the same time."""
    before = {host: hosts.shell(host, RULES) for host in FIREWALLS}
    before["sshd-shut"] = hosts.shell("sshd-shut", SSHD)
    template = "{{ playbook_dir }}/templates/{{ {'all-shut': 'everything', 'new-shut': 'newcomers'}"
    firewall = hosts.start(
        "way_in.yml",
        only=",".join(FIREWALLS),
        way="firewall",
        __firewall_template=template + "[inventory_hostname] }}.nft.j2",
    )
    sshd = hosts.start(
        "way_in.yml",
        strategy="linear",
        only="sshd-shut",
        way="ssh",
        ssh_rollback_seconds=40,
        __ssh_template="{{ playbook_dir }}/templates/nobody.j2",
    )
    return LockedOut(firewall=firewall.end(), sshd=sshd.end(), before=before)


@pytest.mark.parametrize("host", FIREWALLS)
def test_a_firewall_that_shuts_the_host_opens_again(
    hosts: Hosts, locked_out: LockedOut, host: str
) -> None:
    """One drops everything, also what was open; the other would let an old connection live on."""
    assert locked_out.firewall.status != 0
    message = rf"No fresh login to {host} worked after the change of firewall .*: {host} answers"
    found = re.search(message + r" again \((\d+) s\)", locked_out.firewall.output)
    assert found, locked_out.firewall.output
    assert int(found[1]) < 120
    hosts.login(host)
    assert hosts.shell(host, RULES) == locked_out.before[host]
    assert hosts.shell(host, PENDING) == ""


def test_an_sshd_that_refuses_everybody_is_put_back(hosts: Hosts, locked_out: LockedOut) -> None:
    """With plain Ansible; the host's other keys, which the role removes, come back as well."""
    assert locked_out.sshd.status != 0
    message = r"No fresh login to sshd-shut worked after the change of ssh .*Permission denied"
    assert re.search(message, locked_out.sshd.output), locked_out.sshd.output
    assert "come back by itself: sshd-shut answers" in locked_out.sshd.output
    hosts.login("sshd-shut")
    assert hosts.shell("sshd-shut", SSHD) == locked_out.before["sshd-shut"]


@pytest.mark.usefixtures("locked_out")
def test_rules_that_the_kernel_refuses_are_taken_back_at_once(hosts: Hosts) -> None:
    before = hosts.shell("all-shut", RULES)
    hosts.shell("all-shut", f"mv /usr/sbin/nft /usr/sbin/nft.real; {WRITE_NFT}")
    flow = {"name": "new", "from": ["anywhere"], "to": ["all"], "port": 81, "protocol": "tcp",
            "purpose": "test"}  # fmt: skip
    ended = hosts.play("way_in.yml", only="all-shut", way="firewall", firewall_flows=[flow])
    assert ended.status != 0
    assert "did not last: rolled back: the new state could not be put in force" in ended.output
    assert "no such module" in ended.output
    assert hosts.shell("all-shut", RULES) == before


@pytest.fixture
def stopped(hosts: Hosts, locked_out: LockedOut) -> Iterator[str]:
    """A host on which a play died between its change and the confirmation."""
    assert locked_out.sshd.status != 0
    host = "new-shut"
    hosts.shell(host, MAKE_OLD)
    assert "The play dies here" in hosts.play("stopped.yml", only=host).output
    assert hosts.shell(host, "cat /srv/file /srv/new /srv/folder/*") == "new\n" * 3
    yield host
    hosts.shell(host, "rm -rf /srv/* /run/put-back")


def test_a_change_that_a_play_left_is_undone_by_the_next_boot(hosts: Hosts, stopped: str) -> None:
    """The firewall, which nobody changed, is in force again as well."""
    rules = hosts.shell(stopped, RULES)
    hosts.restart(stopped)
    hosts.holdfast("up", "--until", "servers")  # waits until the host answers
    assert hosts.shell(stopped, RULES) == rules
    assert hosts.shell(stopped, LOOK).splitlines() == OLD
    # The commands follow the files as soon as the system is up.
    hosts.shell(stopped, "timeout 60 sh -c 'until test -e /run/put-back; do sleep 0.5; done'")
    hosts.shell(stopped, f"timeout 10 sh -c 'while {PENDING} | grep .; do sleep 0.5; done'")


def test_a_change_that_a_play_left_is_undone_by_the_next_play(hosts: Hosts, stopped: str) -> None:
    """Which would otherwise take the half-done state for the wanted one."""
    again = hosts.play("stopped.yml", only=stopped)
    assert again.status != 0
    assert "A roll-back of test is already pending" in again.output
    assert hosts.shell(stopped, "cat /srv/file") == "new\n"

    ended = hosts.play("next.yml", only=stopped)
    assert ended.status == 0, ended.output
    assert "The old state of test is back" in ended.output
    assert hosts.shell(stopped, LOOK).splitlines() == OLD
    assert hosts.shell(stopped, f"ls /run/put-back; {PENDING}") == "/run/put-back\n"
    assert "changed=0" in hosts.play("next.yml", only=stopped).output
