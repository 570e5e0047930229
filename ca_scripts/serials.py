"""Serial numbers: one instance byte, then 136 random bits (RFC 5280, section 4.1.2.2)."""

from __future__ import annotations

import secrets

from ca_scripts.refusals import Refused

RANDOM_BITS = 136
HIGHEST_INSTANCE = 127  # the topmost bit stays clear: positive, and always exactly 18 octets


def new(*, instance: int) -> int:
    """Return a fresh serial of the signer with the number `instance` (1 to 127)."""
    if not 1 <= instance <= HIGHEST_INSTANCE:
        raise Refused("serial_instance", f"Instance {instance} is not in 1 to {HIGHEST_INSTANCE}.")
    return instance << RANDOM_BITS | secrets.randbits(RANDOM_BITS)


def instance_of(serial: int) -> int:
    """Return which signer made `serial`; refuse what none of them can have made."""
    instance = serial >> RANDOM_BITS
    if not 1 <= instance <= HIGHEST_INSTANCE:
        raise Refused("serial_foreign", "This serial was not made here: look at its issuer.")
    return instance
