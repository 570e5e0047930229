"""Parsers, digests, codes and lists of addresses, each alone and with whatever may come."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import http_sf
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from holdfast.gateway import totp
from holdfast.gateway.certificates import Mode, Networks, Trust
from holdfast.gateway.digests import BodyCheck
from holdfast.gateway.refusals import Code, Refused
from holdfast.gateway.requests import Request
from holdfast.gateway.structured import InnerList, parse_bytes, parse_dictionary, serialise
from tests.unit.gateway.signing import (
    API_KEY,
    FORWARDED,
    MUTUAL,
    NOW,
    SECRET,
    Message,
    attempt,
    digest_of,
    with_header,
)

FEW = settings(max_examples=100, deadline=None)
# Letters that fields are made of, so that many of the texts come close to one.
NEAR = st.text(alphabet='ab@-=;:,()"\\?*. \t019AZ+/\n\x00é', max_size=60)
ANY = st.one_of(st.text(max_size=60), NEAR)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a",
        "a=",
        "a=1,",
        "a=1, ,b=2",
        "a=1 b=2",
        "a=1, a=2",
        "a=1;b=1;b=2",
        "a=1.5",
        "a=token",
        "a=@1659578233",
        'a=%"f%c3%bc"',
        "a=?2",
        "a=:A:",
        "a=:AAB=:",
        "a=:A A=:",
        "a=:AA==",
        'a="b',
        'a="\\b"',
        'a="\té"',
        'a=("b""c")',
        'a=("b" "c"',
        'a=(("b"))',
        "a=1234567890123456",
        "a=--1",
        "A=1",
        "1=1",
        "a=1\n",
        "a=1\t",
        "a=" + "(" * 100,
        "a=:" + "A" * 9000 + ":",
        ", ".join(f"k{each}=1" for each in range(17)),
        "a=(" + " ".join("1" for _ in range(17)) + ")",
    ],
)
def test_what_is_no_strict_field_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_dictionary(text)
    assert caught.value.code is Code.FIELD_MALFORMED


@FEW
@given(ANY)
@example('a=("b";req "c");d=1;e="f\\"g"')
@example("a=:AAA=:;b;c=?0, d=-12")
def test_whatever_comes_is_parsed_as_an_independent_parser_does_or_refused(text: str) -> None:
    try:
        ours = parse_dictionary(text)
    except Refused:
        return
    theirs = http_sf.parse(text.strip(" ").encode(), tltype="dictionary")
    assert list(ours) == list(theirs)
    for key, member in ours.items():
        value, parameters = theirs[key]
        assert dict(member.parameters) == parameters
        if isinstance(member, InnerList):
            assert [(each.value, dict(each.parameters)) for each in member.items] == value
            assert parse_dictionary(f"a={serialise(member)}")["a"] == member
        else:
            assert member.value == value


@FEW
@given(ANY)
@example(":AAA=: ")
def test_bytes_are_read_or_refused(text: str) -> None:
    try:
        ours = parse_bytes(text)
    except Refused:
        return
    assert http_sf.parse(text.strip(" ").encode(), tltype="item") == (ours, {})


@FEW
@given(st.sampled_from(["signature", "signature-input", "content-digest", "holdfast-totp"]), ANY)
def test_no_header_makes_anything_but_a_refusal(name: str, value: str) -> None:
    with pytest.raises(Refused):
        attempt(with_header(Message(body=b"x").request(), name, value))


@FEW
@given(st.sampled_from(["method", "authority", "path", "query"]), ANY)
def test_no_target_makes_anything_but_a_refusal(name: str, value: str) -> None:
    signed = Message(query="signed").request()
    assume(value.lower() != getattr(signed, name).lower())
    with pytest.raises(Refused):
        attempt(replace(signed, **{name: value}))


@FEW
@given(ANY, ANY, ANY)
def test_no_certificate_makes_anything_but_a_refusal(peer: str, verify: str, value: str) -> None:
    with pytest.raises(Refused):
        attempt(Message().request(tls_verify=verify, tls_certificate=value), trust=MUTUAL)
    with pytest.raises(Refused):
        attempt(with_header(Message().request(peer=peer), "client-cert", value), trust=FORWARDED)


def _body(field: str | None, *chunks: bytes, longest: int = 100) -> None:
    check = BodyCheck(field, longest=longest)
    for chunk in chunks:
        check.update(chunk)
    check.verify()


def test_a_body_has_the_digests_that_it_came_with() -> None:
    sha512 = f"sha-512=:{base64.b64encode(hashlib.sha512(b'hello').digest()).decode()}:"
    _body(digest_of(b"hello"), b"hel", b"", b"lo")
    _body(sha512, b"hello")
    _body(f"{digest_of(b'hello')}, {sha512}", b"hello")
    _body(digest_of(b""))
    # RFC 9530, appendix D: the digest of nothing.
    _body("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")
    for field, chunks in (
        (digest_of(b"hello"), [b"hellO"]),
        (digest_of(b"hello"), [b"hell"]),
        (digest_of(b"hello"), [b"hello", b"!"]),
        (digest_of(b"hello"), []),
        (digest_of(b""), [b"x"]),
        (f"{digest_of(b'hellO')}, {sha512}", [b"hello"]),
        (f"{sha512}, {digest_of(b'hellO')}", [b"hello"]),
    ):
        with pytest.raises(Refused) as caught:
            _body(field, *chunks)
        assert caught.value.code is Code.DIGEST_WRONG


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (None, Code.DIGEST_MISSING),
        ("", Code.FIELD_MALFORMED),
        ("md5=:AAAA:", Code.DIGEST_ALGORITHM),
        (f"{digest_of(b'')}, unixsum=1", Code.DIGEST_ALGORITHM),
        ("sha-256=:AAAA:", Code.FIELD_MALFORMED),
        ("sha-256=()", Code.FIELD_MALFORMED),
        ('sha-256="a"', Code.FIELD_MALFORMED),
        (f"{digest_of(b'')};a=1", Code.FIELD_MALFORMED),
        (f"{digest_of(b'')}, {digest_of(b'')}", Code.FIELD_MALFORMED),
    ],
)
def test_a_digest_that_is_none_is_refused(field: str | None, code: Code) -> None:
    with pytest.raises(Refused) as caught:
        _body(field)
    assert caught.value.code is code


def test_a_body_is_refused_at_the_first_byte_too_many() -> None:
    _body(digest_of(b"x" * 100), b"x" * 100)
    check = BodyCheck(digest_of(b"x" * 101), longest=100)
    check.update(b"x" * 100)
    with pytest.raises(Refused) as caught:
        check.update(b"x")
    assert caught.value.code is Code.BODY_TOO_LARGE


def test_a_code_lives_its_step_and_the_grace_and_no_longer() -> None:
    start = NOW - NOW % 30
    step = int(start // 30)
    code = totp.code_of(API_KEY, step)
    for after in (0, 0.5, 29.999, 30, 30 + totp.GRACE - 0.001):
        assert totp.verify(API_KEY, code, now=start + after) == step
    for after in (-86400, -30, -0.001, 30 + totp.GRACE, 59, 60, 86400):
        with pytest.raises(Refused) as caught:
            totp.verify(API_KEY, code, now=start + after)
        assert caught.value.code is Code.TOTP_WRONG


@FEW
@given(ANY)
@example("१२३४५६७८")
@example("\ud800")
def test_no_text_is_a_code(text: str) -> None:
    with pytest.raises(Refused):
        totp.verify(API_KEY, text, now=NOW)


def test_each_purpose_has_a_key_of_its_own() -> None:
    keys = {totp.derive_key(SECRET, purpose) for purpose in totp.Purpose}
    assert len(keys) == len(totp.Purpose) == 3
    assert all(len(key) == 32 for key in keys)
    assert SECRET not in keys
    with pytest.raises(ValueError, match="make a new one"):
        totp.derive_key(SECRET[:31], totp.Purpose.API)


def test_addresses_of_both_families_and_of_one_in_the_other() -> None:
    listed = Networks(["192.0.2.0/25", "2001:db8::/64", "198.51.100.7", "::ffff:203.0.113.0/120"])
    for inside in (
        "192.0.2.127",
        "::ffff:192.0.2.1",
        "2001:db8::9",
        "198.51.100.7",
        "203.0.113.200",
        "::ffff:203.0.113.200",
    ):
        assert inside in listed
    for outside in ("192.0.2.128", "2001:db8:0:1::", "198.51.100.8", "::192.0.2.1", "", "x", "1"):
        assert outside not in listed
    assert not Networks([])
    with pytest.raises(ValueError, match="host bits"):
        Networks(["192.0.2.1/25"])


def test_proxies_are_listed_where_they_forward_and_nowhere_else() -> None:
    for wrong in (
        {"mode": Mode.FORWARDED},
        {"mode": Mode.MUTUAL_TLS, "proxies": Networks(["10.0.0.1"])},
        {"mode": Mode.SIGNATURE, "proxies": Networks(["10.0.0.1"])},
    ):
        with pytest.raises(ValueError, match="choose that mode"):
            Trust(**wrong)


def test_the_body_of_a_request_is_checked_by_who_reads_it() -> None:
    request: Request = Message(method="POST", body=b"hello").request()
    body = attempt(request).body
    assert body is not None
    body.update(b"hellO")
    with pytest.raises(Refused):
        body.verify()
