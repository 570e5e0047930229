"""Vault of one installation, as the operator's machine sees it: put together from the inventory."""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from holdfast import paths
from holdfast.errors import Error
from holdfast.local.operators import throw_away_keys
from holdfast.locking import exclusive
from holdfast.vault import setup
from holdfast.vault.authority import reencrypt
from holdfast.vault.ceremony import Ceremony
from holdfast.vault.client import Vault
from holdfast.vault.cluster import Cluster, Node
from holdfast.vault.gpg import keyring
from holdfast.vault.holders import GpgHolder, choose
from holdfast.vault.hosts import SshHost
from holdfast.vault.operators import from_inventory
from holdfast.vault.quorum import Rekey
from holdfast.vault.records import Records
from holdfast.vault.unsealing import Unsealing, current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from holdfast.installation import Installation
    from holdfast.inventory import Inventory
    from holdfast.vault.holders import Holder
    from holdfast.vault.operators import Operator, Quorum


class NoVault(Error):
    """The inventory has no host for Vault."""


class PersonNeeded(Error):
    """Only an operator can go on; the message says which command to run."""


@dataclass(frozen=True)
class Site:
    """An installation and its inventory."""

    installation: Installation
    inventory: Inventory
    say: Callable[[str], None]

    @property
    def records(self) -> Records:
        """What the operators keep."""
        return Records(self.installation.folder / "vault")

    @property
    def operators_ca(self) -> Path:
        """The certificate that vouches for Vault's own."""
        return self.records.folder / "operators-ca.crt"

    def vaults(self, *, patience: float = 5) -> list[Vault]:
        """Return a client for each host of the group vault, by its first address."""
        hosts = self.inventory.group("vault")
        if not hosts:
            raise NoVault(f"{self.inventory.path} has no host in the group vault; add one.")
        return [
            Vault(host.addresses[0], ca=self.operators_ca, name=host.name, patience=patience)
            for host in hosts
        ]

    @cached_property
    def cluster(self) -> Cluster:
        """Every node, with what the ceremony needs of its host."""
        hosts = self.inventory.group("vault")
        return Cluster(
            [
                Node(name=host.name, vault=vault, host=SshHost(host))
                for host, vault in zip(hosts, self.vaults(), strict=True)
            ]
        )

    @cached_property
    def quorum(self) -> Quorum:
        """The operators of the inventory. Raises BadOperators."""
        return from_inventory(self.inventory)

    @contextmanager
    def exclusively(self, purpose: str, *, wait: float) -> Iterator[None]:
        """Let no other command give shares meanwhile; `holdfast up` holds another lock."""
        with exclusive(
            paths.state_folder() / "locks" / f"{self.installation.name}.vault.lock",
            purpose=f"holdfast --name {self.installation.name} vault {purpose}",
            wait=wait,
            say=self.say,
        ):
            yield

    def holders(
        self, operators: Mapping[str, str], *, given: Mapping[str, str], interactive: bool
    ) -> dict[str, Holder]:
        """Return a way to each of these operators (fingerprint by name), as far as there is one."""
        throw_away = (
            throw_away_keys(self.installation.folder / "operators")
            if self.inventory.variable("vault_throw_away", default=False)
            else {}
        )
        return choose(operators, given=given, throw_away=throw_away, interactive=interactive)

    def ceremony(
        self, *, given: Mapping[str, str], interactive: bool, conductor: str = ""
    ) -> Ceremony:
        """Return the ceremony with everybody of the inventory."""
        operators = {one.name: one.fingerprint for one in self.quorum.operators}
        return Ceremony(
            installation=self.installation.name,
            cluster=self.cluster,
            records=self.records,
            quorum=self.quorum,
            holders=self.holders(operators, given=given, interactive=interactive),
            set_up=self.set_up,
            conductor=conductor or _me(),
            say=self.say,
        )

    def set_up(self, vault: Vault) -> tuple[str, ...]:
        """Set Vault up with a root token."""
        return setup.set_up(vault, operators_ca=self.operators_ca.read_text())

    def unsealing(self, *, given: Mapping[str, str], interactive: bool) -> Unsealing:
        """Return what opens Vault with those who hold shares now."""
        return Unsealing(
            cluster=self.cluster,
            records=self.records,
            holders=self.holding(given=given, interactive=interactive),
            say=self.say,
        )

    def holding(self, *, given: Mapping[str, str], interactive: bool) -> dict[str, Holder]:
        """Return a way to those who hold shares now. Raises NotKnown before a ceremony."""
        parties = {party.name: party.fingerprint for party in current(self.records).operators}
        return self.holders(parties, given=given, interactive=interactive)

    def rekey(
        self,
        *,
        given: Mapping[str, str],
        new: Mapping[str, str],
        interactive: bool,
        conductor: str = "",
    ) -> Rekey:
        """Return the rekey to everybody of the inventory."""
        operators = {one.name: one.fingerprint for one in self.quorum.operators}
        return Rekey(
            installation=self.installation.name,
            cluster=self.cluster,
            records=self.records,
            quorum=self.quorum,
            holders=self.holding(given=given, interactive=interactive),
            new_holders=self.holders(operators, given=new, interactive=interactive),
            conductor=conductor or _me(),
            say=self.say,
        )

    def init_if_needed(self) -> None:
        """Bring Vault to life, or open it, if throw-away operators can; raise PersonNeeded if not.

        Does nothing where nothing is needed.
        """
        states = {node.host.state() for node in self.cluster.nodes}
        sealed = any(node.vault.seal_status().sealed for node in self.cluster.nodes)
        if states == {"complete"} and not sealed:
            return
        complete = "complete" in states
        if not self.quorum.throw_away:
            verb, why = ("unseal", "sealed") if complete else ("init", "not initialised")
            people = ", ".join(one.name for one in self.quorum.operators)
            command = f"holdfast --name {self.installation.name} --inventory {self.inventory.path}"
            raise PersonNeeded(
                f"Vault is {why}, and only people can change that: {self.quorum.threshold} of "
                f"{people} run `{command} vault {verb}`, and then this command again."
            )
        if complete:
            self.unsealing(given={}, interactive=False).run()
        self.ceremony(given={}, interactive=False).run()

    def hand_over_authorities(self, holders: Mapping[str, Holder]) -> None:
        """Encrypt the authorities' keys to the operators of the inventory, if they are not."""
        folder = self.records.folder
        if not authorities_for_others(folder, self.quorum.operators):
            return
        opener = next((one for one in holders.values() if isinstance(one, GpgHolder)), None)
        if opener is None:
            raise PersonNeeded(
                "The keys of the operators' authorities are still encrypted to the operators of "
                "before; run `holdfast vault rekey` again where one of those has their GnuPG."
            )
        reencrypt(folder, opener, operators=self.quorum.operators)
        self.say("the authorities' keys are encrypted to the operators of the inventory")


def authorities_for_others(folder: Path, operators: Sequence[Operator]) -> list[str]:
    """Return the authorities' key files that are not encrypted to exactly these operators."""
    wrong = []
    with keyring() as gpg:
        for file in sorted(folder.glob("*-ca.key.asc")):
            recipients = set(gpg.recipients(file.read_bytes()))
            known = {one for operator in operators for one in operator.encryption}
            reached = all(recipients & operator.encryption for operator in operators)
            if not reached or recipients - known:
                wrong.append(file.name)
    return wrong


def _me() -> str:
    """Who runs this, and where; sudo's caller rather than root."""
    return f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}"
