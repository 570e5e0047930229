"""One-time codes (RFC 6238): SHA-256, eight digits, steps of 30 s, one key for each purpose."""

from __future__ import annotations

import hmac
import re
from enum import Enum

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .refusals import Code, Refused

STEP = 30
# Seconds that a code may be on its way after its step has ended.
GRACE = 5
_DIGITS = 8
_CODE = re.compile(rf"[0-9]{{{_DIGITS}}}")
_SHORTEST_SECRET = 32


class Purpose(Enum):
    """What a code is for; its value is HKDF's info, so that no code serves two purposes."""

    API = b"holdfast totp 1 api"
    PANEL = b"holdfast totp 1 panel"
    QR = b"holdfast totp 1 qr"


def derive_key(secret: bytes, purpose: Purpose) -> bytes:
    """Return the 32-byte key of one purpose (RFC 5869, no salt: the secret is uniform)."""
    if len(secret) < _SHORTEST_SECRET:
        raise ValueError(f"a TOTP secret has at least {_SHORTEST_SECRET} bytes: make a new one")
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose.value).derive(secret)


def code_of(key: bytes, step: int) -> str:
    """Return the code of a step (RFC 4226, section 5.3)."""
    mac = hmac.digest(key, step.to_bytes(8, "big"), "sha256")
    offset = mac[-1] & 0x0F
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**_DIGITS:0{_DIGITS}}"


def verify(key: bytes, code: str, *, now: float) -> int:
    """Return the step of a code that is good now, for the caller to burn. Raises Refused.

    Good is the code of the running step, and the last one's in the first GRACE seconds; a code
    of the future never is. Which codes are compared depends on the clock alone.
    """
    step = int(now // STEP)
    steps = [step, step - 1] if now - step * STEP < GRACE else [step]
    presented = code.encode() if _CODE.fullmatch(code) else b""
    found = None
    for candidate in steps:
        if hmac.compare_digest(code_of(key, candidate).encode(), presented):
            found = candidate
    if found is None:
        raise Refused(Code.TOTP_WRONG)
    return found
