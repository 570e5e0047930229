"""When a certificate is renewed: a window as in RFC 9773, spread by the certificate itself."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from cryptography import x509

AHEAD = timedelta(days=61)  # two months before expiry
SPREAD = timedelta(days=14)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """The suggested window, and the moment in it that is this certificate's own."""

    start: datetime
    end: datetime
    moment: datetime


def window(certificate: x509.Certificate) -> Window:
    """Return when to renew; for short lives the last third, and its first quarter as window."""
    expiry = certificate.not_valid_after_utc
    ahead = min(AHEAD, (expiry - certificate.not_valid_before_utc) / 3)
    spread = min(SPREAD, ahead / 4)
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    start = expiry - ahead
    return Window(start=start, end=start + spread, moment=start + spread * share)
