"""Operators are taken only with keys that a share can be trusted to."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast import inventory
from holdfast.errors import Error
from holdfast.local import operators as local
from holdfast.local.operators import NAMES, THRESHOLD, ensure_operators, throw_away_keys
from holdfast.vault.gpg import keyring
from holdfast.vault.operators import THROW_AWAY, BadOperators, from_inventory, quorum
from tests.people import UNLOCKED, Person, export, make

SIGN_ONLY: tuple[tuple[str, str, str], ...] = ()


@pytest.fixture(scope="session")
def anna() -> Person:
    return make("anna")


@pytest.fixture(scope="session")
def ben() -> Person:
    return make("ben")


def test_good_operators(anna: Person, ben: Person) -> None:
    found = quorum([anna.entry(), ben.entry()], threshold=2)
    assert [one.name for one in found.operators] == ["anna", "ben"]
    assert [one.fingerprint for one in found.operators] == [anna.fingerprint, ben.fingerprint]
    assert all(len(one.encryption) == 1 and one.expires is None for one in found.operators)
    assert found.operators[0].signing == anna.fingerprint
    assert found.operators[0].encryption != found.operators[1].encryption


def test_fingerprints_as_people_write_them(anna: Person, ben: Person) -> None:
    written = " ".join(anna.fingerprint[n : n + 4] for n in range(0, 40, 4)).lower()
    found = quorum([anna.entry(fingerprint=written), ben.entry()], threshold=2)
    assert found.operators[0].fingerprint == anna.fingerprint


@pytest.mark.parametrize(
    ("primary", "encryption"),
    [("nistp256", "nistp256"), ("nistp384", "nistp521"), ("rsa3072", "rsa3072")],
)
def test_kinds(anna: Person, primary: str, encryption: str) -> None:
    other = make("other", primary=primary, subkeys=((encryption, "encr", "never"),))
    assert len(quorum([anna.entry(), other.entry()], threshold=2).operators) == 2


def test_a_signing_subkey_signs(anna: Person) -> None:
    """As on a card, where the primary key only certifies."""
    subkeys = (("ed25519", "sign", "never"), ("cv25519", "encr", "never"))
    card = make("card", uses="cert", subkeys=subkeys)
    found = quorum([anna.entry(), card.entry()], threshold=2).operators[1]
    assert found.signing != card.fingerprint


def expired() -> Person:
    return make("bad", time="20200101T000000", expires="1y")


def expired_subkey() -> Person:
    return make("bad", time="20200101T000000", subkeys=(("cv25519", "encr", "1y"),))


def with_two() -> Person:
    first, second = make("bad"), make("second")
    return Person("bad", first.fingerprint, first.public + second.public, b"")


def unsigned_subkey() -> Person:
    """Somebody put an encryption subkey of their own behind another's primary key."""
    victim, thief = make("bad", subkeys=SIGN_ONLY), make("thief")
    with keyring() as gpg:
        gpg.must("--import", stdin=victim.public.encode())
        gpg.must("--import", stdin=thief.public.encode())
        keys = gpg.must("--export", victim.fingerprint).out
        stolen = gpg.must("--export", thief.fingerprint).out
    # The last two packets: the subkey (old format, tag 14) and its binding signature.
    subkey = stolen[stolen.rindex(b"\xb8\x38") :]
    with keyring() as gpg:
        armoured = gpg.run("--enarmor", stdin=keys + subkey).out.decode()
    armoured = armoured.replace("ARMORED FILE", "PUBLIC KEY BLOCK")
    return Person("bad", victim.fingerprint, armoured, b"")


