"""vault login."""

from __future__ import annotations

import click

from holdfast.cli.console import say
from holdfast.cli.context import Context, pass_context
from holdfast.vault.at_hand import log_in, log_in_if_needed


@click.command()
@click.option(
    "--if-needed",
    is_flag=True,
    help="For `holdfast up`: by a throw-away operator, unless somebody is logged in for long "
    "enough.",
)
@pass_context
def login(context: Context, if_needed: bool) -> None:  # noqa: FBT001  (click's way)
    """Log in at Vault for an hour, as the operator whose PGP key is here.

    The operators' authority is opened by your PGP key and signs a certificate for this login; the
    token lies in memory, for you alone, where the playbooks find it. It configures Vault and reads
    no secret.
    """
    installation = context.installation
    nodes = {host.name: host.addresses[0] for host in context.inventory.group("vault")}
    if if_needed:
        name = log_in_if_needed(installation, nodes)
    else:
        name = log_in(installation, nodes, context.inventory.variable("vault_operators", []))
    say(f"{name or 'somebody'} is logged in at Vault for an hour")
