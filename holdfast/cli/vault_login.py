"""vault login."""

from __future__ import annotations

import click

from holdfast.cli.console import say
from holdfast.cli.context import Context, pass_context
from holdfast.local.operators import throw_away_keys
from holdfast.vault import login as logins
from holdfast.vault.at_hand import operator
from holdfast.vault.authority import unlock


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
        if logins.is_logged_in(installation, nodes):
            click.echo("somebody is logged in already")
            return
        if not throw_away_keys(installation.folder / "operators"):
            raise logins.NotLoggedIn(
                "Configuring Vault needs an operator's login, for an hour; run `holdfast --name "
                f"{installation.name} vault login`, then this again."
            )
    person = operator(installation.folder, context.inventory.variable("vault_operators", []))
    logins.login(
        installation,
        nodes,
        authority=unlock(installation.folder / "vault", "operators-ca", person),
        operator=person.name,
    )
    say(f"{person.name} is logged in at Vault for an hour")
