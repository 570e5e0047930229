"""The key ceremony: a new Vault is brought to life, and nobody ever sees another's share.

Nothing is stored in Vault before the last step, so that an interrupted ceremony is wiped and begun
again; once every host bears the mark, nothing here ever wipes. Between the two, when the root token
is gone and the protocol is written, running again only collects the signatures that are missing.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.vault.client import Denied, Token, Unreachable
from holdfast.vault.cluster import close, join, open_with, wait_until
from holdfast.vault.gpg import keyring
from holdfast.vault.protocol import Party, Protocol, differing, sha256, why_not_signed
from holdfast.vault.shares import from_vault, require_distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.vault.client import Vault
    from holdfast.vault.cluster import Cluster, Node
    from holdfast.vault.holders import Holder
    from holdfast.vault.operators import Operator, Quorum
    from holdfast.vault.records import Records
    from holdfast.vault.shares import Share

_ROOT = "the root token is revoked"


class NotOurs(Error):
    """A Vault that was initialised, but by no ceremony that we know of: it is never wiped."""


class Unsigned(Error):
    """Everything is done but signatures are missing."""


class Unproven(Error):
    """A share that is not as it must be."""


@dataclass(frozen=True, kw_only=True)
class Ceremony:
    """What it takes. `set_up` gets the leader with a root token, and returns what it did in words.

    `holders` gives a way to each operator whose secret is to be had; all are needed.
    """

    installation: str
    cluster: Cluster
    records: Records
    quorum: Quorum
    holders: Mapping[str, Holder]
    set_up: Callable[[Vault], tuple[str, ...]]
    conductor: str
    say: Callable[[str], None]
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    @property
    def _nodes(self) -> Sequence[Node]:
        return self.cluster.nodes

    def run(self) -> None:
        """Bring Vault to life, or finish what was begun; say what stands if it is complete."""
        for warning in self.quorum.warnings():
            self.say(f"warning: {warning}")
        states = {node.name: node.host.state() for node in self._nodes}
        if "complete" in states.values():
            self._stands(states)
            return
        if self._is_only_unsigned():
            self.say("an earlier ceremony lacks signatures only: going on with it")
        else:
            self._require_holders()
            self._begin(states)
            self._bring_to_life()
        self._finish()

    def _stands(self, states: Mapping[str, str]) -> None:
        protocol = self.records.protocol()
        when = f" on {protocol.ended}" if protocol else ""
        self.say(f"this Vault was brought to life{when}: nothing ever wipes it")
        joining = [node for node in self._nodes if states[node.name] != "complete"]
        for node in joining:
            self._complete_joined(node)
        if protocol and not differing(protocol, {one.name: one for one in self.quorum.operators}):
            collect_signatures(self.records, self.quorum.operators, self.holders, say=self.say)

    def _complete_joined(self, node: Node) -> None:
        """A node that came later holds the same data once it is open, and bears the mark then."""
        if node.vault.seal_status().sealed:
            self.say(f"{node.name} came later and is sealed: run `holdfast vault unseal`")
            return
        node.host.complete()
        self.say(f"{node.name} came later, has joined, and may not be wiped from now on")

    def _is_only_unsigned(self) -> bool:
        """Tell whether a protocol is there, and is that of the Vault that stands."""
        protocol = self.records.protocol()
        first = self._nodes[0].vault
        if protocol is None or not first.seal_status().initialised:
            return False
        if differing(protocol, {one.name: one for one in self.quorum.operators}):
            return False
        status = first.seal_status()
        if status.sealed:
            self._require_holders()
            names = [party.name for party in protocol.operators][: protocol.threshold]
            shares = [self._share(name, self.records.share(protocol, name)) for name in names]
            with suppress(Error):
                open_with(first, shares)
            status = first.seal_status()
        return status.cluster_id == protocol.cluster_id

    def _require_holders(self) -> None:
        missing = [one.name for one in self.quorum.operators if one.name not in self.holders]
        if missing:
            raise Unproven(
                f"Every operator proves in the ceremony that their share opens Vault, and there is "
                f"no way to {', '.join(missing)} from here: their secret keys are not in this "
                "machine's GnuPG. Run `holdfast vault init` on a terminal, where each can type "
                "theirs unseen, or give pipes with --share NAME=FILE."
            )

    def _begin(self, states: Mapping[str, str]) -> None:
        for node in self._nodes:
            if states[node.name] == "none" and _is_initialised(node.vault):
                raise NotOurs(
                    f"Vault on {node.name} is initialised already, and by no ceremony that was "
                    "begun from here: it is not touched. If nothing in it is needed, stop "
                    "vault.service there, empty /var/lib/vault, and run this again."
                )
        if "begun" in states.values():
            self.say(
                "an earlier ceremony was not completed: it is wiped and begun again; shares and "
                "files of it are worth nothing"
            )
        self.records.clear()
        for node in self._nodes:
            node.host.stop()
        for node in self._nodes:
            self.say(f"{node.name}: starting an empty Vault")
            node.host.begin()

    def _bring_to_life(self) -> None:
        first = self._nodes[0].vault
        begun = self._time()
        operators = self.quorum.operators
        self.say(f"initialising: {len(operators)} shares, {self.quorum.threshold} open Vault")
        answer = first.tell(
            "sys/init",
            {
                "secret_shares": len(operators),
                "secret_threshold": self.quorum.threshold,
                "pgp_keys": keys_for_vault(operators),
            },
        )
        root = Token(value=answer["root_token"])
        messages = encrypted_shares(operators, answer["keys_base64"])
        self.records.write_shares(messages)
        self.say(f"encrypted shares are in {self.records.folder / 'shares'}")
        rounds = self._prove(first, messages, root)
        self.say("setting up the audit trail and the operators' login")
        done = self.set_up(first)
        end_root_token(first)
        self.say(_ROOT)
        status = first.seal_status()
        self.records.write_protocol(
            Protocol(
                event="init",
                installation=self.installation,
                cluster_id=status.cluster_id,
                vault_version=status.version,
                conductor=self.conductor,
                begun=begun,
                ended=self._time(),
                threshold=self.quorum.threshold,
                operators=parties(operators, messages),
                rounds=rounds,
                set_up=(*done, _ROOT),
            )
        )
        self.say(f"the protocol is {self.records.protocol_file}")

    def _prove(
        self, first: Vault, messages: Mapping[str, bytes], root: Token
    ) -> tuple[tuple[str, ...], ...]:
        """Open Vault as often as it takes that every share was part of it; open every node."""
        shares = {name: self._share(name, message) for name, message in messages.items()}
        require_distinct(list(shares.values()))
        rounds = groups(list(shares), size=self.quorum.threshold)
        for number, names in enumerate(rounds, start=1):
            open_with(first, [shares[name] for name in names])
            self.cluster.leader()
            first.token = root
            self.say(f"proven by opening Vault: {', '.join(names)}")
            if number < len(rounds):
                close(first)
        for node in self._nodes[1:]:
            self.say(f"{node.name}: joining")
            join(node.vault, [shares[name] for name in rounds[-1]])
        # Until they vote, the loss of the first node would be the loss of all.
        wait_until(
            lambda: voters(first) == len(self._nodes),
            what="every node to vote in the cluster",
        )
        return rounds

    def _share(self, name: str, message: bytes) -> Share:
        self.say(f"{name}: giving the share in {self.records.share_file(name)}")
        return self.holders[name].share(message)

    def _finish(self) -> None:
        """Have everybody sign, and only then forbid to wipe."""
        collect_signatures(self.records, self.quorum.operators, self.holders, say=self.say)
        for node in self._nodes:
            node.host.complete()
        self.say("the ceremony is complete")

    def _time(self) -> str:
        return self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_initialised(vault: Vault) -> bool:
    """Where a killed ceremony stopped Vault, its host looks before anything is wiped."""
    try:
        return vault.seal_status().initialised
    except Unreachable:
        return False


def voters(vault: Vault) -> int:
    """Return how many nodes vote in the cluster."""
    found = vault.read("sys/storage/raft/configuration") or {}
    return sum(server["voter"] for server in found["config"]["servers"])


def keys_for_vault(operators: Sequence[Operator]) -> list[str]:
    """Return the public keys as Vault's API takes them."""
    return [base64.b64encode(operator.public).decode() for operator in operators]


