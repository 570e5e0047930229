"""HTTP Message Signatures (RFC 9421) under one narrow policy: what is not demanded is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NewType

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from .refusals import Code, Refused
from .structured import InnerList, Item, parse_dictionary, serialise

if TYPE_CHECKING:
    from .requests import Request

# x5t#S256: SHA-256 of a certificate in DER, base64url without padding (RFC 7515, 4.1.8).
Thumbprint = NewType("Thumbprint", str)

LABEL = "holdfast"
TAG = "holdfast-device"
ALGORITHM = "ecdsa-p256-sha256"
TOTP_HEADER = "holdfast-totp"
# Seconds that the clocks of device and gateway may differ, either way.
WINDOW = 60

_PARAMETERS = {"created": int, "keyid": str, "alg": str, "nonce": str, "tag": str}
_KEYID = re.compile(r"[A-Za-z0-9_-]{43}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{22,64}")  # 128 bits and more, base64url
_SIGNATURE_SIZE = 64
_ECDSA = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a request says of its signature: well-formed and in time, but not verified."""

    keyid: Thumbprint
    nonce: str
    created: int
    base: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """A signature that holds: by which certificate, when, and the nonce to burn."""

    who: Thumbprint
    nonce: str
    created: int


def read_claim(request: Request, *, now: float) -> Claim:
    """Check everything about a signature that needs no key. Raises Refused."""
    request.check_shape()
    given_input = request.header("signature-input")
    given_signature = request.header("signature")
    if given_input is None or given_signature is None:
        raise Refused(Code.SIGNATURE_MISSING)
    member = _only_member(given_input)
    signature = _only_member(given_signature)
    if not isinstance(member, InnerList) or not isinstance(signature, Item):
        raise Refused(Code.FIELD_MALFORMED)
    if (
        not isinstance(signature.value, bytes)
        or len(signature.value) != _SIGNATURE_SIZE
        or signature.parameters
    ):
        raise Refused(Code.SIGNATURE_WRONG)
    created, keyid, nonce = _check_parameters(member, now=now)
    base = _base(request, member)
    return Claim(keyid=keyid, nonce=nonce, created=created, base=base, signature=signature.value)


def verify(claim: Claim, public_key: bytes) -> Verified:
    """Check the signature with a public key in DER (SubjectPublicKeyInfo). Raises Refused."""
    check(claim.base, claim.signature, public_key)
    return Verified(who=claim.keyid, nonce=claim.nonce, created=claim.created)


def check(base: bytes, signature: bytes, public_key: bytes) -> None:
    """Check a raw r‖s over a signature base (RFC 9421, section 3.3.4). Raises Refused."""
    key = _load(public_key)
    if len(signature) != _SIGNATURE_SIZE:
        raise Refused(Code.SIGNATURE_WRONG)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), base, _ECDSA)
    except InvalidSignature:
        raise Refused(Code.SIGNATURE_WRONG) from None


@lru_cache(maxsize=4096)
def _load(public_key: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise Refused(Code.KEY_UNUSABLE) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused(Code.KEY_UNUSABLE)
    return key


def _only_member(text: str) -> Item | InnerList:
    members = parse_dictionary(text)
    if len(members) != 1 or LABEL not in members:
        raise Refused(Code.SIGNATURE_LABEL)
    return members[LABEL]


def _check_parameters(member: InnerList, *, now: float) -> tuple[int, Thumbprint, str]:
    parameters = member.parameters
    # By exact type: a Boolean is an int to Python, but not to the RFC.
    if {key: type(value) for key, value in parameters.items()} != _PARAMETERS:
        raise Refused(Code.SIGNATURE_PARAMETERS)
    if parameters["alg"] != ALGORITHM:
        raise Refused(Code.SIGNATURE_ALGORITHM)
    if parameters["tag"] != TAG:
        raise Refused(Code.SIGNATURE_TAG)
    keyid, nonce, created = parameters["keyid"], parameters["nonce"], parameters["created"]
    if not isinstance(keyid, str) or not _KEYID.fullmatch(keyid):
        raise Refused(Code.KEY_UNKNOWN)
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        raise Refused(Code.NONCE_MALFORMED)
    if not isinstance(created, int) or not -WINDOW <= now - created <= WINDOW:
        raise Refused(Code.SIGNATURE_TIME)
    return created, Thumbprint(keyid), nonce


def _base(request: Request, member: InnerList) -> bytes:
    """Return the signature base (RFC 9421, section 2.5) if exactly what we demand is covered."""
    names = [item.value for item in member.items if isinstance(item.value, str)]
    if (
        len(names) != len(member.items)
        or len(set(names)) != len(names)
        or any(item.parameters for item in member.items)
    ):
        raise Refused(Code.SIGNATURE_COMPONENTS)
    query = "" if request.query is None else f"?{request.query}"
    authority = request.normal_authority()
    values = {"@method": request.method, "@authority": authority}
    if "@target-uri" in names:
        values["@target-uri"] = f"https://{authority}{request.path}{query}"
    else:
        values["@path"], values["@query"] = request.path, query or "?"
    totp = request.header(TOTP_HEADER)
    if totp is None:
        raise Refused(Code.TOTP_MISSING)
    values[TOTP_HEADER] = totp
    digest = request.header("content-digest")
    if digest is not None:
        values["content-digest"] = digest
    elif request.has_body:
        raise Refused(Code.DIGEST_MISSING)
    if set(names) != set(values):
        raise Refused(Code.SIGNATURE_COMPONENTS)
    lines = [f'"{name}": {values[name]}' for name in names]
    lines.append(f'"@signature-params": {serialise(member)}')
    base = "\n".join(lines)
    if not base.isascii() or base.count("\n") != len(names):
        raise Refused(Code.REQUEST_MALFORMED)
    return base.encode()