BAD_KEYS: dict[str, tuple[Callable[[], Person], str]] = {
    "expired": (expired, "has expired"),
    "revoked": (lambda: make("bad", revoked=True), "revoked"),
    "no encryption": (lambda: make("bad", subkeys=SIGN_ONLY), "encrypt to"),
    "expired encryption": (expired_subkey, "encrypt to"),
    "not bound encryption": (unsigned_subkey, "encrypt to"),
    "no signing": (lambda: make("bad", uses="cert"), "sign with"),
    "short RSA": (lambda: make("bad", primary="rsa2048"), "RSA 2048"),
    "short RSA encryption": (
        lambda: make("bad", subkeys=(("rsa2048", "encr", "never"),)),
        "RSA 2048",
    ),
    "odd curve": (
        lambda: make("bad", subkeys=(("brainpoolP256r1", "encr", "never"),)),
        "brainpool",
    ),
    "two keys": (with_two, "2 public keys"),
    "throw-away": (lambda: make("bad", comment=f" ({THROW_AWAY})"), "throw-away"),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_bad_keys_are_refused(anna: Person, case: str) -> None:
    make_bad, words = BAD_KEYS[case]
    with pytest.raises(BadOperators, match=f"- bad: .*{words}"):
        quorum([anna.entry(), make_bad().entry()], threshold=2)


BAD_ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    "another's fingerprint": ({"fingerprint": "A" * 40}, "not A{40}"),
    "key id": ({"fingerprint": "DEADBEEFDEADBEEF"}, "all 40 digits"),
    "no key": ({"key": "anna <anna@example.com>"}, "no public keys"),
    "nothing": ({"key": ""}, "no public keys"),
    "path": ({"name": "../ben"}, "cannot name"),
    "capital": ({"name": "Ben"}, "cannot name"),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_bad_entries_are_refused(anna: Person, ben: Person, case: str) -> None:
    changes, words = BAD_ENTRIES[case]
    with pytest.raises(BadOperators, match=words):
        quorum([anna.entry(), ben.entry(**changes)], threshold=2)


def test_a_secret_key_is_refused_and_called_known(anna: Person, ben: Person) -> None:
    with pytest.raises(BadOperators, match="ben: this is a secret key") as raised:
        quorum([anna.entry(), ben.entry(key=ben.secret.decode())], threshold=2)
    assert "BEGIN" not in str(raised.value)


def test_fields_are_needed(anna: Person) -> None:
    with pytest.raises(BadOperators, match="entry 2 needs name"):
        quorum([anna.entry(), {"name": "ben"}], threshold=2)


def test_one_key_under_two_names(anna: Person, ben: Person) -> None:
    with pytest.raises(BadOperators, match="zoe has the same key as anna"):
        quorum([anna.entry(), ben.entry(), anna.entry(name="zoe")], threshold=2)


def test_one_key_under_two_fingerprints(anna: Person, ben: Person) -> None:
    """The same numbers, said to be made at another time, have another fingerprint."""
    with keyring() as gpg:
        gpg.must(*UNLOCKED, "--import", stdin=ben.secret)
        listing = gpg.must("--with-colons", "--with-keygrip", "--list-keys").out.decode()
        grips = [line.split(":")[9] for line in listing.splitlines() if line.startswith("grp")]
        parameters = (
            "%no-protection\nKey-Type: EDDSA\nKey-Curve: ed25519\n"
            f"Key-Grip: {grips[0]}\nKey-Usage: cert,sign\nName-Real: twin-of-ben\n"
            "Subkey-Type: ECDH\nSubkey-Curve: cv25519\n%commit\n"
        )
        clock = ("--faked-system-time", "20250101T000000!")
        made = gpg.must(*UNLOCKED, *clock, "--gen-key", stdin=parameters.encode())
        twin = export(gpg, "twin", made.said("KEY_CREATED")[0][1])
    assert twin.fingerprint != ben.fingerprint
    with pytest.raises(BadOperators, match="twin has the same key as ben"):
        quorum([anna.entry(), ben.entry(), twin.entry()], threshold=2)


def test_one_name_for_two(anna: Person, ben: Person) -> None:
    with pytest.raises(BadOperators, match="the name anna is given twice"):
        quorum([anna.entry(), ben.entry(name="anna")], threshold=2)


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (3, "there are 2 operators"),
        (1, "one person alone"),
        (0, "one person alone"),
        (-1, "one person alone"),
        ("2", "whole number"),
        (True, "whole number"),
        (None, "whole number"),
    ],
)
def test_thresholds(anna: Person, ben: Person, threshold: Any, words: str) -> None:
    with pytest.raises(BadOperators, match=words):
        quorum([anna.entry(), ben.entry()], threshold=threshold)


