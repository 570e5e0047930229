"""The site: idempotent, honest when checked, clear when it cannot go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.local.podman import Podman
from tests.e2e.conftest import Site

# What somebody does to hosts behind our back: every role finds something to mend.
_DRIFT = {
    "web1": (
        "echo 'add_header X-Powered-By me;' | sudo tee -a /etc/nginx/nginx.conf; "
        "sudo rm /etc/holdfast/notify.json; "
        "echo '# mine' | sudo tee -a /etc/squid/squid.conf"
        " /etc/systemd/system/holdfast-agent-web.service"
    ),
    "app1": (
        "sudo sed -i 's/^PasswordAuthentication no/UseDNS yes/' /etc/ssh/sshd_config; "
        "sudo rm /etc/apt/apt.conf.d/zz-holdfast"
    ),
    "data1": (
        "echo '# mine' | sudo tee -a /etc/holdfast/firewall.nft; "
        "sudo chmod 644 /etc/sudoers.d/holdfast-*; "
        "echo 'games ALL=(ALL) NOPASSWD: ALL' | sudo tee /etc/sudoers.d/red; "
        "sudo sed -i 's/^deny.*/deny = 99/' /etc/security/faillock.conf"
    ),
    # A service that ran here when the host was in another group.
    "backup1": (
        "sudo mkdir -p /etc/holdfast/agent; echo red | sudo tee /etc/holdfast/agent/red.role-id"
    ),
    # In the kernel only: every file is as it was.
    "vault1": "sudo nft insert rule inet holdfast inbound tcp dport 9 accept",
}

_STRANGERS = """
firewall_flows:
  - {name: x, from: [strangers], to: [web], port: 1, protocol: tcp, purpose: a group of nobody}
"""


def test_a_check_on_fresh_hosts_ends_well_and_names_what_it_cannot_foresee(site: Site) -> None:
    if site.fresh_check is None:
        pytest.fail("this needs an installation made by the test; run without HOLDFAST_NAME")
    assert site.fresh_check.status == 0, site.fresh_check.output
    assert "Not there yet:" in site.fresh_check.output


def test_a_second_run_changes_nothing(site: Site) -> None:
    second = site.play()
    assert second.status == 0, second.output
    assert set(second.recap) == {"web1", "app1", "data1", "vault1", "backup1", "drill1"}
    assert set(second.recap.values()) == {0}, second.changed


def test_a_check_foresees_exactly_what_converging_changes(site: Site) -> None:
    for host, command in _DRIFT.items():
        site.ssh(host, command)
    checked = site.play("--check", "--diff")
    assert checked.status == 0, checked.output
    again = site.play("--check", "--diff")
    assert again.changed == checked.changed
    converged = site.play()
    assert converged.status == 0, converged.output
    assert checked.changed == converged.changed
    assert {host for _, host in converged.changed} == set(_DRIFT)
    assert set(site.play().recap.values()) == {0}


@pytest.mark.parametrize(
    "moment",
    [
        "base : Ensure that nothing else grants sudo",
        "web : Ensure nginx is configured",
    ],
)
def test_a_killed_run_is_mended_by_the_next(site: Site, moment: str) -> None:
    for host, command in _DRIFT.items():
        site.ssh(host, command)
    site.play_until(moment)
    mended = site.play()
    assert mended.status == 0, mended.output
    assert set(site.play("--check").recap.values()) == {0}


def test_plain_ansible_finds_nothing_to_change_either(site: Site) -> None:
    plain = site.play("--limit", "web1", strategy="linear")
    assert plain.status == 0, plain.output
    assert plain.recap == {"web1": 0}


def test_it_comes_back_after_a_restart_of_every_host(site: Site) -> None:
    assert site.holdfast("down").returncode == 0
    up = site.holdfast("up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "changed=0" in up.stderr


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ("web_domian: x", "web_domian is not a variable of any role: did you mean web_domain?"),
        ("ssh_max_auth_tries: many", "ssh_max_auth_tries"),
        ("installation_operator_addresses: []", "would lock"),
        ("base_administrators: []", "base_administrators"),
        (_STRANGERS, "strangers"),
    ],
)
def test_a_wrong_inventory_is_refused_before_anything_changes(
    site: Site, tmp_path: Path, variables: str, message: str
) -> None:
    more = tmp_path / "more.yml"
    more.write_text(variables)
    refused = site.play("--extra-vars", f"@{more}")
    assert refused.status != 0
    assert message in refused.output
    assert set(refused.recap.values()) == {0}


def test_a_host_that_does_not_answer_stops_everything_and_is_named(site: Site) -> None:
    name = f"holdfast-{site.installation.name}_drill1"
    site.ssh("drill1", "sudo systemctl stop ssh.socket ssh.service")
    try:
        stopped = site.holdfast("up", "--until", "site")
    finally:
        Podman()("exec", name, "systemctl", "start", "ssh")
    assert stopped.returncode == 2
    assert "drill1 does not let the operator in by SSH" in stopped.stderr
    assert "holdfast logs drill1" in stopped.stderr
