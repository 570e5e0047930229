"""Replacing the intermediate that signs the servers' certificates, while everything runs.

Every certificate is valid until it ends by itself, whichever intermediate signed it: the root is
the same, and each server sends the intermediate of its own certificate along.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.vault import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography import x509

    from holdfast.vault.agents import Agent
    from holdfast.vault.authority import Authority
    from holdfast.vault.desired import Api
    from holdfast.vault.servers import Former, Intermediate

_SECONDS = 60
_PAUSE = 0.5


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What stands now: serial numbers of intermediates, and agents as HOST/SERVICE.

    `removed` and `kept` are former ones, `moved` who has a certificate of the current one already,
    where that was looked at, and `findings` what somebody has to do.
    """

    current: str
    made: bool
    removed: tuple[str, ...]
    kept: tuple[Former, ...]
    moved: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """What it takes. `unlock` opens the root's key, and is asked only if something is signed."""

    api: Api
    root: x509.Certificate
    unlock: Callable[[], Authority]
    domain: str
    agents: Sequence[Agent]
    say: Callable[[str], None]
    seconds: float = _SECONDS

    def run(self, *, now: bool) -> Outcome:
        """Issue by a new intermediate; with `now`, have every agent renew at once, one by one.

        Killed at any step and run again, it goes on there. So it does when an agent does not move.
        """
        before = servers.current(self.api)
        if before is None:
            raise servers.NoIntermediate(
                "Vault has no intermediate that could be replaced; run site.yml, which makes one."
            )
        going_on = servers.is_changing(self.api)
        if going_on:
            self.say("an earlier change was not finished: going on with it")
        new = servers.change(self.api, self.root, self.unlock, domain=self.domain)
        made = new.id != before.id
        self.say(f"certificates are signed by the intermediate {new.serial} from now on")
        moved, findings = self._move(new) if now else ((), ())
        if not findings:
            servers.end_change(self.api)
        return self._outcome(new, made=made, moved=moved, findings=findings)

    def clean(self) -> Outcome:
        """Make nothing new; remove what has ended."""
        present = servers.current(self.api)
        if present is None:
            raise servers.NoIntermediate(
                "Vault has no intermediate; run site.yml, which makes one."
            )
        return self._outcome(present, made=False)

    def _outcome(
        self,
        current: Intermediate,
        *,
        made: bool,
        moved: tuple[str, ...] = (),
        findings: tuple[str, ...] = (),
    ) -> Outcome:
        removed, kept = servers.remove_ended(self.api)
        for serial in removed:
            self.say(f"the intermediate {serial} is removed: nothing that it signed is valid")
        for former in kept:
            self.say(
                f"the intermediate {former.serial} stays: a certificate that it signed is valid "
                f"until {former.ends:%F %R} UTC"
            )
        return Outcome(
            current=current.serial,
            made=made,
            removed=tuple(removed),
            kept=tuple(kept),
            moved=moved,
            findings=findings,
        )

    def _move(self, new: Intermediate) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Have the agents renew; stop at the first that does not, so that no second one suffers."""
        moved: list[str] = []
        for agent in self.agents:
            name = f"{agent.host}/{agent.service}"
            try:
                self._move_one(agent, new)
            except Error as error:
                left = len(self.agents) - len(moved) - 1
                finding = (
                    f"{str(error).rstrip('.')}. It and {left} others stay as they are, with "
                    "certificates that are valid. Mend it and run this again with --now, or "
                    "without it to let them renew when it is time."
                )
                return tuple(moved), (finding,)
            self.say(f"{name} has a certificate of the new intermediate")
            moved.append(name)
        return tuple(moved), ()

    def _move_one(self, agent: Agent, new: Intermediate) -> None:
        found = agent.certificate()
        if found and new.signed(found):
            return
        agent.renew()
        deadline = time.monotonic() + self.seconds
        while not ((found := agent.certificate()) and new.signed(found)):
            if time.monotonic() > deadline:
                raise Error(
                    f"the agent of {agent.service} on {agent.host} has no certificate of the new "
                    f"intermediate after {self.seconds:.0f} s: its journal says why (journalctl -u "
                    f"holdfast-agent-{agent.service} there)"
                )
            time.sleep(_PAUSE)
