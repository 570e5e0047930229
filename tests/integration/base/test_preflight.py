"""Wishes that would lock people out, or cannot be kept, are refused before anything changes.

Every case is a host of one play that runs the real preflight with one thing wrong.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[3]
_FACTS = {
    "distribution": "Debian",
    "distribution_release": "trixie",
    "service_mgr": "systemd",
    "virtualization_type": "kvm",
}
_OPS = {"name": "ops", "keys": ["the probe looks at keys"]}
_WISHES: dict[str, dict[str, Any]] = {
    "base": {"base_administrators": [_OPS], "base_ntp_servers": ["192.0.2.1"]},
    "hardening": {},
}
_FOUND: dict[str, Any] = {
    "login": "ops",
    "malformed_keys": [],
    "superusers": [],
    "without_password": [],
    "unverified_sources": [],
}
_MAIL = {
    "base_notify_mail_relay": "relay.holdfast.test",
    "base_notify_mail_sender": "holdfast@holdfast.test",
    "base_notify_mail_recipients": ["ops@holdfast.test"],
}

# role, what is wrong (facts, wishes, what the probe found), what the message must say
_CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "ubuntu": ("base", {"facts": {"distribution": "Ubuntu"}}, "Install one of them"),
    "old_debian": ("base", {"facts": {"distribution_release": "bullseye"}}, "Install one of them"),
    "other_init": ("base", {"facts": {"service_mgr": "sysvinit"}}, "under sysvinit"),
    "nobody": ("base", {"base_administrators": []}, "List at least one person"),
    "odd_name": ("base", {"base_administrators": [{**_OPS, "name": "Ops Team"}]}, "'Ops Team'"),
    "root": ("base", {"base_administrators": [_OPS, {**_OPS, "name": "root"}]}, "never root"),
    "twice": ("base", {"base_administrators": [_OPS, _OPS]}, "name each person once"),
    "no_key": ("base", {"base_administrators": [{**_OPS, "keys": []}]}, "without a key: ['ops']"),
    "no_clock": ("base", {"base_ntp_servers": []}, "List the addresses of time servers"),
    "no_sender": ("base", {**_MAIL, "base_notify_mail_sender": ""}, "base_notify_mail_sender"),
    "no_reader": ("base", {**_MAIL, "base_notify_mail_recipients": []}, "base_notify_mail_recip"),
    "no_password": ("base", {**_MAIL, "base_notify_mail_user": "x"}, "base_notify_mail_password"),
    "clear_hook": ("base", {"base_notify_webhook_url": "http://x.test/"}, "begin with https://"),
    "bad_key": ("base", {"found": {"malformed_keys": ["ops"]}}, "Paste the whole line"),
    "lock_out": ("base", {"found": {"login": "admin"}}, "Ansible logs in to lock_out as admin"),
    "two_roots": ("base", {"found": {"superusers": ["toor"]}}, "user id 0: toor"),
    "no_lock": ("base", {"found": {"without_password": ["guest"]}}, "passwd --lock NAME"),
    "trusting": ("base", {"found": {"unverified_sources": ["/etc/apt/x"]}}, "/etc/apt/x. Remove"),
    "foreign": ("hardening", {"facts": {"distribution_release": "sid"}}, "Install one of them"),
    "one_try": ("hardening", {"hardening_lockout_attempts": 1}, "Raise what is lower"),
    "for_ever": ("hardening", {"hardening_lockout_seconds": 0}, "Raise what is lower"),
    "no_cron": ("hardening", {"hardening_schedulers": ["ops"]}, "must contain root"),
    "no_sudo": (
        "hardening",
        {"hardening_setuid_removed": ["/usr/bin/sudo"]},
        "neither sudo nor unix_chkpwd",
    ),
    "odd_sysctl": (
        "hardening",
        {"hardening_sysctl_changes": {"vm/swappiness; reboot": 1}},
        "Correct vm/swappiness; reboot",
    ),
}
_GOOD = {
    "fine_host": ("base", {}),
    "fine_container": (
        "base",
        {"facts": {"virtualization_type": "podman"}, "base_ntp_servers": []},
    ),
    "fine_mail": ("base", {**_MAIL, "base_notify_webhook_url": "https://x.test/"}),
    "fine_hardening": ("hardening", {}),
}


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the preflight said for each case that failed."""
    folder = tmp_path_factory.mktemp("preflight")
    hosts: dict[str, Any] = {}
    for name, case in [*_CASES.items(), *_GOOD.items()]:
        wrong = dict(case[1])
        hosts[name] = {
            "role": case[0],
            "facts": {**_FACTS, **wrong.pop("facts", {})},
            "found": {**_FOUND, **wrong.pop("found", {})},
            **_WISHES[case[0]],
            **wrong,
        }
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}), encoding="utf-8")
    play = {
        "name": "Check wishes",
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "become": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": [
            {
                "name": "Ensure facts",
                "ansible.builtin.set_fact": {
                    "cacheable": True,
                    **{name: f"{{{{ facts['{name}'] }}}}" for name in _FACTS},
                },
            },
            {
                "name": "Check",
                "ansible.builtin.include_role": {
                    "name": "{{ role }}",
                    "tasks_from": "preflight",
                },
            },
        ],
    }
    playbook = folder / "play.yml"
    playbook.write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
    # What the probe finds is the case's, whatever this machine is like.
    answer = {"__base_probe": {"stdout": "{{ found | to_json }}"}}
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            *("-i", inventory, "-e", json.dumps(answer), playbook),
        ],
        cwd=_ROOT,
        env={
            **os.environ,
            "ANSIBLE_STRATEGY": "linear",
            "ANSIBLE_ANY_ERRORS_FATAL": "false",
            "ANSIBLE_NOCOLOR": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = re.findall(r"^fatal: \[(\w+)\]: FAILED! => (\{.*\})$", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return {name: json.loads(text)["msg"] for name, text in found}


@pytest.mark.parametrize("case", _CASES)
def test_wrong_wish_is_refused_with_the_fix(messages, case):
    assert _CASES[case][2] in messages[case]


@pytest.mark.parametrize("case", _GOOD)
def test_right_wish_is_let_through(messages, case):
    assert case not in messages, messages[case]
