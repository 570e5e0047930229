"""Playbooks, run as a person would run them, with their output kept in a log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import paths
from holdfast.errors import Error
from holdfast.files import private_folder
from holdfast.process import WITH_US

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.installation import Installation

_HEADING = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.+)\] \*")
_RECAP = re.compile(
    r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE
)
_FAILURE = re.compile(r"^(?:fatal: |\[ERROR\]|ERROR!)", re.MULTILINE)
_LOGS_KEPT = 20
_SHOWN_LINES = 40


class PlaybookFailed(Error):
    """A playbook ended in an error."""


def play(
    playbook: str,
    *,
    installation: Installation,
    inventory: Path,
    arguments: Sequence[str] = (),
    progress: Callable[[str], None],
) -> dict[str, int]:
    """Run `playbooks/PLAYBOOK.yml`; `progress` is told each task's name.

    Returns the number of changed tasks by host. Raises PlaybookFailed with the failing
    task's own message and the path of the whole log.
    """
    log = _new_log(installation, playbook)
    argv = [
        *WITH_US,
        str(Path(sys.executable).with_name("ansible-playbook")),
        "--inventory",
        str(inventory),
        *arguments,
        f"playbooks/{playbook}.yml",
    ]
    with (
        log.open("w") as copy,
        subprocess.Popen(
            argv,
            cwd=paths.repository(),
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101  (asked for above)
        try:
            for line in process.stdout:
                copy.write(line)
                if heading := _HEADING.match(line):
                    progress(heading[1])
        except BaseException:
            process.terminate()
            raise
    output = log.read_text()
    if process.returncode != 0:
        raise PlaybookFailed(
            f"The playbook {playbook} failed; nothing after the failing task was done. "
            f"Mend the cause and run again: what is done is not done twice.\n"
            f"{_excerpt(output)}\nThe whole log: {log}"
        )
    return {host: int(changed) for host, changed, _, _ in _RECAP.findall(output)}


def _excerpt(output: str) -> str:
    """From the first failure on, without the recap."""
    found = _FAILURE.search(output)
    lines = output[found.start() if found else 0 :].partition("PLAY RECAP")[0].strip().splitlines()
    return "\n".join(lines[:_SHOWN_LINES] if found else lines[-_SHOWN_LINES:])


def _new_log(installation: Installation, playbook: str) -> Path:
    folder = private_folder(installation.folder / "logs")
    for old in sorted(folder.glob("*.log"))[:-_LOGS_KEPT]:
        old.unlink()
    return folder / f"{datetime.now(tz=UTC):%Y%m%dT%H%M%SZ}-{playbook}.log"
