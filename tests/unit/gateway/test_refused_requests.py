"""Requests with one defect each are refused with the code of that defect, and nothing is burnt."""

from __future__ import annotations

import base64
import datetime as dt
from dataclasses import replace
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from holdfast.gateway import signatures, totp
from holdfast.gateway.certificates import Status, thumbprint_of
from holdfast.gateway.refusals import Answer, Code, Refused
from holdfast.gateway.requests import Request
from tests.unit.gateway.signing import (
    API_KEY,
    AUTHORITY,
    DER,
    FORWARDED,
    MUTUAL,
    NONCE,
    NOW,
    OTHER_KEY,
    SECRET,
    SIGNATURE_ALONE,
    Message,
    Nonces,
    attempt,
    certificate,
    code_at,
    digest_of,
    public,
    with_header,
)

PEM = (
    "-----BEGIN CERTIFICATE-----\n" + base64.b64encode(DER).decode() + "\n"
    "-----END CERTIFICATE-----\n"
)
FIELD = f":{base64.b64encode(DER).decode()}:"
DAY = dt.timedelta(days=1)
THEN = dt.datetime.fromtimestamp(NOW, tz=dt.UTC)
COVERED = ['"@method"', '"@authority"', '"@path"', '"@query"', '"holdfast-totp"']
GOOD = Message()


def _parameters(**changed: str | int | None) -> dict[str, str | int]:
    merged = {**Message().parameters, **changed}
    return {key: value for key, value in merged.items() if value is not None}


def _twice(request: Request, name: str) -> Request:
    value = request.header(name)
    return replace(request, headers=(*request.headers, (name, value)))


def _edited(request: Request, name: str, old: str, new: str) -> Request:
    value = request.header(name)
    assert value is not None
    assert old in value
    return with_header(request, name, value.replace(old, new))


