"""A request as the verifying parts see it: what came in, unparsed and unverified."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .refusals import Code, Refused

_METHOD = re.compile(r"[A-Z]{1,16}")
_AUTHORITY = re.compile(r"(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PATH = re.compile(r"/[!\"$->@-~]{0,4095}")  # printable, without space, "#" and "?"
_QUERY = re.compile(r"[!\"$-~]{0,4095}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """An unverified request; the target as it came over the wire, nothing decoded.

    `headers` are all field lines in order, names in lower case. `query` is what stands behind
    the question mark, None without one. `peer` is the address that the TCP connection comes
    from, `tls_verify` and `tls_certificate` what nginx says in $ssl_client_verify and
    $ssl_client_escaped_cert: these three must come from nginx, never from a header as received.
    """

    method: str
    authority: str
    path: str
    query: str | None = None
    headers: tuple[tuple[str, str], ...]
    has_body: bool = False
    peer: str = ""
    tls_verify: str = "NONE"
    tls_certificate: str = field(default="", repr=False)

    def header(self, name: str) -> str | None:
        """Return the only field line of that name. Raises Refused when there are more."""
        found: str | None = None
        for key, value in self.headers:
            if key == name:
                if found is not None:
                    raise Refused(Code.HEADER_DOUBLED)
                found = value.strip(" \t")
        return found

    def has(self, name: str) -> bool:
        """Whether there is a field line of that name, however often."""
        return any(key == name for key, _ in self.headers)

    def normal_authority(self) -> str:
        """Return the authority as it is signed: lower case, no default port (RFC 9421, 2.2.3)."""
        return self.authority.lower().removesuffix(":443")

    def check_shape(self) -> None:
        """Refuse a target that could not stand in one line of a signature base."""
        if not (
            _METHOD.fullmatch(self.method)
            and _AUTHORITY.fullmatch(self.authority.lower())
            and _PATH.fullmatch(self.path)
            and (self.query is None or _QUERY.fullmatch(self.query))
        ):
            raise Refused(Code.REQUEST_MALFORMED)
