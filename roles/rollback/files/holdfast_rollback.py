#!/usr/bin/python3
"""Put an old state back unless somebody confirms the new one in time.

The host keeps one folder per pending roll-back under /var/lib/holdfast/rollback: copies of what
was there before, and record.json with the commands that put it in force again. The folder exists
if and only if the roll-back is pending; a timer, the next boot, or the next play carries it out.

  arm NAME             save the old state and start the timer; prints the token (plan on stdin)
  apply NAME TOKEN     put the new state in force one second from now (commands on stdin)
  confirm NAME TOKEN   keep the new state
  outcome NAME TOKEN   print what became of it
  restore NAME         put the old state back now
  boot                 put every pending old state's files back, before services start

Exit status: 0 done, 1 failed, 3 not pending (any more), 75 try again with a new login.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = Path("/var/lib/holdfast/rollback")
SELF = "/usr/local/sbin/holdfast-rollback"
NOT_PENDING = 3
TRY_AGAIN = 75
COMMAND_SECONDS = 30


class Failure(Exception):
    """Something that is told to the caller, with an exit status."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def main(arguments: list[str]) -> int:
    """Carry out one command line and return the exit status."""
    try:
        match arguments:
            case ["boot"]:
                boot()
            case ["arm", name]:
                print(arm(checked(name), json.load(sys.stdin)))
            case ["apply", name, token]:
                schedule(checked(name), token, json.load(sys.stdin))
            case ["apply-now", name, token]:
                apply_now(checked(name), token)
            case ["confirm", name, token]:
                print(confirm(checked(name), token))
            case ["outcome", name, token]:
                print(outcome(checked(name), token))
            case ["restore", name]:
                print(
                    restore(
                        checked(name),
                        "it was not confirmed in time, or somebody asked for the old one",
                    )
                )
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except Failure as failure:
        print(failure, file=sys.stderr)
        return failure.status
    return 0