BAD = (
    {
        "no signature": (with_header(GOOD.request(), "signature", None), Code.SIGNATURE_MISSING),
        "no signature input": (
            with_header(GOOD.request(), "signature-input", None),
            Code.SIGNATURE_MISSING,
        ),
        "signature over nothing": (Message(components=[]).request(), Code.SIGNATURE_COMPONENTS),
        "another method": (GOOD.request(method="POST"), Code.SIGNATURE_WRONG),
        "method in lower case": (Message(method="get").request(), Code.REQUEST_MALFORMED),
        "another path": (GOOD.request(path="/v1/whoamI"), Code.SIGNATURE_WRONG),
        "path with an encoded letter": (GOOD.request(path="/v1/who%61mi"), Code.SIGNATURE_WRONG),
        "path with a newline": (GOOD.request(path="/v1/\nwhoami"), Code.REQUEST_MALFORMED),
        "path with a space": (Message(path="/v1/who ami").request(), Code.REQUEST_MALFORMED),
        "path that holds a query": (
            Message(path="/v1/whoami?a=1").request(),
            Code.REQUEST_MALFORMED,
        ),
        "query with a fragment": (Message(query="a#b").request(), Code.REQUEST_MALFORMED),
        "a query that was not signed": (GOOD.request(query="all=1"), Code.SIGNATURE_WRONG),
        "another query": (Message(query="a=1").request(query="a=2"), Code.SIGNATURE_WRONG),
        "query not covered": (
            Message(components=[each for each in COVERED if "query" not in each]).request(),
            Code.SIGNATURE_COMPONENTS,
        ),
        "code not covered": (Message(components=COVERED[:-1]).request(), Code.SIGNATURE_COMPONENTS),
        "method not covered": (
            Message(components=COVERED[1:]).request(),
            Code.SIGNATURE_COMPONENTS,
        ),
        "a name of somebody else": (
            Message(authority="api.example.net").request(),
            Code.AUTHORITY_FOREIGN,
        ),
        "signed for another name": (
            Message(authority="api.example.net").request(authority=AUTHORITY),
            Code.SIGNATURE_WRONG,
        ),
        "unknown component": (
            Message(components=[*COVERED, '"x-more"']).request(),
            Code.SIGNATURE_COMPONENTS,
        ),
        "doubled component": (
            Message(components=[*COVERED, '"@method"']).request(),
            Code.SIGNATURE_COMPONENTS,
        ),
        "path and target at once": (
            Message(components=[*COVERED, '"@target-uri"']).request(),
            Code.SIGNATURE_COMPONENTS,
        ),
        "digest covered but absent": (
            Message(components=[*COVERED, '"content-digest"']).request(),
            Code.SIGNATURE_COMPONENTS,
        ),
        "component that is a number": (
            Message(components=[*COVERED, "1"]).request(),
            Code.SIGNATURE_COMPONENTS,
        ),
        "body without digest": (GOOD.request(has_body=True), Code.DIGEST_MISSING),
        "digest not covered": (
            Message(body=b"x", components=COVERED).request(),
            Code.SIGNATURE_COMPONENTS,
        ),
        "digest changed": (
            with_header(Message(body=b"x").request(), "content-digest", digest_of(b"y")),
            Code.SIGNATURE_WRONG,
        ),
        "digest of a body that did not come": (
            Message(body=b"x").request(has_body=False),
            Code.DIGEST_WRONG,
        ),
        "too old": (
            Message(parameters=_parameters(created=int(NOW) - 61)).request(),
            Code.SIGNATURE_TIME,
        ),
        "too new": (
            Message(parameters=_parameters(created=int(NOW) + 61)).request(),
            Code.SIGNATURE_TIME,
        ),
        "time changed": (
            _edited(GOOD.request(), "signature-input", f"={int(NOW)};", f"={int(NOW) + 1};"),
            Code.SIGNATURE_WRONG,
        ),
        "no time": (
            Message(parameters=_parameters(created=None)).request(),
            Code.SIGNATURE_PARAMETERS,
        ),
        "time as a string": (
            Message(parameters=_parameters(created=str(int(NOW)))).request(),
            Code.SIGNATURE_PARAMETERS,
        ),
        "no nonce": (
            Message(parameters=_parameters(nonce=None)).request(),
            Code.SIGNATURE_PARAMETERS,
        ),
        "short nonce": (
            Message(parameters=_parameters(nonce="a" * 21)).request(),
            Code.NONCE_MALFORMED,
        ),
        "long nonce": (
            Message(parameters=_parameters(nonce="a" * 65)).request(),
            Code.NONCE_MALFORMED,
        ),
        "nonce with odd letters": (
            Message(parameters=_parameters(nonce="a" * 30 + " ")).request(),
            Code.NONCE_MALFORMED,
        ),
        "unknown parameter": (
            Message(parameters=_parameters(expires=int(NOW) + 9)).request(),
            Code.SIGNATURE_PARAMETERS,
        ),
        "no algorithm": (
            Message(parameters=_parameters(alg=None)).request(),
            Code.SIGNATURE_PARAMETERS,
        ),
        "another algorithm": (
            Message(parameters=_parameters(alg="hmac-sha256")).request(),
            Code.SIGNATURE_ALGORITHM,
        ),
        "another tag": (
            Message(parameters=_parameters(tag="holdfast")).request(),
            Code.SIGNATURE_TAG,
        ),
        "another label": (Message(label="sig1").request(), Code.SIGNATURE_LABEL),
        "two labels": (
            _edited(GOOD.request(), "signature-input", "holdfast=", "sig1=();created=1, holdfast="),
            Code.SIGNATURE_LABEL,
        ),
        "label twice": (
            _edited(GOOD.request(), "signature-input", "holdfast=", "holdfast=(), holdfast="),
            Code.FIELD_MALFORMED,
        ),
        "another key": (Message(key=OTHER_KEY).request(), Code.SIGNATURE_WRONG),
        "key of nobody": (
            Message(parameters=_parameters(keyid=thumbprint_of(b"nobody"))).request(),
            Code.KEY_UNKNOWN,
        ),
        "key identifier of another kind": (
            Message(parameters=_parameters(keyid="device-1")).request(),
            Code.KEY_UNKNOWN,
        ),
        "signature in DER": (
            with_header(
                GOOD.request(), "signature", f"holdfast=:{base64.b64encode(bytes(71)).decode()}:"
            ),
            Code.SIGNATURE_WRONG,
        ),
        "signature of zeros": (
            with_header(
                GOOD.request(), "signature", f"holdfast=:{base64.b64encode(bytes(64)).decode()}:"
            ),
            Code.SIGNATURE_WRONG,
        ),
        "signature with a parameter": (
            with_header(
                GOOD.request(), "signature", f"{GOOD.request().header('signature')};created=1"
            ),
            Code.SIGNATURE_WRONG,
        ),
        "signature that is a list": (
            with_header(GOOD.request(), "signature", "holdfast=()"),
            Code.FIELD_MALFORMED,
        ),
        "input that is bytes": (
            with_header(GOOD.request(), "signature-input", "holdfast=:AAAA:"),
            Code.FIELD_MALFORMED,
        ),
        "no code": (with_header(GOOD.request(), "holdfast-totp", None), Code.TOTP_MISSING),
        "code changed": (
            with_header(GOOD.request(), "holdfast-totp", "00000000"),
            Code.SIGNATURE_WRONG,
        ),
        "certificate forwarded by anybody": (
            with_header(GOOD.request(peer="10.1.0.1"), "client-cert", FIELD),
            Code.FORWARDED_UNLISTED,
        ),
    }
    | {
        f"doubled header {name}": (_twice(Message(body=b"x").request(), name), Code.HEADER_DOUBLED)
        for name in ("signature", "signature-input", "content-digest", "holdfast-totp")
    }
    | {
        f"component with {parameter}": (
            Message(components=[f'"@method";{parameter}', *COVERED[1:]]).request(),
            Code.SIGNATURE_COMPONENTS,
        )
        for parameter in ("req", "sf", "bs", "tr", 'key="a"', "x=1")
    }
)


