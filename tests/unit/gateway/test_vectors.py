"""What the RFCs publish, and an independent library, say the same as we do."""

from __future__ import annotations

import base64
import datetime as dt
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    algorithms,
)

from holdfast.gateway import signatures, totp
from holdfast.gateway.certificates import thumbprint_of
from holdfast.gateway.refusals import Code, Refused
from holdfast.gateway.requests import Request
from holdfast.gateway.structured import InnerList, parse_bytes, parse_dictionary, serialise
from tests.unit.gateway.signing import (
    DER,
    KEY,
    NONCE,
    NOW,
    OTHER_KEY,
    Message,
    attempt,
    code_at,
    digest_of,
)

# RFC 9421, B.1.3: test-key-ecc-p256.
RFC_KEY = base64.b64decode(
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf"
    "w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ=="
)
B24_INPUT = (
    'sig-b24=("@status" "content-type" "content-digest" "content-length")'
    ';created=1618884473;keyid="test-key-ecc-p256"'
)
B24_SIGNATURE = (
    ":wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==:"
)
B24_LINES = (
    '"@status": 200\n"content-type": application/json\n'
    '"content-digest": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWd'
    'XymyU0rjJuahq4l5aGgfLQ==:\n"content-length": 23\n'
)


def _b24(given: str) -> bytes:
    member = parse_dictionary(given)["sig-b24"]
    assert isinstance(member, InnerList)
    return f'{B24_LINES}"@signature-params": {serialise(member)}'.encode()


@pytest.mark.parametrize("given", [B24_INPUT, B24_INPUT.replace(" ", "  ").replace(";", "; ")])
def test_the_signature_of_rfc_9421_b_2_4_holds(given: str) -> None:
    signatures.check(_b24(given), parse_bytes(B24_SIGNATURE), RFC_KEY)


def test_it_does_not_hold_for_anything_else() -> None:
    with pytest.raises(Refused) as caught:
        signatures.check(
            _b24(B24_INPUT.replace("4473", "4474")), parse_bytes(B24_SIGNATURE), RFC_KEY
        )
    assert caught.value.code is Code.SIGNATURE_WRONG


# RFC 6238, appendix B, SHA-256 (with the 32-byte seed of the errata).
@pytest.mark.parametrize(
    ("time", "code"),
    [
        (59, "46119246"),
        (1111111109, "68084774"),
        (1111111111, "67062674"),
        (1234567890, "91819424"),
        (2000000000, "90698825"),
        (20000000000, "77737706"),
    ],
)
def test_the_codes_of_rfc_6238(time: int, code: str) -> None:
    seed = b"12345678901234567890123456789012"
    assert totp.code_of(seed, time // 30) == code
    assert totp.verify(seed, code, now=time) == time // 30


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, key: object = KEY) -> None:
        self.key = key

    def resolve_public_key(self, key_id: str) -> object:
        assert key_id == thumbprint_of(DER)
        return self.key.public_key()

    def resolve_private_key(self, key_id: str) -> object:
        assert key_id == thumbprint_of(DER)
        return self.key


def _theirs(*, method: str, query: str, body: bytes, components: tuple[str, ...]) -> Request:
    """A request that the library has signed."""
    headers = {"holdfast-totp": code_at(NOW)}
    if body:
        headers["content-digest"] = digest_of(body)
    message = SimpleNamespace(
        method=method, url=f"https://api.example.org/v1/whoami{query}", headers=headers
    )
    HTTPMessageSigner(signature_algorithm=algorithms.ECDSA_P256_SHA256, key_resolver=_Keys()).sign(
        message,
        key_id=thumbprint_of(DER),
        created=dt.datetime.fromtimestamp(int(NOW), tz=dt.UTC),
        nonce=NONCE,
        label=signatures.LABEL,
        tag=signatures.TAG,
        use_existing_digest=bool(body),
        covered_component_ids=(*components, *(("content-digest",) if body else ())),
    )
    return Request(
        method=method,
        authority="api.example.org",
        path="/v1/whoami",
        query=query[1:] if query else None,
        headers=tuple((name.lower(), value) for name, value in message.headers.items()),
        has_body=bool(body),
    )


PARTS = ("@method", "@authority", "@path", "@query", "holdfast-totp")
WHOLE = ("@target-uri", "holdfast-totp", "@method", "@authority")


@pytest.mark.parametrize("components", [PARTS, WHOLE])
@pytest.mark.parametrize("query", ["", "?", "?a=1&b=%2F"])
@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("PUT", b"hello")])
def test_what_the_library_signs_is_taken(
    components: tuple[str, ...], query: str, method: str, body: bytes
) -> None:
    request = _theirs(method=method, query=query, body=body, components=components)
    assert attempt(request).device == "device-1"


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
@pytest.mark.parametrize("query", [None, "", "a=1&b=%2F"])
@pytest.mark.parametrize("body", [None, b"hello"])
def test_the_library_judges_what_the_tests_sign_as_we_do(
    key: object, query: str | None, body: bytes | None
) -> None:
    request = Message(query=query, body=body, key=key).request()
    message = SimpleNamespace(
        method=request.method,
        url="https://api.example.org/v1/whoami" + ("" if query is None else f"?{query}"),
        headers=dict(request.headers),
    )
    verifier = HTTPMessageVerifier(
        signature_algorithm=algorithms.ECDSA_P256_SHA256, key_resolver=_Keys()
    )
    # The library compares `created` with the clock of the machine: a century is wide enough.
    verifier.max_clock_skew = dt.timedelta(days=36500)
    how = {"max_age": dt.timedelta(days=36500), "expect_tag": signatures.TAG}
    if key is KEY:
        verifier.verify(message, **how)
        assert attempt(request).device == "device-1"
    else:
        with pytest.raises(InvalidSignature):
            verifier.verify(message, **how)
        with pytest.raises(Refused):
            attempt(request)


def test_the_key_of_the_rfc_is_the_one_curve() -> None:
    assert serialization.load_der_public_key(RFC_KEY).curve.name == "secp256r1"
