"""vault rotate-intermediate."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from holdfast.cli.console import say
from holdfast.cli.context import Context, json_option, leave, pass_context, wait_option
from holdfast.errors import Error
from holdfast.vault import login as logins
from holdfast.vault.agents import agents
from holdfast.vault.at_hand import log_in, operator
from holdfast.vault.authority import certificate, unlock
from holdfast.vault.rotation import Rotation
from holdfast.vault.site import Site


@click.command(name="rotate-intermediate")
@click.option(
    "--now",
    is_flag=True,
    help="Have every agent renew at once, host by host over your SSH, instead of when it is time.",
)
@click.option(
    "--only-clean",
    is_flag=True,
    help="Make nothing new: only remove former intermediates that signed nothing that is valid.",
)
@json_option
@wait_option
@pass_context
def rotate_intermediate(
    context: Context, *, now: bool, only_clean: bool, as_json: bool, wait: float
) -> None:
    """Sign the servers' certificates by a new intermediate, and lose no connection.

    \b
      1  Vault makes a key, which never leaves it; the offline root, opened by your PGP key,
         signs its certificate
      2  from then on Vault issues by the new intermediate; agents get its certificates when
         they renew (after two thirds of 72 hours at the latest), or at once with --now
      3  the one before signs its revocation list only, and stays until the last certificate
         that it signed has ended; a later run, or --only-clean, removes it then

    Clients trust the root, and every server sends the intermediate of its own certificate: both are
    valid side by side. Needed when a key of Vault may be known to somebody, and for practice: the
    site itself makes a new one 60 days before the end.

    Killed at any moment, or stopped by an agent that does not renew, run it again: it goes on where
    it was, and makes no second one.

    \b
    Exit status:
      0  done
      1  an agent did not renew with --now; what runs goes on, and the findings say what to do
    """
    if now and only_clean:
        raise click.UsageError("--only-clean makes nothing that agents could renew for.")
    site = Site(context.installation, context.inventory, say)
    folder = site.records.folder
    with site.exclusively("rotate-intermediate", wait=wait):
        nodes = {host.name: host.addresses[0] for host in context.inventory.group("vault")}
        people = context.inventory.variable("vault_operators", [])
        person = operator(context.installation.folder, people)
        if not logins.is_logged_in(context.installation, nodes):
            log_in(context.installation, nodes, people)
        rotation = Rotation(
            api=logins.deployer(context.installation, nodes),
            root=certificate(folder, "root-ca"),
            unlock=lambda: unlock(folder, "root-ca", person),
            domain=_domain(context),
            agents=agents(context.inventory),
            say=say,
        )
        outcome = rotation.clean() if only_clean else rotation.run(now=now)
    if as_json:
        answer = {**asdict(outcome), "well": not outcome.findings}
        click.echo(json.dumps(answer, indent=2, sort_keys=True, default=str))
    for finding in outcome.findings:
        say(finding)
    leave(1 if outcome.findings else 0)


def _domain(context: Context) -> str:
    domain = context.inventory.variable("installation_domain")
    if not domain:
        raise Error(
            f"{context.inventory.path} does not say installation_domain, below which the "
            "intermediate may sign; set it once, in group_vars of the group installation."
        )
    return str(domain)
