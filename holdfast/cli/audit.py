"""audit."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from holdfast import audit as audits
from holdfast.audit import reports
from holdfast.cli.console import say, working
from holdfast.cli.context import Context, json_option, leave, pass_context, wait_option


@click.command()
@click.option(
    "--control",
    "controls",
    multiple=True,
    metavar="ID",
    help="Audit this control only; may be repeated.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for audit.json and audit.xml.  [default: the installation's own, audit/]",
)
@click.option("--list", "listing", is_flag=True, help="Print the controls and leave.")
@json_option
@wait_option
@pass_context
def audit(
    context: Context,
    *,
    controls: tuple[str, ...],
    output: Path | None,
    listing: bool,
    as_json: bool,
    wait: float,
) -> None:
    """Try every promise on the live installation and print what came of it.

    Nothing is changed on the hosts. The probes from outside run on the host of the group
    `outside`. audit.json (for programs) and audit.xml (JUnit) are written as well.

    \b
    Exit status:
      0  nothing failed; what was not evaluated is on the inventory's list of such controls
      1  a promise is broken
      2  a check could not finish, a host did not answer, or something was not evaluated
    """
    if listing:
        for control in audits.load_catalogue().select(controls).controls.values():
            click.echo(f"{control.id:4} {control.severity:9} {control.title}")
        return
    with (
        context.exclusively("audit", wait=wait),
        working("auditing the live installation"),
    ):
        result = audits.run(context.inventory, controls=controls)
    for path in reports.write(result, output or context.installation.folder / "audit"):
        say(f"wrote {path}")
    if as_json:
        click.echo(reports.as_json(result), nl=False)
    else:
        reports.show(result, Console())
    leave(result.exit_code)
