"""status, ssh, logs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from holdfast.cli.context import Context, json_option, pass_context


@click.command()
@json_option
@pass_context
def status(context: Context, as_json: bool) -> None:  # noqa: FBT001  (click's way)
    """Show what stands where, and whether it runs."""
    servers = context.servers().status()
    if as_json:
        answer = {
            "name": context.installation.name,
            "domain": context.installation.domain,
            "hosts": [asdict(server) for server in servers],
        }
        click.echo(json.dumps(answer, indent=2, sort_keys=True))
        return
    table = Table("host", "state", "addresses", "groups", title=context.installation.domain)
    for server in servers:
        host = context.inventory.hosts.get(server.name)
        groups = ", ".join(sorted(host.groups - {"installation"})) if host else "not in inventory"
        table.add_row(server.name, server.state, "\n".join(server.addresses), groups)
    Console().print(table if servers else "No hosts here yet; run `holdfast up`.")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_context
def ssh(context: Context, host: str, command: tuple[str, ...]) -> None:
    """Log in to HOST as its operator, or run COMMAND there."""
    argv = context.servers().ssh_argv(host)
    os.execvp(argv[0], [*argv, *command])  # noqa: S606  (the list is ours; ssh takes the terminal)


@click.command()
@click.argument("host")
@pass_context
def logs(context: Context, host: str) -> None:
    """Show the newest 200 lines of HOST's journal, even when SSH does not answer."""
    click.echo(context.servers().logs(host), nl=False)