def _refused(request: Request, **how: object) -> tuple[Refused, Nonces]:
    nonces = Nonces()
    with pytest.raises(Refused) as caught:
        attempt(request, nonces=nonces, **how)
    return caught.value, nonces


@pytest.mark.parametrize(("request_", "code"), BAD.values(), ids=BAD.keys())
def test_a_bad_request_is_refused_and_burns_nothing(request_: Request, code: Code) -> None:
    refused, nonces = _refused(request_)
    assert refused.code is code
    assert str(refused) == code.value
    assert not nonces.burnt
    outside = Answer.FORBIDDEN if code is Code.FORWARDED_UNLISTED else Answer.UNAUTHENTICATED
    assert refused.answer is outside


def test_the_same_request_without_a_defect_is_taken() -> None:
    for message in (
        Message(),
        Message(method="POST", body=b"hello"),
        Message(query="a=1&b=%20"),
        Message(query=""),
        Message(components=[*reversed(COVERED)]),
        Message(components=['"@target-uri"', COVERED[0], COVERED[1], COVERED[4]], query="a=1"),
        Message(parameters=_parameters(created=int(NOW) - 60)),
        Message(parameters=_parameters(created=int(NOW) + 60)),
    ):
        nonces = Nonces()
        found = attempt(message.request(), nonces=nonces)
        assert (found.device, found.nonce) == ("device-1", NONCE)
        assert found.totp_step == int(NOW // 30)
        assert (found.body is None) == (message.body is None)
        # It may be forgotten only when `created` has left the window.
        assert nonces.burnt == {(thumbprint_of(DER), NONCE): found.created + 61}


def test_a_claim_alone_wants_the_digest_of_a_body_too() -> None:
    with pytest.raises(Refused) as caught:
        signatures.read_claim(Message().request(has_body=True), now=NOW)
    assert caught.value.code is Code.DIGEST_MISSING


def test_a_key_identifier_of_another_kind_is_never_looked_up() -> None:
    request = Message(parameters=_parameters(keyid="device-1' --")).request()
    with pytest.raises(Refused) as caught:
        signatures.read_claim(request, now=NOW)
    assert caught.value.code is Code.KEY_UNKNOWN


def test_a_name_may_be_written_large_and_with_its_port() -> None:
    assert attempt(Message().request(authority="API.example.org:443")).device == "device-1"


def test_a_replayed_request_is_refused() -> None:
    nonces = Nonces()
    request = Message().request()
    attempt(request, nonces=nonces)
    with pytest.raises(Refused) as caught:
        attempt(request, nonces=nonces, now=NOW + 1)
    assert caught.value.code is Code.NONCE_USED


@pytest.mark.parametrize(
    "code",
    [
        code_at(NOW - 86400),
        code_at(NOW - 30),
        code_at(NOW + 30),
        code_at(NOW, totp.derive_key(SECRET, totp.Purpose.PANEL)),
        code_at(NOW, totp.derive_key(SECRET, totp.Purpose.QR)),
        code_at(NOW, SECRET),
        code_at(NOW)[:7],
        code_at(NOW) + "0",
        "",
    ],
    ids=["yesterday", "last step", "next step", "panel", "qr", "secret", "short", "long", "empty"],
)
def test_a_wrong_code_uses_its_message_up(code: str) -> None:
    refused, nonces = _refused(Message(code=code).request())
    assert refused.code is Code.TOTP_WRONG
    assert len(nonces.burnt) == 1


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"status": Status.REVOKED}, Code.CERTIFICATE_REVOKED),
        ({"status": Status.SUPERSEDED}, Code.CERTIFICATE_SUPERSEDED),
        ({"status": Status.TEMPORARY}, Code.CERTIFICATE_TEMPORARY),
        ({"status": Status.EXPIRED}, Code.CERTIFICATE_EXPIRED),
        ({"status": Status.UNKNOWN}, Code.KEY_UNKNOWN),
        ({"not_before": THEN + DAY / 86400}, Code.CERTIFICATE_NOT_YET_VALID),
        ({"not_after": THEN - DAY / 86400}, Code.CERTIFICATE_EXPIRED),
        ({"public_key": b"none"}, Code.KEY_UNUSABLE),
        ({"public_key": public(ec.generate_private_key(ec.SECP384R1()))}, Code.KEY_UNUSABLE),
        (
            {
                "public_key": ed25519.Ed25519PrivateKey.generate()
                .public_key()
                .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            },
            Code.KEY_UNUSABLE,
        ),
    ],
)
def test_a_certificate_that_is_not_good_now_is_refused(
    changed: dict[str, object], code: Code
) -> None:
    refused, nonces = _refused(Message().request(), known=(certificate(**changed),))
    assert refused.code is code
    assert not nonces.burnt


