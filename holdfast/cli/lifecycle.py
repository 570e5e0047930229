"""up, down, destroy."""

from __future__ import annotations

import click

from holdfast import audit as audits
from holdfast import inventory
from holdfast.audit import reports
from holdfast.cli import summary
from holdfast.cli.artifacts import ensure, is_release
from holdfast.cli.console import say, working
from holdfast.cli.context import Context, leave, pass_context, wait_option
from holdfast.errors import Error
from holdfast.local.ca import ensure_ca
from holdfast.local.operators import ensure_operators
from holdfast.playbook import play
from holdfast.vault.authority import ensure_authorities
from holdfast.vault.login import forget
from holdfast.vault.operators import from_inventory

_STEPS = ("servers", "site", "audit")
_PLUGINS = "vault_program_plugins"


@click.command()
@click.option(
    "--until",
    type=click.Choice(_STEPS),
    default=_STEPS[-1],
    show_default=True,
    help="The last step: start servers, configure the site, audit.",
)
@wait_option
@pass_context
def up(context: Context, until: str, wait: float) -> None:
    """Start the hosts, configure them, audit the live result.

    Safe to run at any time and after being killed: what stands is left as it is, what is
    missing is made. With an inventory of your own servers only the last two steps happen.
    """
    steps = _STEPS[: _STEPS.index(until) + 1]
    with context.exclusively("up", wait=wait):
        _fetch_programs(context)
        _start_servers(context)
        _ensure_authorities(context)
        if "site" in steps:
            _configure(context)
        if "audit" in steps:
            _audit(context)


def _fetch_programs(context: Context) -> None:
    hosts = inventory.load(context.inventory_path, wanted=True).group("vault")
    if hosts:
        ensure("vault")
        plugins = {name for host in hosts for name in host.variables.get(_PLUGINS, ())}
        if plugins and not is_release("vault"):  # which has them built in
            ensure(*sorted(plugins))


def _start_servers(context: Context) -> None:
    wanted = context.wanted_here()
    if not wanted:
        return  # servers of their own
    context.servers(prepare=True).up(wanted)
    ensure_operators(context.installation.folder / "operators")
    ensure_ca(
        context.installation.folder / "ca",
        name=context.installation.name,
        domain=context.installation.domain,
    )


def _ensure_authorities(context: Context) -> None:
    """What the operators sign with, in this installation's folder."""
    if context.inventory.group("vault"):
        ensure_authorities(
            context.installation.folder / "vault",
            installation=context.installation.name,
            domain=context.installation.domain,
            operators=from_inventory(context.inventory).operators,
        )


def _configure(context: Context) -> None:
    with working("configuring the hosts") as progress:
        changed = play(
            "site",
            installation=context.installation,
            inventory=context.inventory_path,
            progress=progress,
        )
    say(f"configured {len(changed)} hosts, changed={sum(changed.values())}")


def _audit(context: Context) -> None:
    with working("auditing the live installation"):
        result = audits.run(context.inventory)
    written = reports.write(result, context.installation.folder / "audit")
    summary.show(context, result, written)
    leave(result.exit_code)


@click.command()
@wait_option
@pass_context
def down(context: Context, wait: float) -> None:
    """Stop the hosts on this machine; `up` brings them back with their data."""
    with context.exclusively("down", wait=wait):
        context.servers().down()


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@wait_option
@pass_context
def destroy(context: Context, yes: bool, wait: float) -> None:  # noqa: FBT001  (click's way)
    """Remove the hosts on this machine, their data and their keys, for good.

    Base images and fetched artifacts are kept: other installations share them.
    """
    name = context.installation.name
    with context.exclusively("destroy", wait=wait):
        if not context.installation.folder.exists():
            say(f"there is no installation {name}")
        elif not yes and not click.confirm(f"Remove {name} with all its data?", err=True):
            raise Error(f"{name} was left as it is; say yes, or run with --yes.")
        context.servers().destroy()
        forget(context.installation)
        say(f"{name} is gone")
