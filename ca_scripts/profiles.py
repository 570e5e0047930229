"""The two hierarchies as data.

Issuing authorities are constrained by extended key usage and not by name: devices are named by
`urn:uuid:`, which has no host, and RFC 5280 (4.2.1.10) constrains only the host of a URI.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta

BACKDATE = timedelta(minutes=5)  # clocks of phones are slow more often than wrong


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hierarchy:
    """One root, one issuing authority below it, and the life of what they sign."""

    name: str
    leaf_life: timedelta
    issuing_life: timedelta = timedelta(days=5 * 365)
    root_life: timedelta = timedelta(days=15 * 365)


ONBOARDING = Hierarchy(name="onboarding", leaf_life=timedelta(hours=1))
PRODUCTION = Hierarchy(name="production", leaf_life=timedelta(days=365))
