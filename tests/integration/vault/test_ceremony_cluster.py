"""Three nodes: they come to life together, and whatever is lost or late comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from holdfast.vault.client import Vault
from holdfast.vault.cluster import Cluster
from holdfast.vault.quorum import enough, root_token
from holdfast.vault.status import look
from holdfast.vault.unsealing import current
from tests.integration.vault.conftest import Office, errors, servers_in
from tests.people import Person


@pytest.fixture
def three(
    program: Path,
    authority: trustme.CA,
    memory: Path,
    people: dict[str, Person],
    keys: dict[str, Path],
) -> Iterator[Office]:
    servers = servers_in(memory, 3, program=program, authority=authority)
    for server in servers:
        server.start()
    yield Office(memory / "office", servers, people, keys)
    for server in servers:
        server.stop()


def states(office: Office) -> dict[str, str]:
    def nobody() -> Vault:
        return office.vault

    found = look(
        [server.vault(patience=0) for server in office.servers],
        office.records,
        office.quorum,
        as_operator=nobody,
    )
    return {node.name: node.state for node in found.nodes}


def peers(office: Office) -> list[str]:
    leader = office.cluster.leader()
    shares = enough(office.records, current(office.records), office.holders(), say=office.say)
    with root_token(leader, shares, say=office.say) as vault:
        found = vault.read("sys/storage/raft/configuration") or {}
    return sorted(server["node_id"] for server in found["config"]["servers"] if server["voter"])


def test_three_nodes(three: Office) -> None:
    """One story, because each chapter takes a cluster."""
    three.ceremony().run()
    assert {server.state() for server in three.servers} == {"complete"}
    assert set(states(three).values()) == {"open"}
    names = ["vault1", "vault2", "vault3"]
    first = three.cluster.leader()

    # The leader is lost, and comes back sealed.
    lost = next(server for server in three.servers if server.name == first.name)
    lost.stop()
    second = three.cluster.leader()
    assert second.name != first.name
    assert states(three)[lost.name] == "unreachable"
    assert "does not answer" in errors(three.unsealing().run)
    assert "does not answer" in errors(three.rekey().run)
    lost.start()
    assert f"{lost.name} is sealed, and would not know" in errors(three.rekey().run)
    assert states(three)[lost.name] == "sealed"
    assert three.unsealing().run()
    assert set(states(three).values()) == {"open"}
    assert peers(three) == names

    # New shares for the whole cluster; then the power fails.
    three.rekey().run()
    for server in three.servers:
        server.stop()
    for server in three.servers:
        server.start()
    assert three.unsealing().run()
    three.cluster.leader()
    assert set(states(three).values()) == {"open"}

    # A node loses its disk: it joins again, and bears the mark again.
    third = three.servers[2]
    third.stop()
    third.wipe()
    third.mark.unlink()
    third.start()
    assert three.unsealing().run()
    three.ceremony().run()
    assert third.state() == "complete"
    assert "vault3 came later, has joined, and may not be wiped from now on" in three.said
    assert peers(three) == names


def test_a_node_that_was_down_during_a_rekey(three: Office) -> None:
    """It knows the old shares only, which were kept; then it learns the new ones."""
    three.ceremony().run()
    three.cluster.leader()
    late = three.servers[2]
    late.stop()
    present = Cluster([node for node in three.cluster.nodes if node.name != late.name])
    three.rekey(cluster=present).run()
    late.start()
    assert three.unsealing().run()
    assert states(three)[late.name] == "open"
    three.cluster.leader()
    late.restart()
    assert three.unsealing().run()
