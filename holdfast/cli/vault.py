"""vault: init, unseal, status, rekey, rotate-root."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from holdfast.cli.console import say
from holdfast.cli.context import Context, json_option, leave, pass_context, wait_option
from holdfast.vault import status as statuses
from holdfast.vault.login import deployer
from holdfast.vault.quorum import enough, root_token
from holdfast.vault.site import Site
from holdfast.vault.unsealing import current

_PURPOSES = ("set-up", "encryption-key", "revocation")


class _Source(click.ParamType[tuple[str, str]]):
    """NAME=FILE, as a pair."""

    name = "NAME=FILE"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, source = value.partition("=")
        if not (name and equals and source):
            self.fail(f"{value!r} is not NAME=FILE, as in anna=/run/anna or anna=-.", param, ctx)
        return name, source


share_option = click.option(
    "--share",
    "shares",
    multiple=True,
    type=_Source(),
    help="Take this operator's decrypted share from a pipe, a file in memory, or - for standard "
    "input. May be repeated.",
)

conductor_option = click.option(
    "--conductor",
    default="",
    metavar="WHO",
    help="Who conducts this, for the protocol.  [default: your login and this machine]",
)


@click.group(name="vault")
def group() -> None:
    """Bring Vault to life, open it, and see who can help.

    Vault's key is split into one share for each operator of the inventory (vault_operators), each
    encrypted to that operator's PGP key; vault_threshold of them open Vault. A sealed Vault gives
    nothing to anybody: after a reboot it waits for operators.

    \b
    How a share reaches Vault, tried in this order for each operator:
      --share NAME=FILE   a pipe with the decrypted share, for example
                          --share anna=<(gpg --decrypt anna.asc)
      your GnuPG          where the operator's secret key, or a card with it, is
      the terminal        typed or pasted; nothing is shown
    A share is in memory only: it is never an argument, in the environment, in a file or in a log.

    \b
    What is kept, in the installation's folder vault/ (give every operator a copy):
      shares/NAME.asc          the encrypted shares
      protocol.json            who, what, when, which fingerprints
      protocol.json.NAME.asc   the operators' signatures
    """


@group.command()
@click.option(
    "--if-needed",
    is_flag=True,
    help="For `holdfast up`: initialise or unseal with throw-away operators, or name the command "
    "that people have to run.",
)
@share_option
@conductor_option
@wait_option
@pass_context
def init(
    context: Context,
    *,
    if_needed: bool,
    shares: tuple[tuple[str, str], ...],
    conductor: str,
    wait: float,
) -> None:
    """Bring a new Vault to life, in a ceremony with every operator.

    \b
      1  every host starts an empty Vault; one is initialised, and encrypts each share itself
      2  every operator gives their share, and Vault is opened as often as it takes that
         each share was part of it: so each is proven before the first secret is stored
      3  the audit trail is switched on, operators get their login, the root token is revoked
      4  every operator signs the protocol, and the hosts are marked: never to be wiped

    Interrupted before the protocol is written, run it again: all is wiped and begun anew. After
    that, running it again only collects signatures that are missing. Once complete, it wipes
    nothing, ever.

    Operators who are elsewhere: make a named pipe, run with --share NAME=PIPE, send them the file
    shares/NAME.asc when it is written, and let them send the decrypted share through ssh:
    gpg --decrypt NAME.asc | ssh HERE 'cat >PIPE'.
    """
    site = _site(context)
    with site.exclusively("init", wait=wait):
        if if_needed:
            site.init_if_needed()
        else:
            site.ceremony(
                given=dict(shares), interactive=_interactive(shares), conductor=conductor
            ).run()


@group.command()
@share_option
@wait_option
@pass_context
def unseal(context: Context, shares: tuple[tuple[str, str], ...], wait: float) -> None:
    """Open every sealed node with the shares at hand.

    With fewer shares than it takes, they are left with Vault, which waits for the other operators:
    each runs this command where their key is. Vault forgets them if it restarts meanwhile, and if
    this command is interrupted.

    \b
    Exit status:
      0  every node is open
      1  the shares are given, and more are needed
    """
    site = _site(context)
    with site.exclusively("unseal", wait=wait):
        done = site.unsealing(given=dict(shares), interactive=_interactive(shares)).run()
    leave(0 if done else 1)


@group.command()
@json_option
@pass_context
def status(context: Context, as_json: bool) -> None:  # noqa: FBT001  (click's way)
    """Show every node, who leads, whether the protocol holds, and who can help.

    \b
    Exit status:
      0  all is well
      1  somebody has to do something; the findings say who and what
    """
    site = _site(context)
    addresses = {host.name: host.addresses[0] for host in context.inventory.group("vault")}
    found = statuses.look(
        site.vaults(patience=1),
        site.records,
        lambda: site.quorum,
        as_operator=lambda: deployer(context.installation, addresses),
    )
    if as_json:
        answer = {**asdict(found), "well": found.is_well()}
        click.echo(json.dumps(answer, indent=2, sort_keys=True))
    else:
        _show(found)
    leave(0 if found.is_well() else 1)


def _show(found: statuses.Status) -> None:
    console = Console(highlight=False)
    table = Table("node", "address", "state", "version")
    for node in found.nodes:
        state = f"{node.state}, leader" if node.leader else node.state
        table.add_row(node.name, node.address, state, node.version)
    console.print(table)
    if found.operators:
        console.print(
            f"{found.threshold} of {', '.join(found.operators)} open Vault; the protocol is signed "
            f"by {', '.join(found.signed) or 'nobody'}",
            soft_wrap=True,
        )
    for peer in found.peers:
        console.print(f"raft: {peer}", soft_wrap=True, markup=False)
    for finding in found.findings:
        console.print(f"- {finding}", soft_wrap=True, markup=False)


@group.command()
@share_option
@click.option(
    "--new-share",
    "new_shares",
    multiple=True,
    type=_Source(),
    help="The same for the new shares, which are written to vault/next/shares/ meanwhile.",
)
@conductor_option
@wait_option
@pass_context
def rekey(
    context: Context,
    *,
    shares: tuple[tuple[str, str], ...],
    new_shares: tuple[tuple[str, str], ...],
    conductor: str,
    wait: float,
) -> None:
    """Give the operators of the inventory new shares; the old ones open nothing afterwards.

    For an operator who comes or leaves, a lost or replaced key, another threshold: change
    vault_operators and vault_threshold first. Enough of those who hold shares now must agree, and
    every operator of the inventory proves that they can open their new share. Until Vault has seen
    that the new shares fit, the old ones are valid: it can be interrupted at any moment and run
    again. Vault stays open all the time.

    What was valid before is kept in vault/earlier/: old snapshots of Vault open with it only.
    """
    site = _site(context)
    with site.exclusively("rekey", wait=wait):
        rekeying = site.rekey(
            given=dict(shares),
            new=dict(new_shares),
            interactive=_interactive((*shares, *new_shares)),
            conductor=conductor,
        )
        rekeying.run()
        site.hand_over_authorities(rekeying.holders)


@group.command(name="rotate-root")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(_PURPOSES),
    required=True,
    help="set-up: bring the audit trail, the operators' login and the policy deployer to what this "
    "Holdfast wants, after an upgrade or with a new operators' authority. encryption-key: "
    "begin a new key for what Vault stores. revocation: nothing but to revoke root tokens.",
)
@share_option
@wait_option
@pass_context
def rotate_root(
    context: Context, *, purpose: str, shares: tuple[tuple[str, str], ...], wait: float
) -> None:
    """Do what takes a root token, by a quorum, and leave no root token behind.

    There is no root token in a running installation. Enough operators together make one; it does
    what --for says, in this command's memory, and is revoked, together with any other that is
    found. Everything it did is in Vault's audit trail.
    """
    site = _site(context)
    with site.exclusively("rotate-root", wait=wait):
        holders = site.holding(given=dict(shares), interactive=_interactive(shares))
        leader = site.cluster.leader()
        given = enough(site.records, current(site.records), holders, say=say)
        with root_token(leader, given, say=say):
            if purpose == "set-up":
                for line in site.set_up(leader):
                    say(f"in place: {line}")
            elif purpose == "encryption-key":
                leader.write("sys/rotate", {})
                say("what is stored from now on is encrypted with a new key")


def _site(context: Context) -> Site:
    return Site(context.installation, context.inventory, say)


def _interactive(shares: tuple[tuple[str, str], ...]) -> bool:
    """A person can be asked on a terminal, unless standard input is a share."""
    return sys.stdin.isatty() and all(source != "-" for _, source in shares)
