"""A protocol that was tampered with is noticed, in its text and in its signatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from holdfast.vault.gpg import keyring
from holdfast.vault.operators import Operator, quorum
from holdfast.vault.protocol import (
    BadProtocol,
    Party,
    Protocol,
    differing,
    parse,
    why_not_signed,
)
from tests.people import Person, make


@pytest.fixture(scope="module")
def people() -> dict[str, Person]:
    return {name: make(name) for name in ("anna", "ben")}


@pytest.fixture(scope="module")
def operators(people: dict[str, Person]) -> dict[str, Operator]:
    found = quorum([person.entry() for person in people.values()], threshold=2)
    return {operator.name: operator for operator in found.operators}


@pytest.fixture(scope="module")
def protocol(people: dict[str, Person]) -> Protocol:
    return Protocol(
        event="init",
        installation="test",
        cluster_id="c0ffee",
        vault_version="1.21.2",
        conductor="zoë@desk",
        begun="2026-01-02T03:04:05Z",
        ended="2026-01-02T03:14:05Z",
        threshold=2,
        operators=tuple(
            Party(name=one.name, fingerprint=one.fingerprint, share_sha256="0" * 64)
            for one in people.values()
        ),
        rounds=(("anna", "ben"),),
        set_up=("audit",),
    )


def sign(person: Person, data: bytes) -> bytes:
    with keyring(person.secret) as gpg:
        return gpg.sign(data, fingerprint=person.fingerprint)


def test_round_trip(protocol: Protocol) -> None:
    data = protocol.as_bytes()
    assert parse(data) == protocol
    assert (
        data
        == json.dumps(
            json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
        + b"\n"
    )


TAMPERED: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-20],
    "empty": lambda _: b"",
    "no JSON": lambda _: b"protocol",
    "a list": lambda _: b"[]\n",
    "pretty": lambda data: json.dumps(json.loads(data), indent=1).encode(),
    "a blank": lambda data: data + b" ",
    "one more field": lambda data: data.replace(b'{"begun"', b'{"added":1,"begun"'),
    "a field twice": lambda data: data.replace(b'"threshold":2', b'"threshold":1,"threshold":2'),
    "a field less": lambda data: data.replace(b'"threshold":2,', b""),
    "another schema": lambda data: data.replace(b'"schema":1', b'"schema":2'),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_what_was_not_written_so_is_refused(protocol: Protocol, case: str) -> None:
    data = TAMPERED[case](protocol.as_bytes())
    assert data != protocol.as_bytes()
    with pytest.raises(BadProtocol):
        parse(data)


def test_signatures(
    protocol: Protocol, people: dict[str, Person], operators: dict[str, Operator]
) -> None:
    data = protocol.as_bytes()
    signature = sign(people["anna"], data)
    assert why_not_signed(data, signature, operator=operators["anna"]) is None
    posing = replace(operators["anna"], fingerprint=operators["ben"].fingerprint)
    assert why_not_signed(data, signature, operator=posing) is not None
    changed = replace(protocol, threshold=1).as_bytes()
    cases = {
        "has not signed": (data, None, "anna"),
        "does not fit": (changed, signature, "anna"),
        "did not sign": (data, signature, "ben"),
        "did not sign this": (data, b"", "anna"),
        "did not sign this protocol": (data, signature.replace(b"\n\n", b"\n\nAAAA", 1), "anna"),
    }
    for words, (text, given, name) in cases.items():
        why = why_not_signed(text, given, operator=operators[name])
        assert why is not None, words
        assert words in why


def test_a_key_that_ended_since_may_have_signed() -> None:
    old = make("old", time="20200101T000000", expires="1y")
    fresh = make("fresh")
    operator = replace(
        quorum([fresh.entry(), make("x").entry()], threshold=2).operators[0],
        fingerprint=old.fingerprint,
        public=old.public.encode(),
    )
    with keyring(old.secret) as gpg:
        clock = ("--faked-system-time", "20200601T000000!")
        user = ("--local-user", old.fingerprint)
        signature = gpg.must(*clock, *user, "--armor", "--detach-sign", stdin=b"data").out
    assert why_not_signed(b"data", signature, operator=operator) is None
    assert why_not_signed(b"other", signature, operator=operator) is not None


def test_a_revoked_key_signed_nothing(people: dict[str, Person]) -> None:
    """Whoever has a stolen key can sign with any date."""
    signature = sign(people["anna"], b"data")
    lost = make("lost", revoked=True)
    with keyring(lost.secret) as gpg:
        public = gpg.must("--export", lost.fingerprint).out
    operator = replace(
        quorum([one.entry() for one in people.values()], threshold=2).operators[0],
        fingerprint=lost.fingerprint,
        public=public,
    )
    assert why_not_signed(b"data", signature, operator=operator) is not None
    with keyring(lost.unrevoked) as gpg:
        signature = gpg.sign(b"data", fingerprint=lost.fingerprint)
    assert "revoked" in str(why_not_signed(b"data", signature, operator=operator))


def test_who_differs(protocol: Protocol, operators: dict[str, Operator]) -> None:
    assert differing(protocol, operators) == []
    other = {**operators, "cara": operators["anna"]}
    del other["ben"]
    other["anna"] = replace(operators["anna"], fingerprint="F" * 40)
    assert differing(protocol, other) == [
        "cara holds no share yet",
        "ben still holds a share, and is not in vault_operators",
        "anna has another key now than the share is encrypted to",
    ]
