"""The whole local installation: from nothing, again unchanged, and as Ansible's defaults do it."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import paths

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = "bench"
_BIN = Path(sys.executable).parent
_PLAYBOOK = paths.repository() / "playbooks" / "site.yml"

# What Ansible does when nobody tells it otherwise, and the paths it cannot do without.
_DEFAULTS = f"""\
[defaults]
inventory = {paths.repository()}/inventory/local
roles_path = {paths.repository()}/roles
filter_plugins = {paths.repository()}/ansible_plugins/filter
action_plugins = {paths.repository()}/ansible_plugins/action
library = {paths.repository()}/ansible_plugins/modules
[privilege_escalation]
become = True
"""


@dataclass(frozen=True, kw_only=True)
class Times:
    """Wall-clock seconds."""

    servers: float
    first: float
    first_by_defaults: float
    unchanged: float
    unchanged_by_defaults: float


def measure(*, runs: int, then: Callable[[str], None]) -> Times:
    """Time an installation of its own; repeated runs give their median.

    `then` is given its name before it is destroyed, for what else is measured on it.
    """
    with tempfile.TemporaryDirectory() as folder:
        peer = _peer(Path(folder))
        defaults = peer.with_name("ansible.cfg")
        unchanged, unchanged_by_defaults = [], []
        try:
            _holdfast("destroy", "--yes")
            _holdfast("up", "--until", "servers")
            first_by_defaults = _timed(lambda: _playbook(peer, config=defaults))
            _holdfast("destroy", "--yes")
            servers = _timed(lambda: _holdfast("up", "--until", "servers"))
            first = _timed(lambda: _playbook(_PLAYBOOK))
            for _ in range(runs):
                unchanged.append(_timed(lambda: _playbook(_PLAYBOOK)))
                unchanged_by_defaults.append(_timed(lambda: _playbook(peer, config=defaults)))
            then(_NAME)
        finally:
            _holdfast("destroy", "--yes")
    return Times(
        servers=servers,
        first=first,
        first_by_defaults=first_by_defaults,
        unchanged=statistics.median(unchanged),
        unchanged_by_defaults=statistics.median(unchanged_by_defaults),
    )


def _peer(folder: Path) -> Path:
    """The same playbook with facts gathered by every play, and a configuration of defaults."""
    (folder / "ansible.cfg").write_text(_DEFAULTS)
    text = re.sub(r"^ *gather_(facts|subset):.*\n", "", _PLAYBOOK.read_text(), flags=re.MULTILINE)
    playbook = folder / "site.yml"
    playbook.write_text(text)
    return playbook


def _holdfast(*argv: str) -> None:
    subprocess.run([_BIN / "holdfast", "--name", _NAME, *argv], check=True)


def _playbook(playbook: Path, *, config: Path | None = None) -> None:
    env = {**os.environ, "HOLDFAST_NAME": _NAME}
    if config:
        env["ANSIBLE_CONFIG"] = str(config)
    subprocess.run(
        [_BIN / "ansible-playbook", playbook],
        cwd=paths.repository(),
        env=env,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _timed(work: Callable[[], None]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start
