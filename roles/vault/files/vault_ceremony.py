#!/usr/bin/python3 -I
"""This node's part in the ceremony that brings a new Vault to life.

stop       stop Vault, so that no other node joins what is left of it; refused once complete
begin      wipe what an interrupted ceremony left, start Vault and wait until it can be initialised;
           refused once the ceremony is complete, or where somebody else initialised Vault
complete   note, for good, that the ceremony is complete: from now on Vault's data are never wiped
state      print none, begun or complete

With several nodes: `stop` on all of them before the first `begin`.
"""

import datetime as dt
import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

MARKS = Path("/var/lib/holdfast/vault")
DATA = Path("/var/lib/vault")
AUDIT = Path("/var/log/vault")
WATCH = "/usr/local/lib/holdfast/vault-watch"
PATIENCE = 60.0  # seconds


class Refused(Exception):
    """Why nothing was done, with the fix."""


def state():
    """What the marks on the disk say."""
    for word in ("complete", "begun"):
        if (MARKS / word).exists():
            return word
    return "none"


def stop():
    """Leave a Vault that does not run."""
    _require_incomplete()
    _systemctl("stop")


def begin():
    """Leave a Vault that runs and has no data."""
    _require_incomplete()
    if state() == "none":
        _require_empty()
        _mark("begun")
    _systemctl("stop")
    # The folders stay: they may be mounts, and are what role vault made them.
    _empty(DATA, "*")
    _empty(AUDIT, "audit.log*")
    _systemctl("start")
    word = _wait()
    if word == "sealed":
        raise Refused(
            "Vault has joined what is left of an old Vault on another node. Run `vault-ceremony "
            "stop` on every node, and begin again on each."
        )
    if word != "uninitialised":
        raise Refused(f"Vault is {word}, and should be uninitialised: begin again.")


def complete():
    """Leave the mark that forbids wiping."""
    if state() == "complete":
        return
    word = _vault()
    if word not in ("sealed", "unsealed"):
        raise Refused(
            f"Vault on this node is {word}: there is nothing yet that could be complete. Run "
            "`holdfast vault init`."
        )
    _mark("complete")
    (MARKS / "begun").unlink(missing_ok=True)


def _require_incomplete():
    if state() == "complete":
        raise Refused(
            "The ceremony is complete: Vault's data on this host are never wiped. Nothing was "
            "changed. Unseal Vault with `holdfast vault unseal`."
        )


def _require_empty():
    """Before the first beginning: whoever initialised Vault did it without us."""
    _systemctl("start")
    word = _wait()
    if word != "uninitialised":
        raise Refused(
            f"Vault on this node is {word}, and no ceremony was begun here: its data are "
            f"somebody's. If they are nobody's, stop vault.service, empty {DATA} and begin again; "
            "if they are the installation's, `vault-ceremony complete` protects them."
        )


def _wait():
    """Vault's state, as soon as it answers."""
    end = time.monotonic() + PATIENCE
    while (word := _vault()) == "unreachable":
        if time.monotonic() > end:
            raise Refused(
                f"Vault did not answer within {PATIENCE:.0f} s: `journalctl --unit=vault` shows "
                "why. Mend that, and begin again."
            )
        time.sleep(0.5)
    return word


def _vault():
    asked = subprocess.run([WATCH, "state"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def _systemctl(verb):
    # Beginning again and again is no reason not to start; there may be nothing to reset.
    subprocess.run(["systemctl", "reset-failed", "vault.service"], capture_output=True, check=False)
    done = subprocess.run(["systemctl", verb, "vault.service"], check=False)
    if done.returncode:
        raise Refused(
            f"`systemctl {verb} vault.service` failed: `journalctl --unit=vault` shows why. Mend "
            "that, and begin again."
        )


def _empty(folder, pattern):
    for path in folder.glob(pattern):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    _sync(folder)


def _mark(word):
    """Write a mark so that a power cut does not take it back."""
    temporary = MARKS / f".{word}"
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(dt.datetime.now(dt.UTC).isoformat(timespec="seconds") + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(MARKS / word)
    _sync(MARKS)


def _sync(folder):
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(argv):
    """Run one of the commands above."""
    commands = {"stop": stop, "begin": begin, "complete": complete}
    try:
        match argv:
            case ["state"]:
                print(state())
            case [name] if name in commands:
                with (MARKS / "lock").open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    commands[name]()
                    print(state())
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except BlockingIOError:
        print("Another vault-ceremony runs on this host: wait for it.", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"{error}: run it as root, with sudo.", file=sys.stderr)
        return 1
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
