"""New shares and a root token's work, by enough operators; nobody is ever locked out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.vault import protocol as protocols
from holdfast.vault import quorum as quorums
from holdfast.vault import records as record_files
from holdfast.vault.client import Denied, Token
from holdfast.vault.holders import FileHolder, Holder
from holdfast.vault.quorum import enough, root_token
from holdfast.vault.setup import set_up
from holdfast.vault.unsealing import current
from tests.integration.vault.conftest import NAMES, Office, after_lines, errors, killed


def opens(office: Office, *names: str) -> bool:
    """Tell whether these people's shares open Vault after a restart."""
    office.servers[0].restart()
    return office.unsealing(holders=office.holders(*names)).run()


def test_rekey_to_others(alive: Office) -> None:
    """Anna leaves, dora comes, emil too, and three are needed from now on."""
    before = alive.records.protocol()
    old = {name: alive.records.share_file(name).read_bytes() for name in NAMES}
    alive.threshold = 3
    people = ("ben", "cara", "dora", "emil")
    alive.rekey(quorum=alive.quorum(*people), new_holders=alive.holders(*people)).run()
    protocol = alive.records.protocol()
    assert before is not None
    assert protocol is not None
    assert (protocol.event, protocol.threshold, protocol.previous) == ("rekey", 3, before.digest())
    assert [party.name for party in protocol.operators] == list(people)
    assert protocol.set_up == ("new shares, authorised by anna, ben",)
    for operator in alive.quorum(*people).operators:
        signature = alive.records.signature(operator.name)
        data = alive.records.protocol_file.read_bytes()
        assert protocols.why_not_signed(data, signature, operator=operator) is None
    kept = {path.name for path in alive.records.folder.iterdir()}
    signatures = {f"protocol.json.{name}.asc" for name in people}
    assert kept == {"shares", "earlier", "protocol.json", *signatures}
    assert {path.stem for path in (alive.records.folder / "shares").iterdir()} == set(people)
    # What was valid is kept, because old snapshots open with it only.
    [earlier] = (alive.records.folder / "earlier").iterdir()
    assert {path.stem: path.read_bytes() for path in (earlier / "shares").iterdir()} == old
    assert (earlier / "protocol.json").read_bytes() == before.as_bytes()
    assert not opens(alive, "ben", "cara")
    assert alive.unsealing(holders=alive.holders("emil")).run()


def test_old_shares_open_nothing(alive: Office) -> None:
    with_old = {
        name: alive.holders()[name].share(alive.records.share_file(name).read_bytes())
        for name in NAMES
    }
    alive.rekey().run()
    alive.servers[0].restart()

    class Old:
        def __init__(self, name: str) -> None:
            self.name = name

        def share(self, message: bytes) -> object:
            del message
            return with_old[self.name]

    message = errors(alive.unsealing(holders={name: Old(name) for name in NAMES}).run)
    assert "older than the last rekey" in message
    assert alive.unsealing().run()


def test_a_new_holder_who_cannot_decrypt(alive: Office) -> None:
    """The old shares stay valid, and nothing is left of the new ones."""
    before = alive.records.protocol_file.read_bytes()
    people = ("anna", "ben", "dora")
    holders: dict[str, Holder] = {**alive.holders(*people), "dora": alive.holders("emil")["emil"]}
    rekey = alive.rekey(quorum=alive.quorum(*people), new_holders=holders)
    assert "cannot open what is encrypted" in errors(rekey.run)
    assert alive.records.protocol_file.read_bytes() == before
    assert not alive.records.next.folder.exists()
    assert not alive.vault.ask("sys/rekey/init")["started"]
    assert opens(alive, "anna", "ben")


def test_a_new_share_that_does_not_fit(alive: Office, memory: Path) -> None:
    """Beyond the threshold Vault would never look at it."""
    file = memory / "cara.share"
    file.write_bytes(b"%064x" % 5 + b"%02x" % 6)
    file.chmod(0o600)
    holders = {**alive.holders(), "cara": FileHolder(name="cara", source=str(file))}
    assert "that cara gave does not fit" in errors(alive.rekey(new_holders=holders).run)
    assert not alive.records.next.folder.exists()
    assert opens(alive, "anna", "ben")


