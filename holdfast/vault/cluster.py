"""The nodes of one Vault: opening and closing them, and finding the one that leads."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.vault.client import NotInitialised, Refused, Sealed, Unreachable, as_seal_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from holdfast.vault.client import SealStatus, Vault
    from holdfast.vault.hosts import CeremonyHost
    from holdfast.vault.shares import Share

# A node that joins answers its last share only when the leader has taken it in.
_JOIN_SECONDS = 120
_LEADER_SECONDS = 60
_PAUSE = 0.2


class WrongShares(Error):
    """Vault does not open with these shares."""


class NoLeader(Error):
    """No node leads the cluster."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A host of the group vault: its API, and the ceremony's program on it."""

    name: str
    vault: Vault
    host: CeremonyHost


@dataclass(frozen=True)
class Cluster:
    """Every node of an installation's Vault, in the order of the inventory."""

    nodes: Sequence[Node]

    def leader(self, *, wait: float = _LEADER_SECONDS) -> Vault:
        """Return the node that leads, once it does; `wait` is how many seconds it may take.

        Raises at once Unreachable, NotInitialised or Sealed when no node could; NoLeader later.
        """
        deadline = time.monotonic() + wait
        while True:
            self._require_open_node()
            for node in self.nodes:
                with suppress(Unreachable):
                    if node.vault.is_leader():
                        return node.vault
            if time.monotonic() > deadline:
                raise NoLeader(
                    "No node of Vault leads: too few of them are open and reach each other; "
                    "`holdfast vault status` tells which."
                )
            time.sleep(_PAUSE)

    def _require_open_node(self) -> None:
        states = []
        reason: Error = Unreachable("There is no node of Vault; list one in the inventory.")
        for node in self.nodes:
            try:
                states.append(node.vault.seal_status())
            except Unreachable as error:
                reason = error
        if not states:
            raise reason
        if not any(state.initialised for state in states):
            raise NotInitialised("Vault was never initialised; run `holdfast vault init`.")
        if all(state.sealed for state in states):
            raise Sealed("Vault is sealed; run `holdfast vault unseal`.")


@contextmanager
def giving(vault: Vault) -> Iterator[None]:
    """Take back the shares given to a node, should we stop before it opens."""
    try:
        yield
    except BaseException:
        with suppress(Error):
            vault.tell("sys/unseal", {"reset": True})
        raise


def reset(vault: Vault) -> None:
    """Make a sealed node forget the shares that it was given."""
    vault.tell("sys/unseal", {"reset": True})


def give(vault: Vault, share: Share) -> SealStatus:
    """Give one share to a sealed node. Raises WrongShares."""
    try:
        return as_seal_status(
            vault.tell("sys/unseal", {"key": share.secret()}, timeout=_JOIN_SECONDS)
        )
    except Refused as error:
        raise WrongShares(
            f"Vault on {vault.name} does not open with the shares it was given: one of them is "
            "older than the last rekey, or of another Vault. Vault has forgotten them all; decrypt "
            "the files in shares/ again and begin with another operator."
        ) from error


def open_with(vault: Vault, shares: Sequence[Share]) -> None:
    """Open a sealed node with exactly the shares that it takes. Raises WrongShares."""
    reset(vault)  # of what a killed command left there
    names = ", ".join(share.owner for share in shares)
    with giving(vault):
        for share in shares:
            try:
                status = give(vault, share)
            except WrongShares as error:
                raise WrongShares(
                    f"Vault on {vault.name} does not open with the shares of {names}: one of them "
                    "is older than the last rekey, or of another Vault. Decrypt the files in "
                    "shares/ again, or begin with another operator."
                ) from error
        if status.progress:
            raise WrongShares(
                f"Vault on {vault.name} wants {status.threshold} shares, and {names} gave "
                f"{status.progress}; run again with more operators."
            )
    wait_until(lambda: not vault.seal_status().sealed, what=f"{vault.name} to open")


def close(vault: Vault) -> None:
    """Seal a leader, and wait until it is."""
    vault.write("sys/seal", {})
    wait_until(lambda: vault.seal_status().sealed, what=f"{vault.name} to close")


def wait_until(true: Callable[[], bool], *, what: str, seconds: float = _LEADER_SECONDS) -> None:
    """Wait for something that happens by itself. Raises Error after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise Error(
                f"waited {seconds:.0f} s in vain for {what}; look at vault.service there "
                "(`holdfast logs HOST`) and run again."
            )
        time.sleep(_PAUSE)


def join(vault: Vault, shares: Sequence[Share]) -> None:
    """Open a node that never was part of the cluster, once it has found the leader."""
    wait_until(lambda: vault.seal_status().initialised, what=f"{vault.name} to find the leader")
    open_with(vault, shares)
