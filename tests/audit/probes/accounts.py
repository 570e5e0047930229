"""Reads who may do what on a host. No password hash leaves it: only whether there is one.

stdin of python3, as root. Prints JSON: accounts [{name, uid, shell, password, expired}] with
password one of "none", "locked", "set"; keys {account: [lines]} of every home; groups {name:
members} of those that amount to root; sudo [[who, run as, commands, asks for a password]].
"""

import grp
import json
import pwd
import subprocess
import time
from pathlib import Path

POWERFUL = ("root", "sudo", "adm", "disk", "shadow", "docker", "lxd", "kmem", "staff")
DAY = 86400


def password(field):
    if field == "":
        return "none"
    return "set" if field[0] not in "!*" else "locked"


def keys(account):
    found = []
    for name in ("authorized_keys", "authorized_keys2"):
        path = Path(account.pw_dir) / ".ssh" / name
        if path.is_file():
            lines = path.read_text(errors="replace").splitlines()
            found += [line.strip() for line in lines if line.strip() and line[0] != "#"]
    return found


def powerful():
    found = {}
    for group in grp.getgrall():
        if group.gr_name in POWERFUL:
            primary = [a.pw_name for a in pwd.getpwall() if a.pw_gid == group.gr_gid]
            found[group.gr_name] = sorted({*group.gr_mem, *primary})
    return found


def subjects(entry):
    return [f"%{value}" if kind == "usergroup" else value for kind, value in entry.items()]


def sudo():
    done = subprocess.run(
        ["cvtsudoers", "-e", "-f", "json", "/etc/sudoers"],
        capture_output=True,
        text=True,
        check=True,
    )
    rules = []
    for spec in json.loads(done.stdout).get("User_Specs", []):
        for command in spec["Cmnd_Specs"]:
            options = {k: v for o in command.get("Options", []) for k, v in o.items()}
            rules += [
                [
                    who,
                    sorted(s for entry in command.get("runasusers", []) for s in subjects(entry)),
                    sorted(str(value) for c in command["Commands"] for value in c.values()),
                    bool(options.get("authenticate", True)),
                ]
                for entry in spec["User_List"]
                for who in subjects(entry)
            ]
    return rules


shadow = {
    fields[0]: fields
    for fields in (line.split(":") for line in Path("/etc/shadow").read_text().splitlines())
}
today = time.time() // DAY
accounts = [
    {
        "name": account.pw_name,
        "uid": account.pw_uid,
        "shell": account.pw_shell,
        "password": password(shadow.get(account.pw_name, ["", "*"])[1]),
        "expired": (shadow.get(account.pw_name, [""] * 9)[7] or "") not in ("", "-1")
        and int(shadow[account.pw_name][7]) < today,
    }
    for account in pwd.getpwall()
]
print(
    json.dumps(
        {
            "accounts": accounts,
            "keys": {a.pw_name: found for a in pwd.getpwall() if (found := keys(a))},
            "groups": powerful(),
            "sudo": sudo(),
        }
    )
)
