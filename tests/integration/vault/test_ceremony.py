"""A Vault is brought to life by everybody together, whatever is interrupted, changed or wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import Error
from holdfast.vault import ceremony as ceremonies
from holdfast.vault import protocol as protocols
from holdfast.vault.client import Denied, Token, Vault
from holdfast.vault.cluster import Cluster
from holdfast.vault.gpg import keyring
from holdfast.vault.holders import FileHolder, Holder
from holdfast.vault.records import Records
from tests.integration.vault.conftest import (
    NAMES,
    Office,
    after_lines,
    errors,
    killed,
)


def shares(office: Office) -> dict[str, bytes]:
    """Decrypt everybody's share, as no one person could."""
    found = {}
    for name in NAMES:
        with keyring(office.people[name].secret) as gpg:
            found[name] = gpg.decrypt(office.records.share_file(name).read_bytes())
    return found


def test_a_ceremony(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[str] = []
    real = Office.set_up

    def spy(self: Office, vault: Vault) -> tuple[str, ...]:
        assert vault.token is not None
        tokens.append(vault.token.value)
        return real(self, vault)

    monkeypatch.setattr(Office, "set_up", spy)
    office.ceremony().run()
    assert office.servers[0].state() == "complete"
    assert not office.vault.seal_status().sealed
    protocol = office.records.protocol()
    assert protocol is not None
    assert {name for group in protocol.rounds for name in group} == set(NAMES)
    assert all(len(group) == 2 for group in protocol.rounds)
    assert protocol.cluster_id == office.vault.seal_status().cluster_id
    for operator in office.quorum().operators:
        signature = office.records.signature(operator.name)
        data = office.records.protocol_file.read_bytes()
        assert protocols.why_not_signed(data, signature, operator=operator) is None
    # The root token is none any more, and neither it nor a share is in any file.
    [root] = tokens
    vault = office.servers[0].vault(token=Token(value=root))
    with pytest.raises(Denied):
        vault.read("auth/token/lookup-self")
    secrets = [root.encode(), *shares(office).values()]
    for file in office.folder.parent.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not [one for one in secrets if one in content], file
    kept = {path.relative_to(office.records.folder) for path in office.records.folder.rglob("*")}
    assert kept == {
        Path("shares"),
        Path("protocol.json"),
        *(Path(f"shares/{name}.asc") for name in NAMES),
        *(Path(f"protocol.json.{name}.asc") for name in NAMES),
    }
    modes = {p.stat().st_mode & 0o777 for p in office.records.folder.rglob("*") if p.is_file()}
    assert modes == {0o600}
    assert '"path":"sys/policies/acl/deployer"' in office.servers[0].audit_file.read_text()


def test_a_share_is_for_one_operator_only(alive: Office) -> None:
    message = alive.records.share_file("anna").read_bytes()
    for name in ("ben", "cara"):
        with keyring(alive.people[name].secret) as gpg, pytest.raises(Error):
            gpg.decrypt(message)


def test_again_changes_nothing(alive: Office) -> None:
    before = {path: path.read_bytes() for path in alive.records.folder.rglob("*") if path.is_file()}
    alive.ceremony().run()
    assert "brought to life on" in alive.said[0]
    after = {path: path.read_bytes() for path in alive.records.folder.rglob("*") if path.is_file()}
    assert before == after
    assert not alive.vault.seal_status().sealed


def test_killed_at_every_line(office: Office) -> None:
    """Killed, run again and killed one line later, until it comes to its end."""
    lines = 0
    while True:
        lines += 1
        if not killed(lambda: office.ceremony().run(), at=after_lines(office, lines)):
            break
        assert lines < 50
    assert lines > 12
    assert office.servers[0].state() == "complete"
    office.servers[0].restart()
    assert office.unsealing().run()
    assert office.vault.seal_status().cluster_id == office.records.protocol().cluster_id  # type: ignore[union-attr]


MOMENTS = {
    "before the answer to init is read": ("encrypted_shares", ceremonies),
    "before the root token is revoked": ("end_root_token", ceremonies),
    "before the protocol is written": ("Protocol", ceremonies),
    "before anybody signs": ("collect_signatures", ceremonies),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_between_lines(office: Office, moment: str) -> None:
    name, module = MOMENTS[moment]

    def arrange(kill: Callable[[], None]) -> None:
        setattr(module, name, lambda *_, **__: kill())

    assert killed(lambda: office.ceremony().run(), at=arrange)
    assert office.servers[0].state() == "begun"
    office.ceremony().run()
    wiped = any("wiped and begun again" in line for line in office.said)
    assert wiped == (moment != "before anybody signs")
    office.servers[0].restart()
    assert office.unsealing().run()


def test_a_vault_of_somebody_elses_is_not_touched(office: Office) -> None:
    office.vault.tell("sys/init", {"secret_shares": 1, "secret_threshold": 1})
    assert "it is not touched" in errors(office.ceremony().run)
    assert office.servers[0].state() == "none"
    assert office.vault.seal_status().initialised


def test_a_complete_host_is_not_wiped(office: Office) -> None:
    """Not even when its Vault is empty: somebody has to find out why first."""
    office.servers[0].complete()
    office.ceremony().run()
    assert office.servers[0].state() == "complete"
    assert not office.vault.seal_status().initialised


def test_all_operators_are_needed(office: Office) -> None:
    holders = office.holders("anna", "ben")
    assert "no way to cara" in errors(office.ceremony(holders=holders).run)
    assert office.servers[0].state() == "none"


def test_the_wrong_secret_key(office: Office) -> None:
    """Cara's place is taken by somebody with another key."""
    thief = replace(office.holders()["cara"], key=office.keys["dora"])  # type: ignore[type-var]
    holders: dict[str, Holder] = {**office.holders(), "cara": thief}
    message = errors(office.ceremony(holders=holders).run)
    assert "cara cannot open what is encrypted to them" in message
    assert office.servers[0].state() == "begun"
    office.ceremony().run()
    assert office.servers[0].state() == "complete"


def pipe(folder: Path, name: str, content: bytes) -> FileHolder:
    file = folder / f"{name}.pipe"
    file.write_bytes(content)
    file.chmod(0o600)
    return FileHolder(name=name, source=str(file))


@pytest.mark.parametrize("defect", ["stranger", "repeated", "none", "cut"])
def test_shares_that_do_not_open(office: Office, memory: Path, defect: str) -> None:
    """Cara's comes from a file, and is not what it should be."""

    class Wrong:
        name = "cara"

        def share(self, message: bytes) -> object:
            del message
            ben = office.holders()["ben"].share(office.records.share_file("ben").read_bytes())
            text = {
                "stranger": b"%064x" % 99 + b"%02x" % 200,
                "repeated": ben.secret().encode(),
                "none": b"no share",
                "cut": ben.secret().encode()[:-2] + b"\n",
            }[defect]
            return pipe(memory, "cara", text).share(b"")

        def sign(self, data: bytes, *, fingerprint: str) -> None:
            del data, fingerprint

    holders = {**office.holders(), "cara": Wrong()}
    message = errors(office.ceremony(holders=holders).run)
    expected = {
        "stranger": "does not open with the shares of cara, anna",
        "repeated": "ben and cara gave the same share",
        "none": "cara: this is no share",
        "cut": "does not open with the shares of cara, anna",
    }[defect]
    assert expected in message
    assert office.servers[0].state() == "begun"
    assert office.vault.seal_status().progress == 0


def test_a_ciphertext_for_somebody_else_is_noticed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vault, or what stands in between, encrypts cara's share to dora."""
    with keyring(office.people["dora"].public.encode()) as gpg:
        to = ("--recipient", office.people["dora"].fingerprint)
        stolen = base64.b64encode(gpg.must(*to, "--encrypt", stdin=b"share").out).decode()
    real = Vault.tell

    def tell(self: Vault, path: str, data: dict[str, object], **how: float) -> dict[str, object]:
        answer = real(self, path, data, **how)
        if path == "sys/init":
            answer["keys_base64"][2] = stolen
        return answer

    monkeypatch.setattr(Vault, "tell", tell)
    assert "Vault encrypted cara's share to" in errors(office.ceremony().run)
    assert not (office.records.folder / "shares").exists()


def test_signatures_from_elsewhere(office: Office) -> None:
    """Cara signs on her own machine, later: nothing is wiped meanwhile."""
    cara = office.holders()["cara"]

    class Elsewhere:
        name = "cara"

        def share(self, message: bytes) -> object:
            return cara.share(message)

        def sign(self, data: bytes, *, fingerprint: str) -> None:
            del data, fingerprint

    holders = {**office.holders(), "cara": Elsewhere()}
    message = errors(office.ceremony(holders=holders).run)
    assert "lacks the signatures of cara" in message
    assert office.servers[0].state() == "begun"
    data = office.records.protocol_file.read_bytes()
    office.servers[0].restart()  # and sealed meanwhile
    with keyring(office.people["cara"].secret) as gpg:
        signature = gpg.sign(data, fingerprint=office.people["cara"].fingerprint)
    office.records.signature_file("cara").write_bytes(signature)
    office.ceremony(holders=holders).run()
    assert office.servers[0].state() == "complete"
    assert office.records.protocol_file.read_bytes() == data


def test_a_forged_signature_is_replaced(office: Office) -> None:
    """What lies there already and does not fit counts for nothing."""

    def arrange(kill: Callable[[], None]) -> None:
        ceremonies.collect_signatures = lambda *_, **__: kill()  # type: ignore[assignment]

    assert killed(lambda: office.ceremony().run(), at=arrange)
    office.records.write_signature("cara", b"nonsense")
    office.ceremony().run()
    operator = office.quorum().operators[2]
    signature = office.records.signature("cara")
    data = office.records.protocol_file.read_bytes()
    assert protocols.why_not_signed(data, signature, operator=operator) is None


def test_somebody_elses_unfinished_ceremony_is_not_ours(office: Office) -> None:
    """We have a protocol, and the Vault that stands was begun by a ceremony from elsewhere."""
    office.ceremony().run()
    ours = office.records.protocol()
    assert ours is not None
    office.servers[0].mark.unlink()
    office.servers[0].wipe()
    office.servers[0].start()
    elsewhere = Records(office.folder / "elsewhere")

    def arrange(kill: Callable[[], None]) -> None:
        ceremonies.collect_signatures = lambda *_, **__: kill()  # type: ignore[assignment]

    assert killed(lambda: office.ceremony(records=elsewhere).run(), at=arrange)
    office.ceremony().run()
    new = office.records.protocol()
    assert new is not None
    assert new.cluster_id == office.vault.seal_status().cluster_id != ours.cluster_id


def test_a_protocol_of_another_vault_is_not_gone_on_with(office: Office) -> None:
    """It is set aside, and the ceremony begins."""
    office.ceremony().run()
    old = office.records.protocol()
    assert old is not None
    office.servers[0].mark.unlink()
    office.servers[0].wipe()
    office.servers[0].start()
    office.ceremony().run()
    new = office.records.protocol()
    assert new is not None
    assert new.cluster_id != old.cluster_id
    [kept] = (office.records.folder / "earlier").iterdir()
    assert json.loads((kept / "protocol.json").read_text())["cluster_id"] == old.cluster_id
    assert sorted(path.name for path in (kept / "shares").iterdir()) == [
        f"{name}.asc" for name in NAMES
    ]


def test_the_mark_is_set_again_when_a_host_lost_it(alive: Office) -> None:
    """The host was made anew around its data, and may have been restarted."""
    alive.servers[0].mark.unlink()
    alive.servers[0].restart()
    before = alive.records.protocol_file.read_bytes()
    alive.ceremony().run()
    assert alive.servers[0].state() == "complete"
    assert alive.records.protocol_file.read_bytes() == before


def test_a_vault_that_does_not_run_is_started(office: Office) -> None:
    office.servers[0].stop()
    office.ceremony().run()
    assert office.servers[0].state() == "complete"


def test_unreachable(office: Office) -> None:
    """The host is there, and its Vault cannot be reached from here."""
    [node] = office.cluster.nodes
    away = Vault("127.0.0.2", ca=office.servers[0].ca, name="vault1", patience=0)
    message = errors(office.ceremony(cluster=Cluster([replace(node, vault=away)])).run)
    assert "Vault on vault1 (127.0.0.2) does not answer" in message
    office.ceremony().run()
    assert office.servers[0].state() == "complete"


def test_a_set_up_that_fails_is_begun_again(office: Office) -> None:
    def fail(vault: Vault) -> tuple[str, ...]:
        vault.write("sys/audit/file", {"type": "file", "options": {"file_path": "/proc/none"}})
        return ()

    assert "refuses sys/audit/file" in errors(office.ceremony(set_up=fail).run)
    assert not office.records.protocol_file.exists()
    office.ceremony().run()
    assert office.servers[0].state() == "complete"