def test_too_few_agree(alive: Office) -> None:
    message = errors(alive.rekey(holders=alive.holders("anna")).run)
    assert "2 shares are needed, and 1 are at hand; bring 1 more of ben, cara" in message
    assert not alive.vault.ask("sys/rekey/init")["started"]


def test_wrong_shares_do_not_agree(alive: Office, memory: Path) -> None:
    file = memory / "ben.share"
    file.write_bytes(b"%064x" % 5 + b"%02x" % 6)
    file.chmod(0o600)
    holders = {**alive.holders("anna"), "ben": FileHolder(name="ben", source=str(file))}
    assert "does not take the shares of anna, ben" in errors(alive.rekey(holders=holders).run)
    assert not alive.vault.ask("sys/rekey/init")["started"]
    assert not alive.records.next.folder.exists()


def test_no_way_to_a_new_operator(alive: Office) -> None:
    rekey = alive.rekey(new_holders=alive.holders("anna", "ben"))
    assert "no way to cara" in errors(rekey.run)


def test_rekey_of_a_sealed_vault(alive: Office) -> None:
    alive.servers[0].restart()
    assert "holdfast vault unseal" in errors(alive.rekey().run)


def test_rekey_killed_at_every_line(alive: Office) -> None:
    """After each kill there are shares that open Vault, and the next rekey goes through."""
    lines = 0
    while True:
        lines += 1
        if not killed(lambda: alive.rekey().run(), at=after_lines(alive, lines)):
            break
        if lines % 4 == 0:  # it takes long, and the lines in between do nothing in Vault
            assert opens(alive, "anna", "ben")
        assert lines < 50
    assert lines > 8
    assert opens(alive, "cara", "ben")


def kill_at(module: object, name: str) -> Callable[[Callable[[], None]], None]:
    def arrange(kill: Callable[[], None]) -> None:
        setattr(module, name, lambda *_, **__: kill())

    return arrange


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("taken", [False, True])
def test_rekey_killed_while_vault_takes_the_new_shares(
    alive: Office, *, taken: bool, restarted: bool
) -> None:
    """We cannot know whether it did: whatever comes next finds out."""
    before = alive.records.protocol()
    moment = (
        kill_at(record_files.Records, "mark_next_verified")
        if taken
        else kill_at(quorums.Rekey, "_verify")
    )
    alive.threshold = 2
    assert killed(lambda: alive.rekey().run(), at=moment)
    assert alive.records.next.protocol() is not None
    if restarted:
        assert opens(alive, "anna", "cara")
        assert (alive.records.protocol() == before) == (not taken)
    alive.rekey().run()
    assert not alive.records.next.folder.exists()
    assert opens(alive, "anna", "cara")


