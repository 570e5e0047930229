"""Shares of Vault's key: parts of a secret after Shamir, on the curve that Vault splits it on.

A share exists in memory and, encrypted to its operator, in a file; nowhere else. It has no text
form that could slip into a message.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY_BYTES = 32
# The value of the polynomials at a place, and then the place (Vault's shamir.ShareOverhead).
_SHARE_BYTES = _KEY_BYTES + 1
_ARMOUR_LINE = 64


class BadShare(Error):
    """A share that is none, or not the right one."""


@dataclass(frozen=True, repr=False)
class Share:
    """One operator's part. `secret` gives it as Vault takes it."""

    owner: str
    _value: bytes

    @classmethod
    def parse(cls, text: bytes, *, owner: str) -> Share:
        """Read a share as Vault gives it, in hexadecimal or base64. Raises BadShare."""
        word = text.strip()
        if b"-----BEGIN PGP" in word:
            raise BadShare(
                f"{owner}: this is the encrypted share; decrypt it first (gpg --decrypt), or let "
                "the command do so by leaving --share out."
            )
        try:
            value = bytes.fromhex(word.decode("ascii"))
        except ValueError:
            try:
                value = base64.b64decode(word, validate=True)
            except binascii.Error:
                value = b""
        if len(value) not in {_KEY_BYTES, _SHARE_BYTES}:
            raise BadShare(
                f"{owner}: this is no share of Vault's key (66 hexadecimal digits); look whether "
                "the right file was decrypted, and whether all of it came through."
            )
        return cls(owner, value)

    def __repr__(self) -> str:
        return f"Share({self.owner!r}, ...)"

    def secret(self) -> str:
        """Return it as Vault's API takes it."""
        return self._value.hex()

    @property
    def place(self) -> int | None:
        """Where on the polynomials it lies; None if the key was not split."""
        return self._value[-1] if len(self._value) == _SHARE_BYTES else None

    @property
    def point(self) -> bytes:
        """The value there."""
        return self._value[:_KEY_BYTES]

    def is_same(self, other: Share) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self._value, other._value)


def require_distinct(shares: Sequence[Share]) -> None:
    """Raise BadShare if one was given twice, or if two cannot be of one splitting."""
    for number, share in enumerate(shares):
        for other in shares[:number]:
            if share.is_same(other):
                raise BadShare(
                    f"{other.owner} and {share.owner} gave the same share; each gives their own."
                )
            if share.place == other.place:
                raise BadShare(
                    f"The shares of {other.owner} and {share.owner} are not of the same splitting: "
                    "one of them is older than the last rekey, or of another installation; decrypt "
                    "the files in shares/ again."
                )


def strangers(shares: Sequence[Share], *, threshold: int) -> list[str]:
    """Return whose shares do not lie on the polynomials that the first `threshold` ones define.

    One share more than the threshold is needed to find out anything.
    """
    require_distinct(shares)
    first = shares[:threshold]
    return [
        share.owner
        for share in shares[threshold:]
        if not hmac.compare_digest(_interpolate(first, at=share.place or 0), share.point)
    ]


def _interpolate(shares: Sequence[Share], *, at: int) -> bytes:
    """Lagrange's polynomial through the shares, in GF(2^8) as AES has it (FIPS 197, 4.2)."""
    result = bytearray(_KEY_BYTES)
    for share in shares:
        weight = 1
        for other in shares:
            if other is not share:
                numerator = at ^ (other.place or 0)
                denominator = (share.place or 0) ^ (other.place or 0)
                weight = _times(weight, _times(numerator, _inverse(denominator)))
        for index, byte in enumerate(share.point):
            result[index] ^= _times(weight, byte)
    return bytes(result)


def _times(a: int, b: int) -> int:
    product = 0
    for _ in range(8):
        product ^= a * (b & 1)
        b >>= 1
        a = (a << 1) ^ (0x11B * (a >> 7))
    return product


def _inverse(a: int) -> int:
    """Return a to the 254th power, its inverse in a field of 256."""
    result = a
    for _ in range(6):
        result = _times(_times(result, result), a)
    return _times(result, result)


def from_vault(texts: Sequence[str]) -> list[bytes]:
    """Return the encrypted shares that Vault gave (base64) as armoured messages."""
    return [_armour(base64.b64decode(text)) for text in texts]


def _armour(message: bytes) -> bytes:
    """OpenPGP's text form (RFC 9580, section 6), which people can paste and mail."""
    body = base64.b64encode(message).decode()
    lines = re.findall(f".{{1,{_ARMOUR_LINE}}}", body)
    checksum = base64.b64encode(_crc24(message).to_bytes(3)).decode()
    begin, end = "-----BEGIN PGP MESSAGE-----", "-----END PGP MESSAGE-----"
    return "\n".join([begin, "", *lines, f"={checksum}", end, ""]).encode()


def _crc24(data: bytes) -> int:
    """The checksum of RFC 9580, section 6.1.1; GnuPG warns where it is missing."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF
