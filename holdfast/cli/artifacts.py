"""artifacts fetch, list, verify, bundle, import."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holdfast import artifacts
from holdfast.artifacts import Cache, Damaged, Manifest
from holdfast.artifacts import bundle as bundles
from holdfast.cli.console import say, working
from holdfast.cli.context import json_option, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MIB = 1024**2
_PATIENCE = 7200  # seconds; somebody else may be building the same
_COLUMNS = {"artifact": "name", "version": "version", "licence": "licence"}

_names = click.argument("names", nargs=-1, metavar="[NAME]...")
_arch = click.option(
    "--arch",
    type=click.Choice(["amd64", "arm64"]),
    help="The CPU of the hosts.  [default: this machine's]",
)
_wait = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="How long to wait while another command fetches the same artifact.",
)


@dataclass(frozen=True)
class _Choice:
    manifest_path: Path

    def manifest(self) -> Manifest:
        return artifacts.load(self.manifest_path)


_pass_choice = click.make_pass_decorator(_Choice)


@click.group("artifacts")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    default=artifacts.default_path,
    help="Another manifest than artifacts/manifest.yml.",
)
@click.pass_context
def group(context: click.Context, manifest: Path) -> None:
    """Programs that are neither in Debian nor on PyPI: fetched once, verified, kept.

    The manifest names each with its version, licence, sources and checksums. Verified files stand
    in a cache under /var/cache/holdfast (HOLDFAST_CACHE moves it) that all installations on this
    machine share; roles ship them to the hosts from there. docs/artifacts.md tells more.

    \b
    Begin with:
      holdfast artifacts list            what there is, and what the cache holds
      holdfast artifacts fetch           have all of it in the cache, verified
      holdfast artifacts bundle FILE     carry it to a machine without a network

    \b
    Exit status besides the common ones:
      1    verify found a damaged file
    """
    context.obj = _Choice(manifest)


@group.command()
@_names
@_arch
@_wait
@json_option
@_pass_choice
def fetch(
    choice: _Choice,
    names: tuple[str, ...],
    arch: str | None,
    wait: float,
    as_json: bool,  # noqa: FBT001  (click's way)
) -> None:
    """Have the named artifacts, or all, in the cache, verified, and print where.

    What is there already is verified again and not fetched. Otherwise the sources are tried in
    the manifest's order: one that does not answer is passed over with a message; one that answers
    with something else than what is pinned ends the command.
    """
    wanted = choice.manifest().choose(names)
    with _reporting(f"artifacts: {len(wanted)} wanted") as report:
        found = artifacts.fetch(
            wanted,
            arch=arch or artifacts.this_machine(),
            cache=Cache(),
            report=report,
            wait=wait,
        )
    if as_json:
        rows = [{**asdict(i.receipt), "path": str(i.path), "fetched_now": i.fetched} for i in found]
        _print_json(rows)
        return
    for item in found:
        click.echo(item.path)


def ensure(*names: str) -> None:
    """Have these in the cache for hosts like this machine, whoever else fetches them meanwhile."""
    wanted = artifacts.load(artifacts.default_path()).choose(names)
    with suppress(Damaged):  # is fetched again
        if all(artifacts.held(one, arch=artifacts.this_machine(), cache=Cache()) for one in wanted):
            return
    with _reporting("fetching what is not in Debian") as report:
        artifacts.fetch(
            wanted, arch=artifacts.this_machine(), cache=Cache(), report=report, wait=_PATIENCE
        )


def is_release(name: str) -> bool:
    """Tell whether what the cache has is its publisher's."""
    [one] = artifacts.load(artifacts.default_path()).choose((name,))
    found = artifacts.held(one, arch=artifacts.this_machine(), cache=Cache())
    return found is not None and found.receipt.source == "release"


@group.command("list")
@_arch
@json_option
@_pass_choice
def list_(choice: _Choice, arch: str | None, as_json: bool) -> None:  # noqa: FBT001  (click's way)
    """Show every artifact: version, licence, sources, and what the cache holds of it."""
    rows = _states(choice.manifest().choose(()), arch, thorough=False)
    if as_json:
        _print_json(rows)
        return
    if not rows:
        click.echo("The manifest names no artifacts.")
        return
    _print_table(rows, {**_COLUMNS, "sources": "sources", "in the cache": "state", "MiB": "size"})


@group.command()
@_names
@_arch
@json_option
@_pass_choice
def verify(choice: _Choice, names: tuple[str, ...], arch: str | None, as_json: bool) -> None:  # noqa: FBT001  (click's way)
    """Read everything in the cache again and hold it to the manifest's checksums.

    Downloads that a file was taken out of are unpacked anew. An artifact that was not fetched is
    named and is no failure.
    """
    rows = _states(choice.manifest().choose(names), arch, thorough=True)
    if as_json:
        _print_json(rows)
    else:
        _print_table(rows, {**_COLUMNS, "state": "state", "from": "source", "MiB": "size"})
    damaged = [row["problem"] for row in rows if row["state"] == "damaged"]
    for problem in damaged:
        say(problem)
    if damaged:
        leave(1)


@group.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_names
@_arch
@_pass_choice
def bundle(choice: _Choice, file: Path, names: tuple[str, ...], arch: str | None) -> None:
    """Write the named artifacts, or all, from the cache into FILE for a machine without a network.

    Carry FILE over, and run `holdfast artifacts import FILE` there.
    """
    for name in bundles.write(
        file, choice.manifest().choose(names), arch=arch or artifacts.this_machine(), cache=Cache()
    ):
        click.echo(name)


@group.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_arch
@_wait
@_pass_choice
def import_(choice: _Choice, file: Path, arch: str | None, wait: float) -> None:
    """Put the artifacts of a bundle into the cache; each is held to the manifest's checksum."""
    with _reporting(f"artifacts: importing {file}") as report:
        found = bundles.read(
            file,
            choice.manifest().choose(()),
            arch=arch or artifacts.this_machine(),
            cache=Cache(),
            report=report,
            wait=wait,
        )
    for name in found:
        click.echo(name)


def _states(
    wanted: Sequence[artifacts.Artifact], arch: str | None, *, thorough: bool
) -> list[dict[str, Any]]:
    rows = []
    for artifact in wanted:
        row: dict[str, Any] = {
            "name": artifact.name,
            "version": artifact.version,
            "licence": artifact.licence,
            "purpose": artifact.purpose,
            "sources": [source.kind for source in artifact.sources],
            "state": "not fetched",
            "source": None,
            "size": None,
            "path": None,
            "problem": None,
        }
        try:
            held = artifacts.held(
                artifact, arch=arch or artifacts.this_machine(), cache=Cache(), thorough=thorough
            )
        except Damaged as error:
            row |= {"state": "damaged", "problem": str(error)}
        else:
            if held:
                row |= {"state": "verified", "path": str(held.path)}
                row |= {"source": held.receipt.source, "size": held.receipt.size}
        rows.append(row)
    return rows


def _print_json(answer: object) -> None:
    click.echo(json.dumps(answer, indent=2, sort_keys=True))


def _print_table(rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """Print `rows` under `columns`: heading and key. Nothing is cut off where space is short."""
    table = Table()
    for heading in columns:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[key]) for key in columns.values()))
    Console().print(table)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case list():
            return ", ".join(value)
        case int():
            return f"{value / _MIB:.1f}"
        case _:
            return escape(str(value))


@contextmanager
def _reporting(title: str) -> Iterator[_Reporter]:
    with working(title) as update:
        yield _Reporter(update)


class _Reporter:
    """Steps as lines; a transfer's progress beside the spinner, where there is one."""

    def __init__(self, update: Callable[[str], None]) -> None:
        self._update = update

    def say(self, message: str) -> None:
        say(message)
        self._update(escape(message))

    def progress(self, label: str, done: int, total: int | None) -> None:
        of = f" of {total / _MIB:.0f}" if total else ""
        self._update(f"{escape(label)}: {done / _MIB:.0f}{of} MiB")