def test_rekey_killed_at_every_file(alive: Office) -> None:
    """While the new set becomes the valid one in our folder."""
    real = record_files.write_atomic
    writes = 0

    def arrange(kill: Callable[[], None]) -> None:
        count = 0

        def write(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
            nonlocal count
            real(path, data, mode=mode)
            count += alive.records.next_is_verified()
            if count == writes:
                kill()

        record_files.write_atomic = write  # type: ignore[assignment]

    for writes in (1, 3, 6, 8, 9):  # noqa: B007  (read above)
        assert killed(lambda: alive.rekey().run(), at=arrange)
        alive.unsealing().run()
        leader = alive.cluster.leader()
        alive.rekey()._settle(leader)
        protocol = current(alive.records)
        with root_token(
            leader, enough(alive.records, protocol, alive.holders(), say=alive.say), say=alive.say
        ):
            pass  # Vault took the shares
    assert opens(alive, "anna", "ben")


def test_an_unsigned_rekey_is_signed_by_init(alive: Office) -> None:
    def arrange(kill: Callable[[], None]) -> None:
        quorums.collect_signatures = lambda *_, **__: kill()  # type: ignore[assignment]

    assert killed(lambda: alive.rekey().run(), at=arrange)
    assert alive.records.signature("anna") is None
    alive.ceremony().run()
    assert alive.records.signature("anna") is not None


def test_a_root_token_is_left_nowhere(alive: Office) -> None:
    leader = alive.cluster.leader()
    shares = enough(alive.records, current(alive.records), alive.holders(), say=alive.say)
    seen: list[Token] = []
    with root_token(leader, shares, say=alive.say) as vault:
        assert vault.token is not None
        seen.append(vault.token)
        # Somebody left others behind.
        left = vault._request(
            "post", "auth/token/create", {"policies": ["root"]}, token=vault.token
        )
        seen.append(Token(value=left["auth"]["client_token"]))
        kept = vault._request(
            "post", "auth/token/create-orphan", {"policies": ["deployer"]}, token=vault.token
        )
    assert "the root token is revoked, and 1 that were left" in alive.said
    for token in seen:
        with pytest.raises(Denied):
            alive.servers[0].vault(token=token).read("auth/token/lookup-self")
    survivor = alive.servers[0].vault(token=Token(value=kept["auth"]["client_token"]))
    assert survivor.read("auth/token/lookup-self") is not None


def test_a_root_token_is_revoked_when_its_work_fails(alive: Office) -> None:
    leader = alive.cluster.leader()
    shares = enough(alive.records, current(alive.records), alive.holders(), say=alive.say)
    seen: list[Token] = []

    def work() -> None:
        with root_token(leader, shares, say=alive.say) as vault:
            assert vault.token is not None
            seen.append(vault.token)
            vault.write("sys/no-such-thing", {})

    errors(work)
    with pytest.raises(Denied):
        alive.servers[0].vault(token=seen[0]).read("auth/token/lookup-self")


def test_a_root_token_of_a_killed_command_is_revoked_by_the_next(alive: Office) -> None:
    shares = enough(alive.records, current(alive.records), alive.holders(), say=alive.say)

    def work() -> None:
        with root_token(alive.cluster.leader(), shares, say=alive.say):
            killing[0]()

    killing: list[Callable[[], None]] = []
    assert killed(work, at=killing.append)
    with root_token(alive.cluster.leader(), shares, say=alive.say):
        pass
    assert "the root token is revoked, and 1 that were left" in alive.said


def test_an_unfinished_generation_is_cancelled(alive: Office) -> None:
    leader = alive.cluster.leader()
    length = leader.ask("sys/generate-root/attempt")["otp_length"]
    leader.tell("sys/generate-root/attempt", {"otp": "x" * length})
    shares = enough(alive.records, current(alive.records), alive.holders(), say=alive.say)
    with root_token(leader, shares, say=alive.say) as vault:
        assert vault.read("sys/mounts")
    assert any("it is cancelled" in line for line in alive.said)


def test_wrong_shares_make_no_root_token(alive: Office, memory: Path) -> None:
    file = memory / "ben.share"
    file.write_bytes(b"%064x" % 5 + b"%02x" % 6)
    file.chmod(0o600)
    holders = {**alive.holders("anna"), "ben": FileHolder(name="ben", source=str(file))}
    leader = alive.cluster.leader()
    shares = enough(alive.records, current(alive.records), holders, say=alive.say)

    def work() -> None:
        with root_token(leader, shares, say=alive.say):
            pytest.fail("a root token without a quorum")

    assert "does not take the shares of anna, ben" in errors(work)
    assert not leader.ask("sys/generate-root/attempt")["started"]


def test_set_up_is_put_back(alive: Office) -> None:
    """The policy was changed by another Holdfast: a quorum brings back ours, and no more."""
    leader = alive.cluster.leader()
    shares = enough(alive.records, current(alive.records), alive.holders(), say=alive.say)
    with root_token(leader, shares, say=alive.say) as vault:
        vault.write("sys/policies/acl/deployer", {"policy": 'path "sys/mounts" {}'})
        alive.set_up(vault)
        found = vault.read("sys/policies/acl/deployer")
        assert found is not None
        assert "pki-servers" in found["policy"]
        other = str(alive.folder / "other.log")
        with pytest.raises(quorums.Error, match="writes its audit trail to"):
            set_up(vault, operators_ca=alive.servers[0].ca.read_text(), audit_file=other)


def test_a_vault_without_a_protocol(alive: Office) -> None:
    alive.records.protocol_file.unlink()
    assert "no protocol of a ceremony" in errors(alive.rekey().run)
