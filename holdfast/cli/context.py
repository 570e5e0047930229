"""What every command knows: which installation, and which inventory."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

import click

from holdfast import inventory, paths
from holdfast.cli.console import say
from holdfast.local.machine import inspect
from holdfast.local.podman import Podman, configured
from holdfast.local.servers import Servers, Wanted
from holdfast.locking import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.installation import Installation
    from holdfast.inventory import Inventory


@dataclass
class Context:
    """Passed to every command by click."""

    installation: Installation
    inventory_path: Path

    @cached_property
    def inventory(self) -> Inventory:
        """The inventory as it stands now; `up` reads it again once the hosts have addresses.

        Raises BrokenInventory when it is another installation's.
        """
        loaded = inventory.load(self.inventory_path)
        theirs = loaded.variable("installation_name", self.installation.name)
        if theirs != self.installation.name:
            raise inventory.BrokenInventory(
                f"{self.inventory_path} is the inventory of {theirs}, not of "
                f"{self.installation.name}; run again with --name {theirs}."
            )
        return loaded

    def wanted_here(self) -> list[Wanted]:
        """The hosts that the inventory wants on this machine: those with a `local_release`."""
        return [
            Wanted(
                name=host.name,
                release=host.variables["local_release"],
                packages=tuple(host.variables.get("local_packages", ())),
                volumes=tuple(host.variables.get("local_volumes", ())),
                names=tuple(
                    f"{name}.{self.installation.domain}"
                    for name in (host.name, *host.variables.get("local_names", ()))
                ),
            )
            for host in inventory.load(self.inventory_path, wanted=True).hosts.values()
            if "local_release" in host.variables
        ]

    def servers(self, *, prepare: bool = False) -> Servers:
        """The hosts on this machine; starting them must `prepare` the machine first."""
        machine = inspect(storage=paths.state_folder()) if prepare or not configured() else None
        return Servers(self.installation, Podman(machine), say=say)

    @contextmanager
    def exclusively(self, purpose: str, *, wait: float) -> Iterator[None]:
        """Let no other command change the installation meanwhile."""
        with exclusive(
            self.installation.lock,
            purpose=f"holdfast --name {self.installation.name} {purpose}",
            wait=wait,
            say=say,
        ):
            yield


pass_context = click.make_pass_decorator(Context)

wait_option = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="How long to wait while another command works on this installation.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def leave(status: int) -> NoReturn:
    """End the command with an exit status of the documented list."""
    raise click.exceptions.Exit(status)
