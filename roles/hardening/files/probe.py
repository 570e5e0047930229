#!/usr/bin/python3 -I
"""Say what of role hardening is not in force on this host, and change nothing.

Files alone do not show it: kernel settings, mounts, modes that dpkg keeps, lines in files that
others write too, and whether systemd has read what it was given. Question and answer are JSON.
"""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

_ROOT = Path("/")
_WISHES = "etc/holdfast/hardening.json"
_PROGRAM = "usr/local/lib/holdfast/harden"
_RECORD = "var/lib/holdfast/hardening-unsettable.json"
_READ_BY_SYSTEMD = (
    "system.conf.d/holdfast.conf",
    "system/holdfast-hardening.service",
    "system/*.d/10-hardening.conf",
)


def _said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _kernel(harden, wanted):
    """What the program would find in a dry run; its failure is ours."""
    command = [sys.executable, "-I", "-c", harden, "--dry-run", "-"]
    done = subprocess.run(
        command, input=json.dumps(wanted), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def _changed(path):
    """When the host last saw the file change, by its own clock; 0 where there is none."""
    return path.stat().st_ctime if path.exists() else 0


def _record_is_old():
    """Whether the program has not run since it or its wishes changed."""
    return _changed(_ROOT / _RECORD) < max(_changed(_ROOT / name) for name in (_WISHES, _PROGRAM))


def _unread(times):
    """Files that changed since systemd read all of them, when it began or later."""
    read = max(
        datetime.strptime(time, "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()
        for time in times.splitlines()
        if time
    )
    paths = [path for glob in _READ_BY_SYSTEMD for path in (_ROOT / "etc/systemd").glob(glob)]
    return [str(path) for path in paths if _changed(path) > read]


def _setuid(programs, overrides):
    """Programs that are setuid or setgid, or would be again after an upgrade."""
    kept = {
        path
        for user, group, mode, path in (line.split(None, 3) for line in overrides.splitlines())
        if (user, group, int(mode, 8)) == ("root", "root", 0o755)
    }
    return [
        program
        for program in programs
        if program not in kept or (Path(program).exists() and Path(program).stat().st_mode & 0o6000)
    ]


def _missing_from_pam(modules):
    lines = [
        f" {' '.join(line.partition('#')[0].split())} "
        for name in ("common-auth", "common-session")
        for line in (_ROOT / "etc/pam.d" / name).read_text().splitlines()
    ]
    return [module for module in modules if not any(f" {module} " in line for line in lines)]


def _umask_differs(wanted):
    """Programs disagree on which of several lines counts: one is right."""
    lines = (_ROOT / "etc/login.defs").read_text().splitlines()
    return [line for line in lines if re.match(r"\s*UMASK\b", line)] != [wanted]


def main():
    question = json.load(sys.stdin)
    kernel = _kernel(question["harden"], question["wanted"])
    overrides = subprocess.run(
        ["dpkg-statoverride", "--list"], capture_output=True, text=True, check=False
    )
    if overrides.returncode > 1:  # 1: there is none
        sys.exit(overrides.stderr)
    # The second is empty until the first reload.
    times = "--property=UnitsLoadFinishTimestamp,UnitsLoadTimestamp"
    read = _said("systemctl", "show", "--timestamp=us+utc", "--value", times)
    answer = {
        "unsettable": kernel["unsettable"],
        "differs": {
            "kernel": [entry["name"] for entry in kernel["changed"]],
            "record": _record_is_old(),
            "systemd": _unread(read),
            "setuid": _setuid(question["programs"], overrides.stdout),
            "pam": _missing_from_pam(question["pam"]),
            "umask": _umask_differs(question["umask"]),
        },
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
