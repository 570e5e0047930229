#!/usr/bin/python3
"""Look at a host once, change nothing, and print as JSON what role base decides by.

Takes one argument, a JSON object: administrators, sudoers, needed, unwanted, other_accounts,
sudoers_kept, folders.
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


def _read(path):
    try:
        return Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return None


def _access_differs(keys, sudoers, *, home, folder="/etc/sudoers.d"):
    """Whether the way in of the account that Ansible uses is about to change."""
    return (
        _read(f"{home}/.ssh/authorized_keys") != "".join(f"{key}\n" for key in keys)
        or os.path.lexists(f"{home}/.ssh/authorized_keys2")
        or _read(f"{folder}/holdfast-administrators") != sudoers
    )


def _installed():
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n"],
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    pairs = (line.split(" ", 1) for line in listed.splitlines())
    return {package for status, package in pairs if status == "installed"}


def _locked(account, shadow):
    return shadow[account.pw_name][7] == "1" and account.pw_shell == "/usr/sbin/nologin"


def _files(folder):
    return sorted(path for path in Path(folder).glob("*") if path.is_file())


def main():
    question = json.loads(sys.argv[1])
    administrators = {one["name"]: one["keys"] for one in question["administrators"]}
    login = os.environ.get("SUDO_USER", pwd.getpwuid(os.getuid()).pw_name)
    accounts = pwd.getpwall()
    shadow = {
        line.split(":", 1)[0]: line.split(":") for line in Path("/etc/shadow").read_text().split()
    }
    listed = {*administrators, *question["other_accounts"]}
    unlisted = [one for one in accounts if one.pw_uid in _PEOPLE and one.pw_name not in listed]
    installed = _installed()
    sources = [
        path
        for path in [Path("/etc/apt/sources.list"), *_files("/etc/apt/sources.list.d")]
        if path.is_file() and _UNVERIFIED.search(path.read_text(errors="replace"))
    ]
    answer = {
        "login": login,
        "access_differs": _access_differs(
            administrators.get(login, []), question["sudoers"], home=f"/home/{login}"
        ),
        "malformed_keys": sorted(
            {name for name, keys in administrators.items() for key in keys if not _valid(key)}
        ),
        "missing": sorted(set(question["needed"]) - installed),
        "unwanted": sorted(set(question["unwanted"]) & installed),
        "missing_folders": [path for path in question["folders"] if not Path(path).is_dir()],
        "accounts": sorted(one.pw_name for one in accounts),
        "superusers": sorted(
            one.pw_name for one in accounts if one.pw_uid == 0 and one.pw_name != "root"
        ),
        "without_password": sorted(name for name, fields in shadow.items() if fields[1] == ""),
        "unlisted": sorted(one.pw_name for one in unlisted),
        "open": sorted(one.pw_name for one in unlisted if not _locked(one, shadow)),
        "sudo_strangers": sorted(set(grp.getgrnam("sudo").gr_mem) - set(administrators)),
        "sudoers_strangers": [
            path.name
            for path in _files("/etc/sudoers.d")
            if path.name != "README"
            and not path.name.startswith("holdfast-")
            and path.name not in question["sudoers_kept"]
        ],
        "unverified_sources": [str(path) for path in sources],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