def arm(name: str, plan: dict[str, Any]) -> str:
    """Save the state of plan['paths'] and start the timer of plan['seconds']; return the token."""
    with locked():
        if (BASE / name).exists():
            raise Failure(
                f"A roll-back of {name} is already pending on this host: another play is in the"
                f" middle of a change. Run `{SELF} restore {name}`, or wait for it.",
                status=NOT_PENDING,
            )
        staging = BASE / f".{name}.new"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        saved = []
        for index, path in enumerate(plan["paths"]):
            present = os.path.lexists(path)
            if present:
                copy(path, staging / str(index))
            saved.append({"path": path, "present": present})
        token = secrets.token_hex(16)
        record = {
            "token": token,
            "paths": saved,
            "command": plan["command"],
            "seconds": plan["seconds"],
            "armed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        write(staging / "record.json", record)
        os.sync()  # the copies must be on disk before the record says that they are
        staging.rename(BASE / name)
        os.sync()
    system("systemctl", "daemon-reload")
    # Earlier attempts must not count against this one; a unit that never ran has nothing to reset.
    unit = f"holdfast-rollback@{name}.service"
    subprocess.run(["systemctl", "reset-failed", unit], check=False, stderr=subprocess.DEVNULL)
    system(
        "systemd-run",
        "--quiet",
        f"--unit={unit}",
        f"--on-active={plan['seconds']}s",
        "--timer-property=AccuracySec=1s",
    )
    return token


def schedule(name: str, token: str, commands: list[list[str]]) -> None:
    """Let systemd run `commands`, so that cutting the caller's connection cannot stop them."""
    with locked():
        pending(name, token)
        write(BASE / name / "apply.json", {"commands": commands})
    unit = f"holdfast-rollback-apply-{name}"
    system("systemd-run", "--quiet", "--no-block", "--collect", f"--unit={unit}",
           SELF, "apply-now", name, token)  # fmt: skip


def apply_now(name: str, token: str) -> None:
    """Run the scheduled commands; put the old state back at once when one of them fails."""
    time.sleep(1)
    with locked():
        pending(name, token)
        folder = BASE / name
        failures = run_all(json.loads((folder / "apply.json").read_text())["commands"])
        if not failures:
            write(folder / "applied.json", {"seen": False})
            return
    restore(name, "the new state could not be put in force: " + "; ".join(failures))


def confirm(name: str, token: str) -> str:
    """Keep the new state. Asks for one more login when this one may be older than the change."""
    with locked(wait=False):
        pending(name, token)
        folder = BASE / name
        if (folder / "apply.json").exists():
            applied = folder / "applied.json"
            if not applied.exists():
                raise Failure("The change is not in force yet.", status=TRY_AGAIN)
            if not json.loads(applied.read_text())["seen"]:
                write(applied, {"seen": True})
                raise Failure("This login may have begun before the change.", status=TRY_AGAIN)
        finish(name, token, "kept", "a fresh login confirmed it")
    return "kept"


def restore(name: str, reason: str) -> str:
    """Put the old files back and run the commands that put them in force."""
    with locked():
        if not (BASE / name).exists():
            return f"No roll-back of {name} is pending."
        record = json.loads((BASE / name / "record.json").read_text())
        failures = put_back(name, record)
        failures += run_all(record["command"])
        if failures:
            raise Failure(f"The old state of {name} is not fully back: " + "; ".join(failures))
        finish(name, record["token"], "rolled back", reason)
    return f"The old state of {name} is back: {reason}."


def boot() -> None:
    """Put files back before anything reads them; the commands follow when the system is up."""
    failures = []
    with locked():
        for folder in sorted(BASE.iterdir()):
            if not (folder / "record.json").exists() or folder.name.startswith("."):
                continue
            record = json.loads((folder / "record.json").read_text())
            failures += put_back(folder.name, record)
            (folder / "apply.json").unlink(missing_ok=True)
            system("systemctl", "daemon-reload")
            system("systemctl", "start", "--no-block", f"holdfast-rollback@{folder.name}.service")
            print(f"The old files of {folder.name} are back: the host was restarted before a login")
    if failures:
        raise Failure("; ".join(failures))


def outcome(name: str, token: str) -> str:
    """Return 'pending', or what became of the change and why."""
    with locked():
        with contextlib.suppress(Failure):
            pending(name, token)
            return "pending"
        return last_outcome(name, token)


def pending(name: str, token: str) -> None:
    """Raise Failure unless the roll-back that `token` belongs to is pending."""
    record = BASE / name / "record.json"
    if not record.exists() or json.loads(record.read_text())["token"] != token:
        raise Failure(last_outcome(name, token), status=NOT_PENDING)


def last_outcome(name: str, token: str) -> str:
    """Say how the change of `token` ended."""
    try:
        last = json.loads((BASE / f"{name}.outcome").read_text())
    except FileNotFoundError:
        last = {}
    if last.get("token") != token:
        return "unknown: another play has made a change since"
    return f"{last['outcome']}: {last['reason']}"


def finish(name: str, token: str, how: str, reason: str) -> None:
    """Forget the pending roll-back, whose end becomes its outcome."""
    write(BASE / f"{name}.outcome", {"token": token, "outcome": how, "reason": reason})
    gone = BASE / f".{name}.gone"
    shutil.rmtree(gone, ignore_errors=True)
    (BASE / name).rename(gone)
    os.sync()
    shutil.rmtree(gone)
    timer = f"holdfast-rollback@{name}.timer"
    if subprocess.run(["systemctl", "--quiet", "is-active", timer], check=False).returncode == 0:
        system("systemctl", "stop", timer)


def put_back(name: str, record: dict[str, Any]) -> list[str]:
    """Make every recorded path what it was; return what failed."""
    failures = []
    for index, saved in enumerate(record["paths"]):
        path = Path(saved["path"])
        fresh = path.parent / f".{path.name}.holdfast-rollback"
        stale = path.parent / f".{path.name}.holdfast-stale"
        try:
            remove(fresh)
            remove(stale)
            if saved["present"]:
                path.parent.mkdir(parents=True, exist_ok=True)
                copy(BASE / name / str(index), fresh)
            if (is_folder(path) or is_folder(fresh)) and os.path.lexists(path):
                make_way(path, stale)
            if saved["present"]:
                fresh.rename(path)
            else:
                remove(path)
            remove(stale)
        except (OSError, Failure) as error:
            failures.append(f"{path}: {error}")
    os.sync()
    return failures


def make_way(path: Path, stale: Path) -> None:
    """Move a folder aside; remove it where that is impossible (overlayfs, layers below).

    Killed after that, the record is still pending and puts everything back.
    """
    try:
        path.rename(stale)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        remove(path)


def run_all(commands: list[list[str]]) -> list[str]:
    """Run every command, also after one failed; return what failed."""
    failures = []
    for command in commands:
        try:
            system(*command)
        except Failure as failure:
            failures.append(str(failure))
    return failures


def system(*command: str) -> None:
    """Run one command; raise Failure with what it said."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise Failure(f"{' '.join(command)} ended with status {done.returncode}: {said}")


def copy(source: str | Path, target: Path) -> None:
    """Copy a file, link or folder with owner, mode, times and attributes."""
    system("cp", "--archive", "--no-target-directory", "--", str(source), str(target))


def is_folder(path: Path) -> bool:
    """Say whether `path` itself, not what it links to, is a folder."""
    return path.is_dir() and not path.is_symlink()


def remove(path: Path) -> None:
    """Remove whatever is at `path`, if anything."""
    if is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write(path: Path, content: object) -> None:
    """Replace a JSON file as a whole."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w") as stream:
        json.dump(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)


def checked(name: str) -> str:
    """Return `name` when it can be a file's and a unit's name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise Failure(f"{name!r} cannot name a roll-back: small letters, digits and _ only.")
    return name


@contextlib.contextmanager
def locked(*, wait: bool = True) -> Iterator[None]:
    """Let one command at a time work on the pending roll-backs."""
    if not BASE.parent.exists():
        BASE.parent.mkdir()
        BASE.parent.chmod(0o755)  # services have folders of their own in it
    BASE.mkdir(mode=0o700, exist_ok=True)
    with (BASE / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise Failure("The change is being made.", status=TRY_AGAIN) from error
        yield


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
