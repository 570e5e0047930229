"""A sealed Vault opens for enough operators, together or one by one, and for nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.vault import unsealing as unsealings
from holdfast.vault.client import Vault
from holdfast.vault.cluster import give
from holdfast.vault.holders import FileHolder, Holder
from holdfast.vault.protocol import parse
from tests.integration.vault.conftest import NAMES, Office, errors


def holder(folder: Path, name: str, text: bytes) -> FileHolder:
    file = folder / f"{name}.share"
    file.write_bytes(text)
    file.chmod(0o600)
    return FileHolder(name=name, source=str(file))


def share_of(office: Office, name: str) -> bytes:
    message = office.records.share_file(name).read_bytes()
    return office.holders()[name].share(message).secret().encode()


def test_by_everybody_at_hand(sealed: Office) -> None:
    assert sealed.unsealing().run()
    assert not sealed.vault.seal_status().sealed
    assert sealed.unsealing().run()  # and again
    assert "vault1: open already" in sealed.said


def test_one_after_the_other(sealed: Office) -> None:
    assert not sealed.unsealing(holders=sealed.holders("cara")).run()
    assert sealed.vault.seal_status().progress == 1
    assert "1 more of anna, ben needed" in sealed.said[-1]
    assert not sealed.unsealing(holders=sealed.holders("cara")).run()  # twice is not two
    assert sealed.vault.seal_status().progress == 1
    assert sealed.unsealing(holders=sealed.holders("ben")).run()
    assert not sealed.vault.seal_status().sealed


def test_from_files(sealed: Office, memory: Path) -> None:
    holders = {name: holder(memory, name, share_of(sealed, name)) for name in NAMES[:2]}
    assert sealed.unsealing(holders=holders).run()


def test_nobody(sealed: Office) -> None:
    message = errors(sealed.unsealing(holders={}).run)
    assert "2 of anna, ben, cara are needed" in message


def test_tampered_ciphertext_of_one(sealed: Office) -> None:
    """It is named; the others open Vault."""
    file = sealed.records.share_file("anna")
    file.write_bytes(file.read_bytes().replace(b"\n\n", b"\n\nA", 1))
    assert sealed.unsealing().run()
    assert any("anna.asc was changed" in line for line in sealed.said)


def test_tampered_ciphertexts_of_too_many(sealed: Office) -> None:
    sealed.records.share_file("anna").unlink()
    sealed.records.share_file("ben").write_bytes(sealed.records.share_file("cara").read_bytes())
    assert not sealed.unsealing().run()
    assert any("anna.asc is missing" in line for line in sealed.said)
    assert any("ben.asc was changed" in line for line in sealed.said)
    assert "1 more of anna, ben needed" in sealed.said[-1]


def test_a_share_that_does_not_belong(sealed: Office, memory: Path) -> None:
    wrong = holder(memory, "ben", b"%064x" % 7 + b"%02x" % 9)
    holders: dict[str, Holder] = {**sealed.holders("anna"), "ben": wrong}
    message = errors(sealed.unsealing(holders=holders).run)
    assert "does not open with the shares of anna, ben" in message
    assert sealed.vault.seal_status().progress == 0
    assert sealed.unsealing().run()


def test_a_share_that_does_not_belong_one_after_the_other(sealed: Office, memory: Path) -> None:
    """Vault forgets what it was given, and it is said so."""
    wrong = {"ben": holder(memory, "ben", b"%064x" % 7 + b"%02x" % 9)}
    assert not sealed.unsealing(holders=wrong).run()
    message = errors(sealed.unsealing(holders=sealed.holders("anna")).run)
    assert "Vault has forgotten them all" in message
    assert sealed.vault.seal_status().progress == 0


def test_a_repeated_share(sealed: Office, memory: Path) -> None:
    """It counts once, and its owners are named."""
    again = holder(memory, "ben", share_of(sealed, "anna"))
    holders: dict[str, Holder] = {**sealed.holders("anna"), "ben": again}
    assert not sealed.unsealing(holders=holders).run()
    assert any("anna and ben gave the same share" in line for line in sealed.said)
    assert sealed.vault.seal_status().progress == 1


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_share_that_others_can_read(sealed: Office, memory: Path, mode: int) -> None:
    known = holder(memory, "ben", share_of(sealed, "ben"))
    Path(known.source).chmod(mode)
    assert not sealed.unsealing(holders={**sealed.holders("anna"), "ben": known}).run()
    assert any("known and worth nothing" in line for line in sealed.said)


def test_a_share_on_a_disk(sealed: Office, tmp_path: Path) -> None:
    lying = holder(tmp_path, "ben", share_of(sealed, "ben"))
    assert not sealed.unsealing(holders={**sealed.holders("anna"), "ben": lying}).run()
    assert any("must not lie" in line for line in sealed.said)


@pytest.mark.parametrize("names", [NAMES, ("anna",)])
def test_interrupted_half_way(
    sealed: Office, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """What was given is taken back."""
    given = 0

    def interrupt(vault: Vault, share: object) -> object:
        nonlocal given
        result = give(vault, share)  # type: ignore[arg-type]
        given += 1
        assert result.progress == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(unsealings, "give", interrupt)
    monkeypatch.setattr("holdfast.vault.cluster.give", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sealed.unsealing(holders=sealed.holders(*names)).run()
    assert given == 1
    assert sealed.vault.seal_status().progress == 0


def test_shares_left_by_a_killed_command(sealed: Office) -> None:
    """A wrong one among them does not spoil those of now."""
    sealed.vault.tell("sys/unseal", {"key": "ab" * 33})
    assert sealed.vault.seal_status().progress == 1
    assert sealed.unsealing().run()


def test_a_protocol_that_was_tampered_with(sealed: Office) -> None:
    file = sealed.records.protocol_file
    data = file.read_bytes()
    file.write_bytes(data[:-9])
    assert "damaged" in errors(sealed.unsealing().run)
    file.write_bytes(replace(parse(data), threshold=1).as_bytes())
    sealed.unsealing().run()  # Vault knows better how many it takes
    assert not sealed.vault.seal_status().sealed


def test_without_a_protocol(sealed: Office) -> None:
    sealed.records.protocol_file.unlink()
    assert "no protocol of a ceremony" in errors(sealed.unsealing().run)


def test_never_initialised(office: Office) -> None:
    assert "never initialised" in errors(office.unsealing().run)


def test_unreachable(sealed: Office) -> None:
    sealed.servers[0].stop()
    assert "does not answer" in errors(sealed.unsealing().run)


def test_nothing_secret_is_said(sealed: Office, memory: Path) -> None:
    secrets = [share_of(sealed, name).decode() for name in NAMES]
    wrong = holder(memory, "ben", b"%064x" % 7 + b"%02x" % 9)
    message = errors(sealed.unsealing(holders={**sealed.holders("anna"), "ben": wrong}).run)
    assert sealed.unsealing().run()
    everything = "\n".join([message, *sealed.said, sealed.servers[0].log()])
    assert not [secret for secret in secrets if secret[:16] in everything]
