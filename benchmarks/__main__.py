"""Measure and write docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks import failover, leases, site
from holdfast import paths
from holdfast.files import write_atomic

_REPORT = """\
# Benchmarks

Written by `make bench` on {day}: {machine}.
Ratios are of one run; absolute times are this machine's.

## The whole local installation (caches warm)

| what | seconds | ratio | wanted |
|---|---|---|---|
| hosts started | {times.servers:.0f} | | |
| configured the first time | {times.first:.0f} | | |
| both | {total:.0f} | | 240 at most |
| the same, with Ansible's defaults | {times.first_by_defaults:.0f} | | |
| ours against that | | {first_gain:.2f} | |
| configured again, unchanged | {times.unchanged:.0f} | {again:.2f} of the first | 0.2, and 40 s |
| the same, with Ansible's defaults | {times.unchanged_by_defaults:.0f} | | |
| ours against that | | {again_gain:.2f} | 0.15 |

The peer is the same playbook on the same hosts by plain `ansible-core` as it comes: linear
strategy, five forks, no pipelining, facts gathered by every play. First runs once each, on new
hosts; repeated ones are medians of {runs}, in turn.

An unchanged run asks each host a few questions for each role
([decision 6](decisions/0006-look-first.md)), whoever asks them: what is left is mostly Ansible's
own start, which no transport shortens. That is why the last ratio is not what it was when every
task of every role asked.

## Leased logins and certificates that change all the time

| what | in {leases.seconds} s under load | failed | wanted |
|---|---|---|---|
| queries through `holdfast.leases` | {leases.queries} | {leases.failed_queries} | 0 failed |
| logins that they had, one after the other | {leases.logins} | | |
| handshakes with the edge | {leases.requests} | {leases.failed_requests} | 0 failed |
| certificates that it showed | {leases.certificates} | | |

Logins last 6 s and 12 s at most instead of an hour and a day, certificates 15 s instead of three
days: more changes than a week has. The slowest query took {leases.slowest_query:.2f} s.

Vault's PKI issues {leases.issued_per_second:.0f} certificates per second to four clients on one
host, {leases.issued_per_core_second:.0f} per second and core that Vault uses (P-256; each is
stored, and stands twice in the audit trail).

## A leader of three nodes is killed

{failover:.1f} s later a write through one of the other two succeeds (median of {runs}).
"""


@click.command()
@click.option("--runs", default=3, show_default=True, help="Repetitions of what can be repeated.")
def main(runs: int) -> None:
    """Measure and write docs/benchmarks.md."""
    found: list[leases.Leases] = []
    times = site.measure(runs=runs, then=lambda name: found.append(leases.measure(name)))
    seconds = failover.measure(runs=runs)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    text = _REPORT.format(
        day=f"{datetime.now(tz=UTC):%Y-%m-%d}",
        machine=f"{os.cpu_count()} cores, {memory:.0f} GiB, {_system()}, {platform.machine()}",
        times=times,
        total=times.servers + times.first,
        first_gain=times.first / times.first_by_defaults,
        again=times.unchanged / times.first,
        again_gain=times.unchanged / times.unchanged_by_defaults,
        runs=runs,
        leases=found[0],
        failover=seconds,
    )
    write_atomic(paths.repository() / "docs" / "benchmarks.md", text)
    click.echo(text)


def _system() -> str:
    release = Path("/etc/os-release").read_text().splitlines()
    return next(line.split("=", 1)[1].strip('"') for line in release if line.startswith("PRETTY"))


if __name__ == "__main__":
    main()
