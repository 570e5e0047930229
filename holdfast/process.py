"""External commands: a list, never a shell; every exit status is looked at."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# In front of a command that works for long: it dies with us, also when we are killed.
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
# The same for one that starts others and mounts file systems: those end with it.
ALONE = (*WITH_US, "unshare", "--mount-proc", "--pid", "--fork", "--kill-child", "--")

_TAIL_LINES = 15


class CommandFailed(Error):
    """An external command could not be run, took too long, or said no."""

    def __init__(self, argv: Sequence[str], reason: str, output: str = "") -> None:
        tail = "\n".join(output.strip().splitlines()[-_TAIL_LINES:])
        super().__init__(
            f"`{' '.join([word for word in argv if word not in ALONE][:6])}` {reason}."
            + (f"\n{tail}" if tail else "")
        )
        self.reason = reason
        self.output = output


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 300,
) -> str:
    """Run a command to its end and return its standard output.

    `timeout` is in seconds. Raises CommandFailed with the end of what the command said.
    """
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env=env,
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandFailed(argv, "is not installed; run `make setup`") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(argv, f"did not end within {timeout:.0f} s") from error
    if done.returncode != 0:
        raise CommandFailed(
            argv, f"ended with status {done.returncode}", done.stderr or done.stdout
        )
    return done.stdout
