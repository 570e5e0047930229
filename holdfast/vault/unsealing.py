"""Opening a sealed Vault, by everybody at once or by one operator after the other.

Who has enough shares at hand opens every sealed node. Who has fewer gives them and leaves: Vault
keeps them until the others come, and forgets them if it restarts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.vault.client import NotInitialised, Unreachable
from holdfast.vault.cluster import WrongShares, give, giving, join, open_with
from holdfast.vault.holders import NoShare
from holdfast.vault.records import Damaged
from holdfast.vault.shares import BadShare, require_distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.vault.client import Vault
    from holdfast.vault.cluster import Cluster
    from holdfast.vault.holders import Holder
    from holdfast.vault.protocol import Protocol
    from holdfast.vault.records import Records
    from holdfast.vault.shares import Share


class TooFew(Error):
    """Not enough operators gave a share that can be used."""


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

    def run(self) -> bool:
        """Give the shares at hand to every sealed node, and tell whether all of them are open.

        Raises TooFew when none is at hand, WrongShares, and Unreachable at the end for nodes that
        did not answer.
        """
        sealed, joining = self._closed()
        done = True
        if sealed or joining:
            done = self._open(sealed, joining)
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

    def _candidates(self, sealed: list[Vault]) -> list[tuple[Records, Protocol]]:
        """Return the valid shares, and those of a rekey whose end is not known."""
        sets = (self.records, self.records.next)
        known = [(one, protocol) for one in sets if (protocol := one.protocol())]
        if not known:
            raise NotInitialised(
                f"There is no protocol of a ceremony at {self.records.protocol_file}, so that "
                "nobody's share is known; copy the installation's folder vault/ from where Vault "
                "was initialised."
            )
        if not sealed:
            return known[:1]
        status = sealed[0].seal_status()
        numbers = (status.threshold, status.shares)
        fitting = [
            (one, protocol)
            for one, protocol in known
            if (protocol.threshold, len(protocol.operators)) == numbers
        ]
        return fitting or known[:1]

    def _open(self, sealed: list[Vault], joining: list[Vault]) -> bool:
        wrong: WrongShares | None = None
        for records, protocol in self._candidates(sealed):
            # Vault's word counts: the protocol may have been tampered with.
            wanted = sealed[0].seal_status().threshold if sealed else protocol.threshold
            gathered = gather(records, protocol, self.holders, wanted=wanted, say=self.say)
            for problem in gathered.problems:
                self.say(problem)
            if len(gathered.shares) < wanted:
                return self._add(sealed, protocol, gathered)
            try:
                for vault in sealed:
                    open_with(vault, gathered.shares)
                    self.say(f"{vault.name}: opened")
            except WrongShares as error:
                wrong = error
                continue
            for vault in joining:
                join(vault, gathered.shares)
                self.say(f"{vault.name}: joined the others")
            self._settle(records)
            return True
        assert wrong is not None  # noqa: S101  (there is a candidate, and it did not return)
        raise wrong

    def _settle(self, used: Records) -> None:
        """What opens Vault after a rekey that was cut off is what is valid."""
        if used is not self.records:
            self.records.mark_next_verified()
            self.records.promote_next()
            self.say("the shares of the last rekey are the valid ones")

    def _add(self, sealed: list[Vault], protocol: Protocol, gathered: Gathered) -> bool:
        """Leave what we have with Vault; the others add theirs."""
        names = [share.owner for share in gathered.shares]
        others = [party.name for party in protocol.operators if party.name not in names]
        if not names:
            raise TooFew(
                f"No operator gave a share: {protocol.threshold} of "
                f"{', '.join(others)} are needed; each runs `holdfast vault unseal`."
            )
        done = True
        for vault in sealed:
            with giving(vault):
                for share in gathered.shares:
                    status = give(vault, share)
            more = status.threshold - status.progress
            done = done and not status.sealed
            self.say(
                f"{vault.name}: {', '.join(names)} gave a share; "
                + ("open" if not status.sealed else f"{more} more of {', '.join(others)} needed")
            )
        return done


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