def test_the_last_second_of_a_certificate_counts() -> None:
    assert attempt(Message().request(), known=(certificate(not_after=THEN, not_before=THEN),))


TLS = {"tls_verify": "SUCCESS", "tls_certificate": quote(PEM, safe="")}


def test_mutual_tls_takes_the_certificate_that_nginx_verified() -> None:
    assert attempt(Message().request(**TLS), trust=MUTUAL).device == "device-1"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"tls_verify": "NONE", "tls_certificate": ""}, Code.CERTIFICATE_MISSING),
        ({"tls_certificate": ""}, Code.CERTIFICATE_MISSING),
        ({"tls_verify": "FAILED:certificate revoked"}, Code.CERTIFICATE_UNVERIFIED),
        ({"tls_verify": "success"}, Code.CERTIFICATE_UNVERIFIED),
        ({"tls_certificate": quote(PEM + PEM)}, Code.CERTIFICATE_MALFORMED),
        ({"tls_certificate": "x"}, Code.CERTIFICATE_MALFORMED),
        ({"tls_certificate": "A" * 20000}, Code.CERTIFICATE_MALFORMED),
        (
            {"tls_certificate": quote(PEM.replace(base64.b64encode(DER).decode(), "MIIA"))},
            Code.KEY_OTHER,
        ),
    ],
)
def test_mutual_tls_refuses(changed: dict[str, str], code: Code) -> None:
    refused, nonces = _refused(Message().request(**{**TLS, **changed}), trust=MUTUAL)
    assert refused.code is code
    assert not nonces.burnt


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"])
def test_a_listed_proxy_may_forward(peer: str) -> None:
    request = with_header(Message().request(peer=peer), "client-cert", FIELD)
    assert attempt(request, trust=FORWARDED).device == "device-1"


@pytest.mark.parametrize("trust", [MUTUAL, FORWARDED, SIGNATURE_ALONE])
@pytest.mark.parametrize("name", ["client-cert", "client-cert-chain"])
@pytest.mark.parametrize(
    "peer", ["10.2.0.1", "::ffff:10.2.0.1", "fe80::1", "fd00::1%eth0", "", "x"]
)
def test_nobody_else_may_forward_in_any_mode(trust: object, name: str, peer: str) -> None:
    request = with_header(Message().request(peer=peer, **TLS), name, FIELD)
    refused, nonces = _refused(request, trust=trust)
    assert refused.code is Code.FORWARDED_UNLISTED
    assert refused.answer is Answer.FORBIDDEN
    assert not nonces.burnt


def test_an_unlisted_peer_is_refused_without_a_header_too() -> None:
    refused, _ = _refused(Message().request(peer="10.2.0.1"), trust=FORWARDED)
    assert refused.code is Code.FORWARDED_UNLISTED


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, Code.CERTIFICATE_MISSING),
        ("::", Code.CERTIFICATE_MALFORMED),
        ("x", Code.FIELD_MALFORMED),
        (PEM, Code.FIELD_MALFORMED),
        (f"{FIELD};a=1", Code.FIELD_MALFORMED),
        (f"{FIELD}, {FIELD}", Code.FIELD_MALFORMED),
        (f"{FIELD}x", Code.FIELD_MALFORMED),
        (":" + "A" * 9000 + ":", Code.FIELD_MALFORMED),
        (":MIIA:", Code.KEY_OTHER),
    ],
)
def test_a_listed_proxy_forwards_one_certificate_in_one_form(value: str, code: Code) -> None:
    request = with_header(Message().request(peer="10.1.2.3"), "client-cert", value)
    refused, nonces = _refused(request, trust=FORWARDED)
    assert refused.code is code
    assert not nonces.burnt


def test_a_forwarded_certificate_that_comes_twice_is_refused() -> None:
    request = with_header(Message().request(peer="10.1.2.3"), "client-cert", FIELD)
    refused, _ = _refused(_twice(request, "client-cert"), trust=FORWARDED)
    assert refused.code is Code.HEADER_DOUBLED


def test_nothing_that_is_secret_is_shown() -> None:
    found = attempt(Message().request())
    assert repr(API_KEY)[2:-1] not in repr(found)
    assert "totp_key" not in repr(found)
