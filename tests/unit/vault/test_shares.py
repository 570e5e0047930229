"""Shares are recognised, kept out of sight, and known to belong together."""

from __future__ import annotations

import base64
import random
from itertools import combinations

import pytest

from holdfast.vault.gpg import keyring
from holdfast.vault.shares import BadShare, Share, from_vault, require_distinct, strangers
from tests.people import make

KEY = bytes(range(100, 132))


def times(a: int, b: int) -> int:
    """Multiply in AES's field by logarithms, unlike the code under test."""
    if not a or not b:
        return 0
    powers = [1]
    while len(powers) < 255:
        doubled = powers[-1] << 1
        powers.append((doubled ^ powers[-1] ^ (0x11B if doubled > 255 else 0)) & 0xFF)
    return powers[(powers.index(a) + powers.index(b)) % 255]


def split(secret: bytes, *, number: int, threshold: int, seed: int = 1) -> list[Share]:
    """Split a secret as Vault does: a polynomial for each byte."""
    source = random.Random(seed)  # noqa: S311  (a fixed one, to be tested with)
    polynomials = [[byte, *source.randbytes(threshold - 1)] for byte in secret]
    shares = []
    for place in source.sample(range(1, 256), number):
        value = bytearray()
        for polynomial in polynomials:
            result = 0
            for coefficient in reversed(polynomial):
                result = times(result, place) ^ coefficient
            value.append(result)
        shares.append(Share(f"owner{len(shares)}", bytes([*value, place])))
    return shares


@pytest.mark.parametrize("threshold", [2, 3, 5])
def test_shares_of_one_splitting_fit(threshold: int) -> None:
    shares = split(KEY, number=5, threshold=threshold)
    for chosen in combinations(shares, min(5, threshold + 1)):
        assert strangers(chosen, threshold=threshold) == []


def test_a_share_that_does_not_belong_is_found() -> None:
    shares = split(KEY, number=5, threshold=3)
    [*_, other] = split(KEY, number=5, threshold=3, seed=2)
    bad = Share("mallory", other.point + bytes([shares[4].place or 0]))
    assert strangers([*shares[:4], bad], threshold=3) == ["mallory"]


def test_a_single_wrong_byte_is_found() -> None:
    shares = split(KEY, number=4, threshold=3)
    point = bytearray(shares[3].point)
    point[-1] ^= 1
    bad = Share("mallory", bytes(point) + bytes([shares[3].place or 0]))
    assert strangers([*shares[:3], bad], threshold=3) == ["mallory"]


def test_a_share_given_twice() -> None:
    one, two = split(KEY, number=2, threshold=2)
    with pytest.raises(BadShare, match="owner0 and ben gave the same share"):
        require_distinct([one, two, Share("ben", bytes.fromhex(one.secret()))])


def test_shares_at_one_place() -> None:
    one, _ = split(KEY, number=2, threshold=2)
    other = Share("ben", bytes(32) + bytes([one.place or 0]))
    with pytest.raises(BadShare, match="owner0 and ben are not of the same splitting"):
        require_distinct([one, other])


@pytest.mark.parametrize("size", [32, 33])
def test_reading(size: int) -> None:
    value = bytes(range(size))
    for text in (value.hex().encode(), value.hex().upper().encode(), base64.b64encode(value)):
        assert Share.parse(b"\n " + text + b"\r\n", owner="anna").secret() == value.hex()


@pytest.mark.parametrize(
    "text",
    [b"", b"hello", b"ab" * 31, b"ab" * 34, b"ab" * 33 + b"c", b"\xff\xfe", b"zz" * 33, b"ab ab"],
)
def test_what_is_no_share(text: bytes) -> None:
    with pytest.raises(BadShare, match="anna: this is no share") as raised:
        Share.parse(text, owner="anna")
    assert text.decode(errors="replace") not in str(raised.value) or not text


def test_the_encrypted_share_is_recognised() -> None:
    message = from_vault([base64.b64encode(b"whatever").decode()])[0]
    with pytest.raises(BadShare, match="decrypt it first"):
        Share.parse(message, owner="anna")


def test_a_share_is_not_shown() -> None:
    share = Share.parse(b"ab" * 33, owner="anna")
    for shown in (repr(share), str(share), f"{share}", repr([share])):
        assert "ab" * 4 not in shown
        assert "\\xab" not in shown
    assert "anna" in repr(share)


def test_armour_is_what_gpg_reads() -> None:
    """Of every length, and gpg has nothing to say about its form."""
    anna = make("anna")
    for size in (1, 47, 48, 49, 1000):
        plain = bytes(size)
        with keyring(anna.secret) as gpg:
            to = ("--recipient", anna.fingerprint)
            message = gpg.must(*to, "--encrypt", stdin=plain).out
            [armoured] = from_vault([base64.b64encode(message).decode()])
            assert gpg.decrypt(armoured) == plain
            assert "CRC" not in gpg.run("--decrypt", stdin=armoured).words
