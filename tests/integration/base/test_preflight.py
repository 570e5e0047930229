"""Wishes that would lock people out, or cannot be kept, are refused before anything changes.

Every case is a host of one playbook that begins as site.yml does, with one thing wrong.
"""

from __future__ import annotations

import json
import os
import pwd
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
_ME = pwd.getpwuid(os.getuid()).pw_name
_OPS = {"name": "ops", "keys": ["the probe looks at keys"]}
_WISHES: dict[str, dict[str, Any]] = {
    "base": {"base_administrators": [_OPS], "base_ntp_servers": ["192.0.2.1"]},
    "hardening": {},
    "installation": {
        "installation_name": "test",
        "installation_domain": "holdfast.test",
        "installation_operator_addresses": ["192.0.2.0/24"],
        "addresses": ["192.0.2.1"],
    },
}
_FOUND: dict[str, Any] = {
    "open": [],
    "members": [],
    "keyed": [],
    "primary_members": [],
    "stray": [],
    "malformed_keys": [],
    "superusers": [],
    "without_password": [],
    "unverified_sources": [],
}
_PRETEND = """\
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({"facts": {"type": "dict"}})
module.exit_json(ansible_facts=module.params["facts"])
"""
_MAIL = {
    "base_notify_mail_relay": "relay.holdfast.test",
    "base_notify_mail_sender": "holdfast@holdfast.test",
    "base_notify_mail_recipients": ["ops@holdfast.test"],
}

# role, what is wrong (facts, wishes, what the probe found), what the message must say
_CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "ubuntu": ("installation", {"facts": {"distribution": "Ubuntu"}}, "reinstall it"),
    "old_debian": ("installation", {"facts": {"distribution_release": "bullseye"}}, "reinstall it"),
    "other_init": ("installation", {"facts": {"service_mgr": "sysvinit"}}, "is run by sysvinit"),
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
    "lock_out": ("base", {}, f"Ansible logs in to lock_out as {_ME}"),
    "two_roots": ("base", {"found": {"superusers": ["toor"]}}, "user id 0: toor"),
    "no_lock": ("base", {"found": {"without_password": ["guest"]}}, "passwd --lock NAME"),
    "born_root": ("base", {"found": {"primary_members": ["jane"]}}, "usermod --gid GROUP"),
    "too_slow": ("base", {"base_rollback_seconds": 9999}, "from 30 to 100"),
    "versioned": ("base", {"base_packages": ["procps=1"]}, "plain names of packages"),
    "trusting": ("base", {"found": {"unverified_sources": ["/etc/apt/x"]}}, "/etc/apt/x. Remove"),
    "one_try": ("hardening", {"hardening_lockout_attempts": 1}, "Raise what is lower"),
    "for_ever": ("hardening", {"hardening_lockout_seconds": 0}, "Raise what is lower"),
    "no_cron": ("hardening", {"hardening_schedulers": ["ops"]}, "must contain root"),
    "no_sudo": (
        "hardening",
        {"hardening_setuid_removed": ["/usr/bin/sudo"]},
        "neither sudo nor unix_chkpwd",
    ),
    "no_setuid": (
        "hardening",
        {"hardening_mounts": {"/": ["nosuid"], "/usr": ["nodev"], "/home": ["nosuid"]}},
        "gives nosuid or noexec to /, where",
    ),
    "no_programs": (
        "hardening",
        {"hardening_mounts": {"/usr/bin": ["noexec"]}},
        "gives nosuid or noexec to /usr/bin, where",
    ),
    "caged_ssh": (
        "hardening",
        {"hardening_services": {"ssh.service": {"NoNewPrivileges": "yes"}}},
        "names ssh.service: every login",
    ),
    "caged_session": (
        "hardening",
        {"hardening_services": {"sshd@.service": {}}},
        "names sshd@.service: every login",
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
    "fine_mounts": (
        "hardening",
        {"hardening_mounts": {"/usr": ["nodev"], "/home": ["nosuid"], "/liberty": ["noexec"]}},
    ),
    "fine_cage": ("hardening", {"hardening_services": {"ssh-agent.service": {}}}),
    "fine_debian": ("installation", {"facts": {"distribution_release": "bookworm"}}),
}


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What was said of each case that failed."""
    folder = tmp_path_factory.mktemp("preflight")
    groups: dict[str, Any] = {role: {"hosts": {}} for role in _WISHES}
    for name, case in [*_CASES.items(), *_GOOD.items()]:
        wrong = dict(case[1])
        groups[case[0]]["hosts"][name] = {
            "__facts": {**_FACTS, **wrong.pop("facts", {})},
            "__base_probe": {"stdout": json.dumps({**_FOUND, **wrong.pop("found", {})})},
            **_WISHES[case[0]],
            **wrong,
        }
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"children": groups}}), encoding="utf-8")
    (folder / "pretended_facts.py").write_text(_PRETEND, encoding="utf-8")
    playbook = folder / "play.yml"
    playbook.write_text(yaml.safe_dump(_plays(), sort_keys=False), encoding="utf-8")
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("ansible-playbook"), "-i", inventory),
            # The roles are there to be checked, not to be run on this machine.
            *("--tags", "check", playbook),
        ],
        cwd=_ROOT,
        env={
            **os.environ,
            "ANSIBLE_STRATEGY": "linear",
            "ANSIBLE_LIBRARY": str(folder),
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
    said: dict[str, str] = {}
    for name, text in found:
        said[name] = said.get(name, "") + json.loads(text)["msg"]
    return said


def _plays() -> list[dict[str, Any]]:
    """The check of variables, then what role base says of what it finds on a host."""
    play = {
        "name": "Check wishes",
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "become": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tags": "check",
    }
    return [
        {
            **play,
            "tasks": [
                {"name": "Pretend", "pretended_facts": {"facts": "{{ __facts }}"}},
                {"name": "Check", "check_inventory": None, "ignore_errors": True},
            ],
        },
        {
            **play,
            "hosts": "base",
            "vars_files": [str(_ROOT / "roles" / "base" / "vars" / "main" / "main.yml")],
            "tasks": [
                {
                    "name": "Say what role base would say",
                    "ansible.builtin.fail": {"msg": "{{ __base_findings | join(' ') }}"},
                    "when": "__base_findings | length > 0",
                }
            ],
        },
        *(
            {"name": f"Role {role}", "hosts": role, "gather_facts": False, "roles": [role]}
            for role in _WISHES
        ),
    ]


@pytest.mark.parametrize("case", _CASES)
def test_wrong_wish_is_refused_with_the_fix(messages, case):
    assert _CASES[case][2] in messages[case]


@pytest.mark.parametrize("case", _GOOD)
def test_right_wish_is_let_through(messages, case):
    """But for one thing: the tests' own account is nobody's administrator."""
    said = messages.get(case, "")
    about_me = rf"The inventory is not right for {case}\. Ansible logs in to .* once by hand\."
    assert re.fullmatch(about_me, said) if _GOOD[case][0] == "base" else not said, said
