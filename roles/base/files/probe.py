#!/usr/bin/python3
"""Look at a host once, change nothing, and print as JSON what role base decides by.

Reads a JSON object: administrators, needed, unwanted, other_accounts, sudoers_kept, folders,
notifier.
"""

import grp
import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

_PEOPLE = range(1000, 60000)
# Their members can make themselves root, or read what only root should.
_POWERFUL = ("root", "sudo", "adm", "disk", "shadow", "docker", "lxd", "kmem", "staff")
_NEVER = ("", "-1")
_KINDS = re.compile(
    r"(sk-)?(ssh-ed25519|ecdsa-sha2-nistp(256|384|521))(@openssh\.com)? \S+( [^\r\n]*)?"
)
_UNVERIFIED = re.compile(
    r"^[^#\n]*\b(trusted|allow-insecure)\s*[=:]\s*(yes|true|1)\b", re.IGNORECASE | re.MULTILINE
)


def _valid(key):
    if not _KINDS.fullmatch(key):
        return False
    done = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"], input=key, text=True, capture_output=True, check=False
    )
    return done.returncode == 0


def _installed():
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n"],
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    pairs = (line.split(" ", 1) for line in listed.splitlines())
    return {package for status, package in pairs if status == "installed"}


def _half_installed():
    """Whether dpkg was killed: it keeps what it had begun there, and does nothing else before."""
    return any(path.name.isdigit() for path in Path("/var/lib/dpkg/updates").iterdir())


def _locked(account, shadow):
    return shadow[account.pw_name][7] == "1" and account.pw_shell == "/usr/sbin/nologin"


def _unlike(name, accounts, shadow):
    """Whether an administrator's account is not open, or has a password."""
    account = accounts.get(name)
    if account is None:
        return True
    fields = shadow[name]
    return fields[1] != "*" or fields[7] not in _NEVER or account.pw_shell != "/bin/bash"


def _members(administrators):
    return [
        {"account": name, "group": group.gr_name}
        for group in grp.getgrall()
        if group.gr_name in _POWERFUL
        for name in group.gr_mem
        if name not in administrators and name != "root"
    ]


def _primary_members(accounts):
    names = {group.gr_gid: group.gr_name for group in grp.getgrall()}
    return [
        one.pw_name
        for one in accounts
        if names.get(one.pw_gid) in _POWERFUL and one.pw_name != "root"
    ]


def _has_keys(account):
    files = ("authorized_keys", "authorized_keys2")
    return any(os.path.lexists(Path(account.pw_dir, ".ssh", file)) for file in files)


def _notifier_unlike(account):
    return account is None or (account.pw_dir, account.pw_shell) != (
        "/nonexistent",
        "/usr/sbin/nologin",
    )


def _files(folder):
    return sorted(path for path in Path(folder).glob("*") if path.is_file())


def _rules(kept):
    return [
        str(path)
        for path in _files("/etc/sudoers.d")
        if path.name not in ("README", *kept) and not path.name.startswith("holdfast-")
    ]


def main():
    question = json.load(sys.stdin)
    administrators = {one["name"]: one["keys"] for one in question["administrators"]}
    accounts = pwd.getpwall()
    shadow = {
        line.split(":", 1)[0]: line.split(":") for line in Path("/etc/shadow").read_text().split()
    }
    by_name = {one.pw_name: one for one in accounts}
    listed = {*administrators, *question["other_accounts"]}
    unlisted = [one for one in accounts if one.pw_uid in _PEOPLE and one.pw_name not in listed]
    installed = _installed()
    sources = [
        path
        for path in [Path("/etc/apt/sources.list"), *_files("/etc/apt/sources.list.d")]
        if path.is_file() and _UNVERIFIED.search(path.read_text(errors="replace"))
    ]
    answer = {
        "malformed_keys": sorted(
            {name for name, keys in administrators.items() for key in keys if not _valid(key)}
        ),
        "missing": sorted(set(question["needed"]) - installed),
        "unwanted": sorted(set(question["unwanted"]) & installed),
        "half_installed": _half_installed(),
        "accounts": sorted(one.pw_name for one in accounts),
        "superusers": sorted(
            one.pw_name for one in accounts if one.pw_uid == 0 and one.pw_name != "root"
        ),
        "without_password": sorted(name for name, fields in shadow.items() if fields[1] == ""),
        "unlike": [
            *(name for name in administrators if _unlike(name, by_name, shadow)),
            *(["root"] if shadow["root"][1] != "*" else []),
        ],
        "open": sorted(one.pw_name for one in unlisted if not _locked(one, shadow)),
        "members": _members(administrators),
        "primary_members": _primary_members(accounts),
        "keyed": [one.pw_name for one in unlisted if _has_keys(one)],
        "stray": _rules(question["sudoers_kept"]),
        "notifier_unlike": _notifier_unlike(by_name.get(question["notifier"])),
        "missing_folders": [path for path in question["folders"] if not Path(path).is_dir()],
        "unverified_sources": [str(path) for path in sources],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
