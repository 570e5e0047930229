"""How Vault is: each node, who leads, and, where it is sealed, exactly who can help."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from holdfast.errors import Error
from holdfast.vault.client import Unreachable
from holdfast.vault.operators import BadOperators
from holdfast.vault.protocol import BadProtocol, differing, why_not_signed
from holdfast.vault.records import Damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.vault.client import Vault
    from holdfast.vault.operators import Operator, Quorum
    from holdfast.vault.protocol import Protocol
    from holdfast.vault.records import Records

NodeState = Literal["open", "sealed", "not initialised", "unreachable"]


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """One node. `needed` is how many more shares open it, `persons` whose they can be."""

    name: str
    address: str
    state: NodeState
    leader: bool = False
    version: str = ""
    needed: int = 0
    persons: tuple[str, ...] = ()
    why: str = ""

    def help(self) -> str:
        """Say who can open it and how, or what else is wrong with it; "" if nothing is."""
        if self.state == "not initialised":
            return f"{self.name} is not initialised: run `holdfast vault init`"
        if self.state != "sealed":
            return self.why
        if not self.persons:
            return (
                f"{self.name} is sealed and {self.needed} shares are needed, but no protocol here "
                "says whose: copy the installation's folder vault/ from where it was initialised"
            )
        return (
            f"{self.name} is sealed: {self.needed} more of {', '.join(self.persons)} must each run "
            "`holdfast vault unseal`"
        )


@dataclass(frozen=True, kw_only=True)
class Status:
    """Everything. `peers` are raft's voters by node id, if a login allows to read them."""

    nodes: tuple[NodeStatus, ...]
    peers: tuple[str, ...]
    threshold: int
    operators: tuple[str, ...]
    signed: tuple[str, ...]
    findings: tuple[str, ...]

    def is_well(self) -> bool:
        """Tell whether nobody has to do anything."""
        return not self.findings


def look(
    vaults: Sequence[Vault],
    records: Records,
    operators: Callable[[], Quorum],
    *,
    as_operator: Callable[[], Vault],
) -> Status:
    """Look at every node and at the records.

    `operators` reads those of the inventory, and may raise BadOperators; `as_operator` gives a
    client with a login and may raise any Error, when peers are left out.
    """
    findings: list[str] = []
    protocol = None
    try:
        protocol = records.protocol()
    except BadProtocol as error:
        findings.append(str(error))
    nodes = tuple(_node(vault, protocol) for vault in vaults)
    findings += [node.help() for node in nodes if node.help()]
    if protocol is None and any(node.state in {"open", "sealed"} for node in nodes):
        findings.append(
            f"there is no protocol of a ceremony at {records.protocol_file}: copy the "
            "installation's folder vault/ from where Vault was initialised"
        )
    signed: tuple[str, ...] = ()
    if protocol:
        listed: tuple[Operator, ...] = ()
        try:
            quorum = operators()
        except BadOperators as error:
            findings.append(str(error))
        else:
            listed = quorum.operators
            findings += quorum.warnings()
        findings += _about_shares(records, protocol)
        signed, unsigned = _about_signatures(records, protocol, listed)
        findings += unsigned
        findings += _about_cluster(vaults, protocol)
    return Status(
        nodes=nodes,
        peers=_peers(as_operator) if any(node.leader for node in nodes) else (),
        threshold=protocol.threshold if protocol else 0,
        operators=tuple(party.name for party in protocol.operators) if protocol else (),
        signed=signed,
        findings=tuple(findings),
    )


def _node(vault: Vault, protocol: Protocol | None) -> NodeStatus:
    try:
        status = vault.seal_status()
        leader = vault.is_leader()
    except Unreachable as error:
        return NodeStatus(
            name=vault.name, address=vault.address, state="unreachable", why=str(error)
        )
    known = NodeStatus(
        name=vault.name, address=vault.address, state="open", leader=leader, version=status.version
    )
    if not status.initialised:
        return replace(known, state="not initialised")
    if not status.sealed:
        return known
    return replace(
        known,
        state="sealed",
        # A node that is still to join does not know its threshold.
        needed=(status.threshold or (protocol.threshold if protocol else 0)) - status.progress,
        persons=tuple(party.name for party in protocol.operators) if protocol else (),
    )


def _about_shares(records: Records, protocol: Protocol) -> list[str]:
    findings = []
    for party in protocol.operators:
        try:
            records.share(protocol, party.name)
        except Damaged as error:
            findings.append(str(error))
    return findings


def _about_signatures(
    records: Records, protocol: Protocol, listed: Sequence[Operator]
) -> tuple[tuple[str, ...], list[str]]:
    """Return who signed, and what is wrong with the others."""
    operators = {operator.name: operator for operator in listed}
    findings = [
        f"{finding}: run `holdfast vault rekey`"
        for finding in (differing(protocol, operators) if operators else ())
    ]
    signed = []
    for party in protocol.operators:
        operator = operators.get(party.name)
        if operator is None or operator.fingerprint != party.fingerprint:
            continue  # told above
        why = why_not_signed(protocol.as_bytes(), records.signature(party.name), operator=operator)
        if why:
            findings.append(f"{party.name} {why}: run `holdfast vault init`, which wipes nothing")
        else:
            signed.append(party.name)
    return tuple(signed), findings


def _about_cluster(vaults: Sequence[Vault], protocol: Protocol) -> list[str]:
    findings = []
    for vault in vaults:
        with suppress(Unreachable):
            found = vault.seal_status().cluster_id
            if found and found != protocol.cluster_id:
                findings.append(
                    f"{vault.name} is of another Vault (cluster {found}) than the protocol "
                    f"({protocol.cluster_id}): find out which one is right before anything else"
                )
    return findings


def _peers(as_operator: Callable[[], Vault]) -> tuple[str, ...]:
    try:
        found = as_operator().read("sys/storage/raft/configuration") or {}
    except Error:
        return ()  # nobody is logged in
    return tuple(
        f"{server['node_id']} at {server['address']}"
        + (", leader" if server["leader"] else "" if server["voter"] else ", no voter")
        for server in found["config"]["servers"]
    )
