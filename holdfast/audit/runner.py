"""Runs the checks against a live installation and judges what they saw."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from holdfast import paths
from holdfast.audit import connections
from holdfast.audit.catalogue import Catalogue, checks_folder, load_catalogue
from holdfast.audit.judgement import Exceptions, Outcome, State, Verdict, exit_code, judge
from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.inventory import Inventory

_LIMIT_SECONDS = 600
_PYTEST_SAID_ALL = (0, 1)  # every check ran; some failed


class AuditBroken(Error):
    """The audit could not be carried out, so it says nothing about the installation."""


@dataclass(frozen=True)
class Weakening:
    """A promise that the inventory loosens on purpose."""

    control: str
    variable: str
    statement: str
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """One audit of one installation."""

    installation: str
    started: dt.datetime
    seconds: float
    verdicts: tuple[Verdict, ...]
    weakenings: tuple[Weakening, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0: kept or answered for; 1: a promise is broken; 2: something could not be seen."""
        return exit_code(self.verdicts)


def run(inventory: Inventory, *, controls: Iterable[str] = (), checks: Path | None = None) -> Audit:
    """Audit the installation; `controls` narrows it to those ids.

    Raises Unreachable when a host does not answer, AuditBroken when the checks could not be run.
    """
    catalogue = load_catalogue()
    wanted = catalogue.select(controls)
    started = dt.datetime.now(tz=dt.UTC)
    exceptions = Exceptions.read(inventory, catalogue=catalogue, today=started.date())
    clock = time.monotonic()
    with connections.connected(inventory) as ssh_config:
        outcomes = _outcomes(
            inventory, wanted, ssh_config=ssh_config, checks=checks or checks_folder()
        )
    verdicts = judge(wanted, outcomes, exceptions)
    return Audit(
        installation=str(inventory.variable("installation_name", inventory.path.name)),
        started=started,
        seconds=round(time.monotonic() - clock, 1),
        verdicts=verdicts,
        weakenings=_weakenings(inventory, wanted),
        notes=_notes(verdicts, exceptions),
    )


def _outcomes(
    inventory: Inventory, wanted: Catalogue, *, ssh_config: Path, checks: Path
) -> tuple[Outcome, ...]:
    with tempfile.TemporaryDirectory(prefix="hf-audit-") as name:
        context, results = Path(name) / "context.json", Path(name) / "results.json"
        context.write_text(
            json.dumps(
                {
                    "inventory": inventory.listed(),
                    "path": str(inventory.path),
                    "ssh_config": str(ssh_config),
                    "controls": list(wanted.controls),
                    "results": str(results),
                }
            )
        )
        said, status = _pytest(checks, context)
        if status not in _PYTEST_SAID_ALL or not results.exists():
            raise AuditBroken(
                f"The checks in {checks} could not be run (pytest ended with status {status}); "
                f"nothing was judged. What it said:\n{said[-3000:]}"
            )
        answer = json.loads(results.read_text())
    outcomes = tuple(_outcome(entry) for entry in answer["outcomes"])
    if not outcomes or len(outcomes) != len(answer["collected"]):
        raise AuditBroken(
            f"{len(answer['collected'])} checks were collected in {checks} and "
            f"{len(outcomes)} answered; nothing was judged."
        )
    return outcomes


def _pytest(checks: Path, context: Path) -> tuple[str, int]:
    argv = [
        sys.executable, "-m", "pytest", str(checks),
        "-c", str(paths.repository() / "pyproject.toml"),
        "-p", "holdfast.audit.plugin", "--audit-context", str(context),
        "-p", "no:cacheprovider", "--assert=plain", "-q", "--tb=no",
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    # The same plugins wherever it runs: none that happens to be installed.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=paths.repository(),
            env=environment,
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AuditBroken(
            f"The checks did not end within {_LIMIT_SECONDS} s; nothing was judged."
        ) from error
    return done.stdout + done.stderr, done.returncode


def _outcome(entry: dict[str, Any]) -> Outcome:
    return Outcome(**{**entry, "state": State(entry["state"])})


def _weakenings(inventory: Inventory, wanted: Catalogue) -> tuple[Weakening, ...]:
    known = yaml.safe_load((checks_folder() / "weakenings.yml").read_text())
    found = []
    for variable, entry in known.items():
        hosts = tuple(
            name for name, host in sorted(inventory.hosts.items()) if host.variables.get(variable)
        )
        if hosts and entry["control"] in wanted.controls:
            found.append(Weakening(entry["control"], variable, entry["statement"], hosts))
    return tuple(found)


def _notes(verdicts: tuple[Verdict, ...], exceptions: Exceptions) -> tuple[str, ...]:
    idle = [
        f"{verdict.control.id} is {verdict.state.value}: its {what} is no longer needed"
        for what, named in (
            ("waiver", exceptions.waivers),
            ("attestation", exceptions.attestations),
            ("place on the list of expected ones", exceptions.expected),
        )
        for verdict in verdicts
        if verdict.control.id in named and verdict.state is State.PASS
    ]
    return (*exceptions.lapsed, *idle)