def encrypted_shares(operators: Sequence[Operator], answer: Sequence[str]) -> dict[str, bytes]:
    """Return the shares that Vault encrypted, each found to be for its operator alone."""
    messages = dict(zip((one.name for one in operators), from_vault(answer), strict=True))
    with keyring() as gpg:
        for operator in operators:
            recipients = gpg.recipients(messages[operator.name])
            if len(recipients) != 1 or recipients[0] not in operator.encryption:
                raise Unproven(
                    f"Vault encrypted {operator.name}'s share to "
                    f"{', '.join(recipients) or 'nobody'}, not to a key of {operator.name}; run "
                    "again, and if it happens again report it with that key."
                )
    return messages


def parties(operators: Sequence[Operator], messages: Mapping[str, bytes]) -> tuple[Party, ...]:
    """Return who holds which encrypted share."""
    return tuple(
        Party(name=one.name, fingerprint=one.fingerprint, share_sha256=sha256(messages[one.name]))
        for one in operators
    )


def groups(names: Sequence[str], *, size: int) -> tuple[tuple[str, ...], ...]:
    """Return groups of `size` that hold every name; the last is filled up from the first ones."""
    found = [list(names[start : start + size]) for start in range(0, len(names), size)]
    last = found[-1]
    last += [name for name in names if name not in last][: size - len(last)]
    return tuple(tuple(group) for group in found)


def collect_signatures(
    records: Records,
    operators: Sequence[Operator],
    holders: Mapping[str, Holder],
    *,
    say: Callable[[str], None],
) -> None:
    """Have every operator sign the protocol. Raises Unsigned, naming those who sign elsewhere."""
    data = records.protocol_file.read_bytes()
    unsigned = []
    for operator in operators:
        name = operator.name
        if why_not_signed(data, records.signature(name), operator=operator) is None:
            continue
        holder = holders.get(name)
        signature = holder.sign(data, fingerprint=operator.signing) if holder else None
        if signature is None:
            unsigned.append(name)
            continue
        records.write_signature(name, signature)
        why = why_not_signed(data, signature, operator=operator)
        if why:
            raise Unsigned(f"{name} {why}; look at {name}'s GnuPG and run again.")
        say(f"{name} signed the protocol")
    if unsigned:
        file = records.protocol_file
        raise Unsigned(
            f"The protocol lacks the signatures of {', '.join(unsigned)}. Each signs with `gpg "
            f"--armor --detach-sign --output protocol.json.NAME.asc protocol.json` and puts the "
            f"signature beside {file}; then run `holdfast vault init`, which wipes nothing."
        )


def end_root_token(vault: Vault) -> None:
    """Revoke the root token, and see that it is none any more."""
    token = vault.token
    vault.revoke_own_token()
    vault.token = token
    try:
        vault.read("auth/token/lookup-self")
    except Denied:
        vault.token = None
        return
    raise Unproven("Vault says that it revoked the root token, and still takes it; run again.")
