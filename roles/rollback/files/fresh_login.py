"""Log in once more from the operator's machine, and only then let the host keep its new state.

Reads one JSON object from standard input, prints one sentence, and ends with status 0 when the
change is kept, 1 otherwise. Every attempt is a TCP connection of its own: a shared control socket
or a connection the firewall already knows would prove nothing, and the play's own connection may
be cut by the change.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time

_NOT_PENDING = 3
_TRY_AGAIN = 75
_NO_LOGIN = 255
_CUT_OFF = -1
_PROGRAM = "/usr/local/sbin/holdfast-rollback"


def main() -> int:
    """Confirm, or say why not and wait until the host has its old state back."""
    asked = json.load(sys.stdin)
    name, token, host, seconds = (asked[key] for key in ("name", "token", "host", "seconds"))
    login = ssh_command(asked)
    began = time.monotonic()
    reason = ""
    if asked["apply"]:
        order = [*login, f"sudo -n {_PROGRAM} apply {name} {token}"]
        status, reason = attempt(order, stdin=json.dumps(asked["apply"]))
        if status not in (0, _CUT_OFF):
            print(
                f"The new state of {name} was not put in force: {host} could not be told to"
                f" ({reason}). It takes the written files back within {seconds} s."
            )
            return 1
    while time.monotonic() - began < seconds * 0.5:
        status, said = attempt([*login, f"sudo -n {_PROGRAM} confirm {name} {token}"])
        if status == 0:
            print(f"A fresh login to {host} worked: the new state of {name} is kept.")
            return 0
        if status == _NOT_PENDING:
            print(f"The change of {name} on {host} did not last: {said}.")
            return 1
        if status == _TRY_AGAIN:
            time.sleep(0.5)
            continue
        reason = said
        # Refused logins count against the source address in sshd: do not hammer.
        time.sleep(12 if "Permission denied" in said else 3)
    print(
        f"No fresh login to {host} worked after the change of {name}"
        f" ({reason or 'it never came into force'}). " + wait_until_back(asked, login, began)
    )
    return 1


def wait_until_back(asked: dict[str, str], login: list[str], began: float) -> str:
    """Wait for the roll-back, and say what became of it."""
    seconds = float(asked["seconds"])
    name, host = asked["name"], asked["host"]
    while time.monotonic() - began < seconds + 60:
        status, said = attempt([*login, f"sudo -n {_PROGRAM} outcome {name} {asked['token']}"])
        if status == 0 and said != "pending":
            waited = time.monotonic() - began
            return f"The old state has come back by itself: {host} answers again ({waited:.0f} s)."
        time.sleep(3)
    return (
        f"The host puts the old state back by itself {seconds:.0f} s after it was armed, but {host}"
        " has not answered a login since: look at its console."
    )


def ssh_command(asked: dict[str, str]) -> list[str]:
    """Return the ssh command for one connection that shares nothing with any other."""
    # ssh takes the first value it sees of each option: ours come before the inventory's.
    command = [asked["executable"], "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    command += ["-o", "BatchMode=yes", "-o", "ConnectTimeout=8", "-o", "ConnectionAttempts=1"]
    for key, flag in (("user", "-l"), ("port", "-p"), ("key", "-i")):
        if asked[key]:
            command += [flag, asked[key]]
    return [*command, *shlex.split(asked["arguments"]), asked["address"], "--"]


def attempt(command: list[str], *, stdin: str = "") -> tuple[int, str]:
    """Run one login; return its status (ssh's own is 255) and what it said, in one line."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _CUT_OFF, "no answer within 20 s"
    said = done.stderr.strip() or done.stdout.strip() or "no word"
    if done.returncode == _NO_LOGIN:
        said = said.splitlines()[-1]  # before it: warnings and banners
    return done.returncode, " ".join(said.split()).rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
