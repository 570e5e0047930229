"""Action `fresh_login`: log in once more, and only then let the host keep its new state.

Every attempt is a TCP connection of its own, from the operator's machine: a shared control socket
or a connection the firewall already knows would prove nothing, and the play's own connection may
be cut by the change. An action, not a command on localhost: all hosts at the same time.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from typing import Any

from ansible.plugins.action import ActionBase

_NOT_PENDING = 3
_TRY_AGAIN = 75
_NO_LOGIN = 255
_CUT_OFF = -1
_PROGRAM = "/usr/local/sbin/holdfast-rollback"


class ActionModule(ActionBase):
    """Fails with the reason, after the host has its old state back."""

    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Put the new state in force (`apply`), and confirm it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        # Called only where something is to change, of which files need not tell.
        result["changed"] = bool(self._task.args["apply"])
        if self._task.check_mode:
            return result
        kept, sentence = _confirm(self._task.args)
        return {**result, "failed": not kept, "msg": sentence}


def _confirm(asked: dict[str, Any]) -> tuple[bool, str]:
    """Say whether the new state is kept, and what happened."""
    name, token, host = asked["name"], asked["token"], asked["host"]
    seconds = int(asked["seconds"])
    login = _ssh(asked)
    began = time.monotonic()
    reason = ""
    if asked["apply"]:
        order = [*login, f"sudo -n {_PROGRAM} apply {name} {token}"]
        status, reason = _attempt(order, stdin=json.dumps(asked["apply"]))
        if status not in (0, _CUT_OFF):
            return False, (
                f"The new state of {name} was not put in force: {host} could not be told to by a"
                f" fresh login ({reason}). It puts the old files back within {seconds} s."
            )
    while time.monotonic() - began < seconds * 0.5:
        status, said = _attempt([*login, f"sudo -n {_PROGRAM} confirm {name} {token}"])
        if status == 0:
            return True, f"A fresh login to {host} worked: the new state of {name} is kept."
        if status == _NOT_PENDING:
            return False, f"The change of {name} on {host} did not last: {said}."
        if status == _TRY_AGAIN:
            time.sleep(0.3)
            continue
        reason = said
        # Refused logins count against the source address in sshd: do not hammer.
        time.sleep(12 if "Permission denied" in said else 3)
    reason = reason or "it never came into force"
    return False, (
        f"No fresh login to {host} worked after the change of {name} ({reason})."
        f" {_wait_until_back(asked, login, began)}"
    )


def _wait_until_back(asked: dict[str, Any], login: list[str], began: float) -> str:
    """Wait for the roll-back, and say what became of it."""
    name, token, host = asked["name"], asked["token"], asked["host"]
    seconds = int(asked["seconds"])
    while time.monotonic() - began < seconds + 60:
        status, said = _attempt([*login, f"sudo -n {_PROGRAM} outcome {name} {token}"])
        if status == 0 and said != "pending":
            waited = time.monotonic() - began
            return f"The old state has come back by itself: {host} answers again ({waited:.0f} s)."
        time.sleep(3)
    return (
        f"The host puts the old state back by itself {seconds} s after it was armed, but {host} has"
        " not answered a login since. Reboot it: what is pending is undone at boot too."
    )


def _ssh(asked: dict[str, Any]) -> list[str]:
    """Return the ssh command for one connection that shares nothing with any other."""
    # ssh takes the first value it sees of each option: ours come before the inventory's.
    command = [asked["executable"], "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    command += ["-o", "BatchMode=yes", "-o", "ConnectTimeout=8", "-o", "ConnectionAttempts=1"]
    for key, flag in (("user", "-l"), ("port", "-p"), ("key", "-i")):
        if asked[key]:
            command += [flag, str(asked[key])]
    return [*command, *shlex.split(asked["arguments"]), asked["address"], "--"]


def _attempt(command: list[str], *, stdin: str = "") -> tuple[int, str]:
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