def test_nobody() -> None:
    with pytest.raises(BadOperators, match="there are none"):
        quorum([], threshold=2)


def test_every_finding_is_told_at_once(anna: Person) -> None:
    with pytest.raises(BadOperators) as raised:
        quorum([anna.entry(fingerprint="x"), {"name": "ben"}], threshold=9)
    assert len(str(raised.value).splitlines()) == 4


def test_warnings(anna: Person) -> None:
    soon = make("soon", expires="30d")
    later = make("later", expires="90d")
    found = quorum([anna.entry(), soon.entry(), later.entry()], threshold=2)
    [warning] = found.warnings()
    assert warning.startswith("soon's key ends on ")
    ends = found.operators[1].expires
    assert ends is not None
    assert timedelta(days=29) < ends - datetime.now(UTC) <= timedelta(days=30)


def test_a_subkey_that_ends_soon_is_warned_about(anna: Person) -> None:
    soon = make("soon", subkeys=(("cv25519", "encr", "30d"),))
    [warning] = quorum([anna.entry(), soon.entry(), make("x").entry()], threshold=2).warnings()
    assert warning.startswith("soon's key ends")


def test_nobody_to_spare_is_warned_about(anna: Person, ben: Person) -> None:
    [warning] = quorum([anna.entry(), ben.entry()], threshold=2).warnings()
    assert "one lost key loses everything" in warning


def listed(path: Path, hosts: dict[str, dict[str, Any]]) -> inventory.Inventory:
    return inventory.parse(
        {"installation": {"hosts": list(hosts)}, "_meta": {"hostvars": hosts}}, path=path
    )


def test_throw_away_operators(tmp_path: Path) -> None:
    """They are made once, are good for a local inventory, and for no other."""
    folder = tmp_path / "operators"
    ensure_operators(folder)
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    ensure_operators(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.secret.asc")} == {0o600}
    assert "THROW-AWAY" in (folder / "README").read_text()
    variables = vault_operators_of(folder)
    here = {**variables, "local_release": "trixie"}
    found = from_inventory(listed(tmp_path, {"a": here, "b": here}))
    assert (found.threshold, found.throw_away) == (THRESHOLD, True)
    assert tuple(one.name for one in found.operators) == NAMES
    assert tuple(throw_away_keys(folder)) == NAMES
    with pytest.raises(BadOperators, match="b stands elsewhere"):
        from_inventory(listed(tmp_path, {"a": here, "b": variables}))
    honest = {**here, "vault_throw_away": False}
    with pytest.raises(BadOperators, match="anna: this is the key of a throw-away operator"):
        from_inventory(listed(tmp_path, {"a": honest}))


def vault_operators_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "operators.json").read_text())
    return found


def test_throw_away_operators_killed_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each file: the next call ends in keys that are listed and there."""
    real = local.write_atomic
    for stop in ("README", "anna.secret.asc", "cara.secret.asc"):
        folder = tmp_path / stop

        def write(path: Path, data: bytes | str, *, mode: int = 0o644, stop: str = stop) -> None:
            real(path, data, mode=mode)
            if path.name == stop:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(local, "write_atomic", write)
            with pytest.raises(KeyboardInterrupt):
                ensure_operators(folder)
        assert throw_away_keys(folder) == {}
        ensure_operators(folder)
        found = quorum(vault_operators_of(folder)["vault_operators"], threshold=2, throw_away=True)
        for operator in found.operators:
            with keyring(throw_away_keys(folder)[operator.name].read_bytes()) as gpg:
                assert gpg.has_secret(operator.fingerprint)


def test_a_missing_throw_away_key_is_told(tmp_path: Path) -> None:
    ensure_operators(tmp_path)
    (tmp_path / "ben.secret.asc").unlink()
    with pytest.raises(Error, match=r"ben.secret.asc.*is missing"):
        throw_away_keys(tmp_path)
