"""Who a request comes from, proven by its signature, its code and the inventory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from . import certificates, signatures, totp
from .certificates import Certificate, Inventory, Status, Trust
from .digests import BodyCheck
from .refusals import Code, Refused

if TYPE_CHECKING:
    from .requests import Request
    from .signatures import Thumbprint


class Nonces(Protocol):
    """The nonces that were used, shared by all gateways of an installation."""

    async def burn(self, who: Thumbprint, nonce: str, *, until: int) -> bool:
        """Use a nonce up, in one atomic statement; False if it was used before.

        It may be forgotten after `until` (seconds of the epoch), not earlier.
        """


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What an installation demands. `authorities` are its own names, as they are signed."""

    trust: Trust
    authorities: frozenset[str]
    accepted: frozenset[Status] = frozenset({Status.ACTIVE})
    longest_body: int = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Authenticated:
    """A request whose sender is proven.

    Its body is not: whoever reads it passes all of it through `body` and calls `body.verify()`
    before anything acts on it. `totp_step` is for callers that take a code only once.
    """

    device: str
    certificate: Certificate
    nonce: str
    created: int
    totp_step: int
    body: BodyCheck | None = field(repr=False)


async def authenticate(
    request: Request, *, policy: Policy, inventory: Inventory, nonces: Nonces, now: float
) -> Authenticated:
    """Prove who sent a request, cheapest steps first. Raises Refused; `now` is epoch seconds.

    1. The target is ours, and the certificate comes the way it should.
    2. The signature is well-formed, covers what it must, and is in time.
    3. The inventory knows the certificate, and it is good at this moment.
    4. The signature holds.
    5. The nonce is burnt: a signed message is used up even if its code turns out wrong.
    6. The code is the one of now.
    """
    if request.normal_authority() not in policy.authorities:
        raise Refused(Code.AUTHORITY_FOREIGN)
    presented = certificates.presented(request, policy.trust)
    claim = signatures.read_claim(request, now=now)
    if presented is not None and presented != claim.keyid:
        raise Refused(Code.KEY_OTHER)
    digest = request.header("content-digest")
    body = None
    if request.has_body or digest is not None:
        body = BodyCheck(digest, longest=policy.longest_body)
        if not request.has_body:
            body.verify()

    certificate = await inventory.find(claim.keyid)
    if certificate is None or certificate.thumbprint != claim.keyid:
        raise Refused(Code.KEY_UNKNOWN)
    certificates.check(
        certificate, accepted=policy.accepted, now=datetime.fromtimestamp(now, tz=UTC)
    )
    verified = signatures.verify(claim, certificate.public_key)
    # The second after the last one in which `created` is still in the window.
    until = verified.created + signatures.WINDOW + 1
    if not await nonces.burn(verified.who, verified.nonce, until=until):
        raise Refused(Code.NONCE_USED)
    # Covered by the signature, hence there.
    code = request.header(signatures.TOTP_HEADER) or ""
    step = totp.verify(certificate.totp_key, code, now=now)
    return Authenticated(
        device=certificate.device,
        certificate=certificate,
        nonce=verified.nonce,
        created=verified.created,
        totp_step=step,
        body=body,
    )
