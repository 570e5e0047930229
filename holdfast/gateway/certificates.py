"""The certificate that a request comes with, and what the inventory knows of it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from .refusals import Code, Refused
from .signatures import Thumbprint
from .structured import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from .requests import Request

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_FORWARDED = ("client-cert", "client-cert-chain")
_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]{1,8192})-----END CERTIFICATE-----\n?"
)
_LONGEST_ESCAPED = 16384


class Mode(StrEnum):
    """How the certificate of a device reaches us; an installation has exactly one way."""

    MUTUAL_TLS = "mutual-tls"
    FORWARDED = "forwarded"
    SIGNATURE = "signature"


class Status(StrEnum):
    """What the inventory, which is the authority, says of a certificate."""

    ACTIVE = "active"
    TEMPORARY = "temporary"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


_REFUSALS = {
    Status.ACTIVE: Code.CERTIFICATE_NOT_FOR_THIS,
    Status.TEMPORARY: Code.CERTIFICATE_TEMPORARY,
    Status.SUPERSEDED: Code.CERTIFICATE_SUPERSEDED,
    Status.REVOKED: Code.CERTIFICATE_REVOKED,
    Status.EXPIRED: Code.CERTIFICATE_EXPIRED,
    Status.UNKNOWN: Code.KEY_UNKNOWN,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """A certificate as the inventory has it.

    `public_key` is its SubjectPublicKeyInfo in DER, `totp_key` the device's key for codes in
    API calls. Times are aware.
    """

    thumbprint: Thumbprint
    device: str
    status: Status
    not_before: datetime
    not_after: datetime
    public_key: bytes
    totp_key: bytes = field(repr=False)


class Inventory(Protocol):
    """Every certificate that was issued, by thumbprint."""

    async def find(self, thumbprint: Thumbprint) -> Certificate | None:
        """Return what is known of it at this moment, nothing remembered; None if nothing is."""


class Networks:
    """A list of addresses and networks, of both families; IPv4 in IPv6 counts as IPv4."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Read the list. Raises ValueError on a host with bits behind its prefix."""
        self._networks = tuple(_unmapped(ipaddress.ip_network(each)) for each in networks)

    def __bool__(self) -> bool:
        """Whether anything is listed."""
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        """Whether the address is in one of the networks; what is no address never is."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address):
            if found.scope_id is not None:
                return False
            found = found.ipv4_mapped or found
        return any(found in network for network in self._networks)


@dataclass(frozen=True, kw_only=True)
class Trust:
    """The one way in which certificates come, and the proxies that may forward them."""

    mode: Mode
    proxies: Networks = field(default_factory=lambda: Networks(()))

    def __post_init__(self) -> None:
        """Refuse a list of proxies in a mode that has none, and a mode that lacks its list."""
        if (self.mode is Mode.FORWARDED) != bool(self.proxies):
            raise ValueError(
                "proxies are listed in mode 'forwarded' and in no other: "
                "choose that mode, or empty the list"
            )


def presented(request: Request, trust: Trust) -> Thumbprint | None:
    """Return the thumbprint of the certificate that came; None in the mode without one.

    A forwarded certificate from anybody but a listed proxy is refused, not ignored, in every
    mode. Raises Refused.
    """
    listed = request.peer in trust.proxies
    if not listed and (
        trust.mode is Mode.FORWARDED or any(request.has(name) for name in _FORWARDED)
    ):
        raise Refused(Code.FORWARDED_UNLISTED)
    if trust.mode is Mode.SIGNATURE:
        return None
    if trust.mode is Mode.FORWARDED:
        return thumbprint_of(_from_proxy(request))
    return thumbprint_of(_from_nginx(request))


def thumbprint_of(certificate: bytes) -> Thumbprint:
    """Return x5t#S256 of a certificate in DER."""
    digest = hashlib.sha256(certificate).digest()
    return Thumbprint(base64.urlsafe_b64encode(digest).decode().rstrip("="))


def check(certificate: Certificate, *, accepted: Collection[Status], now: datetime) -> None:
    """Refuse a certificate that is not in an accepted state, or out of its time, now."""
    if certificate.status not in accepted:
        raise Refused(_REFUSALS[certificate.status])
    if now < certificate.not_before:
        raise Refused(Code.CERTIFICATE_NOT_YET_VALID)
    if now > certificate.not_after:
        raise Refused(Code.CERTIFICATE_EXPIRED)


def _from_proxy(request: Request) -> bytes:
    """RFC 9440, section 2: one Byte Sequence, in one field line."""
    value = request.header("client-cert")
    if value is None:
        raise Refused(Code.CERTIFICATE_MISSING)
    return parse_bytes(value) or _no_certificate()


def _from_nginx(request: Request) -> bytes:
    if request.tls_verify == "NONE" or not request.tls_certificate:
        raise Refused(Code.CERTIFICATE_MISSING)
    if request.tls_verify != "SUCCESS":
        raise Refused(Code.CERTIFICATE_UNVERIFIED)
    if len(request.tls_certificate) > _LONGEST_ESCAPED:
        _no_certificate()
    found = _PEM.fullmatch(unquote(request.tls_certificate))
    if found is None:
        return _no_certificate()
    try:
        return base64.b64decode(found[1].replace("\n", ""), validate=True) or _no_certificate()
    except binascii.Error:
        return _no_certificate()


def _no_certificate() -> bytes:
    raise Refused(Code.CERTIFICATE_MALFORMED) from None


def _unmapped(network: _Network) -> _Network:
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        address = int(network.network_address) & 0xFFFF_FFFF
        return ipaddress.IPv4Network((address, network.prefixlen - 96))
    return network
