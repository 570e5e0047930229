"""Opening a sealed Vault, by everybody at once or by one operator after the other.

Who has enough shares at hand opens every sealed node. Who has fewer gives them and leaves: Vault
keeps them until the others come, and forgets them if it restarts.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.vault.client import NotInitialised, Unreachable
from holdfast.vault.cluster import WrongShares, give, giving, join, open_with
from holdfast.vault.holders import NoShare
from holdfast.vault.protocol import BadProtocol
from holdfast.vault.records import Damaged
from holdfast.vault.shares import BadShare, require_distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from holdfast.vault.client import SealStatus, Vault
    from holdfast.vault.cluster import Cluster
    from holdfast.vault.holders import Holder
    from holdfast.vault.protocol import Protocol
    from holdfast.vault.records import Records
    from holdfast.vault.shares import Share


class TooFew(Error):
    """Not enough operators gave a share that can be used."""


class NotKnown(Error):
    """This Vault has no protocol here."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The shares at hand, and why others are not."""

    shares: tuple[Share, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Unsealing:
    """What it takes to open the nodes that are sealed."""

    cluster: Cluster
    records: Records
    holders: Mapping[str, Holder]
    say: Callable[[str], None]
    _unreachable: list[str] = field(default_factory=list, init=False)
    _gathered: dict[str, Gathered] = field(default_factory=dict, init=False)

    def run(self) -> bool:
        """Give the shares at hand to every sealed node, and tell whether all of them are open.

        Raises TooFew when none is at hand, WrongShares, and Unreachable at the end for nodes that
        did not answer.
        """
        sealed, joining = self._closed()
        opened = [self._open(vault) for vault in sealed]  # every one is tried
        done = all(opened)
        for vault in joining if done else ():
            join(vault, self._gather(self.records, current(self.records)).shares)
            self.say(f"{vault.name}: joined the others")
        if self._unreachable:
            raise Unreachable(" ".join(self._unreachable))
        return done

    def _closed(self) -> tuple[list[Vault], list[Vault]]:
        """Return the nodes that are sealed, and those that are still to join the others."""
        sealed, joining, initialised = [], [], False
        for node in self.cluster.nodes:
            try:
                status = node.vault.seal_status()
            except Unreachable as error:
                self._unreachable.append(str(error))
                continue
            initialised = initialised or bool(status.shares)
            if not status.shares:
                joining.append(node.vault)
            elif status.sealed:
                sealed.append(node.vault)
            else:
                self.say(f"{node.name}: open already")
        if joining and not initialised:
            raise NotInitialised("Vault was never initialised; run `holdfast vault init`.")
        return sealed, joining

    def _candidates(self, status: SealStatus) -> Iterator[tuple[Records, Protocol]]:
        """Yield the valid shares, then others that may be those of the node.

        Those of a rekey whose end is not known; and earlier ones, which a node still knows that
        was down meanwhile.
        """
        valid = current(self.records)
        fitting = False
        for records in (self.records, self.records.next, *self.records.earlier()):
            with suppress(BadProtocol):
                protocol = records.protocol()
                numbers = (protocol.threshold, len(protocol.operators)) if protocol else ()
                if protocol and numbers == (status.threshold, status.shares):
                    fitting = True
                    yield records, protocol
        if not fitting:
            yield self.records, valid

    def _open(self, vault: Vault) -> bool:
        status = vault.seal_status()
        wrong: WrongShares | None = None
        for records, protocol in self._candidates(status):
            # Vault's word counts: the protocol may have been tampered with.
            gathered = self._gather(records, protocol, wanted=status.threshold)
            if len(gathered.shares) < status.threshold:
                if wrong is None:
                    return self._add(vault, protocol, gathered)
                continue
            try:
                open_with(vault, gathered.shares)
            except WrongShares as error:
                wrong = wrong or error
                continue
            self.say(f"{vault.name}: opened")
            self._settle(records)
            return True
        assert wrong is not None  # noqa: S101  (there is a candidate, and it did not return)
        raise wrong

    def _gather(self, records: Records, protocol: Protocol, *, wanted: int = 0) -> Gathered:
        """Ask every operator once for each set of shares."""
        known = self._gathered.get(protocol.digest())
        if known:
            return known
        gathered = gather(
            records, protocol, self.holders, wanted=wanted or protocol.threshold, say=self.say
        )
        for problem in gathered.problems:
            self.say(problem)
        self._gathered[protocol.digest()] = gathered
        return gathered

    def _settle(self, used: Records) -> None:
        """What opens Vault after a rekey that was cut off is what is valid."""
        if used == self.records.next:
            self.records.mark_next_verified()
            self.records.promote_next()
            self.say("the shares of the last rekey are the valid ones")

    def _add(self, vault: Vault, protocol: Protocol, gathered: Gathered) -> bool:
        """Leave what we have with Vault; the others add theirs."""
        names = [share.owner for share in gathered.shares]
        others = [party.name for party in protocol.operators if party.name not in names]
        if not names:
            raise TooFew(
                f"No operator gave a share: {protocol.threshold} of "
                f"{', '.join(others)} are needed; each runs `holdfast vault unseal`."
            )
        with giving(vault):
            for share in gathered.shares:
                status = give(vault, share)
        more = status.threshold - status.progress
        self.say(
            f"{vault.name}: {', '.join(names)} gave a share; "
            + (f"{more} more of {', '.join(others)} needed" if status.sealed else "open")
        )
        return not status.sealed


def current(records: Records) -> Protocol:
    """Return the protocol of the valid shares. Raises NotKnown."""
    protocol = records.protocol()
    if protocol is None:
        raise NotKnown(
            f"There is no protocol of a ceremony at {records.protocol_file}, so that nobody's "
            "share is known; copy the installation's folder vault/ from where Vault was "
            "initialised."
        )
    return protocol


def gather(
    records: Records,
    protocol: Protocol,
    holders: Mapping[str, Holder],
    *,
    wanted: int,
    say: Callable[[str], None],
) -> Gathered:
    """Return up to `wanted` shares of those there is a way to; who fails is passed over."""
    shares: list[Share] = []
    problems: list[str] = []
    for party in protocol.operators:
        if len(shares) == wanted:
            break
        holder = holders.get(party.name)
        if holder is None:
            continue
        say(f"{party.name}: giving the share in {records.share_file(party.name)}")
        try:
            share = holder.share(records.share(protocol, party.name))
            require_distinct([*shares, share])
        except (NoShare, BadShare, Damaged) as error:
            problems.append(str(error))
            continue
        shares.append(share)
    return Gathered(shares=tuple(shares), problems=tuple(problems))
