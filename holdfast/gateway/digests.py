"""Content-Digest (RFC 9530), checked while the body flows by."""

from __future__ import annotations

import hashlib
import hmac

from .refusals import Code, Refused
from .structured import Item, parse_dictionary

_ALGORITHMS = {"sha-256": ("sha256", 32), "sha-512": ("sha512", 64)}


class BodyCheck:
    """The digests that a request promises for its body, and the body so far.

    Memory is bounded: only the state of the hashes is kept. Without a body, `verify` alone
    compares with the digest of nothing.
    """

    def __init__(self, content_digest: str | None, *, longest: int) -> None:
        """Read the field. Raises Refused when it is absent, malformed or of another algorithm."""
        if content_digest is None:
            raise Refused(Code.DIGEST_MISSING)
        self._left = longest
        self._promised = []
        for name, member in parse_dictionary(content_digest).items():
            if name not in _ALGORITHMS:
                raise Refused(Code.DIGEST_ALGORITHM)
            algorithm, size = _ALGORITHMS[name]
            if (
                not isinstance(member, Item)
                or member.parameters
                or not isinstance(member.value, bytes)
                or len(member.value) != size
            ):
                raise Refused(Code.FIELD_MALFORMED)
            self._promised.append((hashlib.new(algorithm), member.value))

    def update(self, chunk: bytes) -> None:
        """Take the next part of the body. Raises Refused as soon as there are too many bytes."""
        self._left -= len(chunk)
        if self._left < 0:
            raise Refused(Code.BODY_TOO_LARGE)
        for running, _ in self._promised:
            running.update(chunk)

    def verify(self) -> None:
        """Compare at the end of the body: every digest that was sent must be right."""
        right = [hmac.compare_digest(have.digest(), want) for have, want in self._promised]
        if not all(right):
            raise Refused(Code.DIGEST_WRONG)
