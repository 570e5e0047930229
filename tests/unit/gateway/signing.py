"""A device as the tests need it: it signs what it is told to, wrong things too."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from holdfast.gateway import signatures, totp
from holdfast.gateway.authentication import Authenticated, Policy, authenticate
from holdfast.gateway.certificates import Certificate, Mode, Networks, Status, Trust, thumbprint_of
from holdfast.gateway.requests import Request

NOW = 1_800_000_010.0  # ten seconds into a step
AUTHORITY = "api.example.org"
DER = b"0\x82 what a certificate would be, in DER"
NONCE = "abcdefghijklmnopqrstuv"
SECRET = bytes(range(32))
API_KEY = totp.derive_key(SECRET, totp.Purpose.API)
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def raw(key: ec.EllipticCurvePrivateKey, base: str) -> bytes:
    r, s = decode_dss_signature(key.sign(base.encode(), ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def digest_of(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def code_at(now: float, key: bytes = API_KEY) -> str:
    return totp.code_of(key, int(now // totp.STEP))


@dataclass
class Message:
    """What is signed and how; every field may be bent before `request` builds the request."""

    method: str = "GET"
    authority: str = AUTHORITY
    path: str = "/v1/whoami"
    query: str | None = None
    body: bytes | None = None
    code: str = field(default_factory=lambda: code_at(NOW))
    label: str = signatures.LABEL
    key: ec.EllipticCurvePrivateKey = KEY
    components: list[str] | None = None
    parameters: dict[str, str | int] = field(
        default_factory=lambda: {
            "created": int(NOW),
            "keyid": thumbprint_of(DER),
            "alg": signatures.ALGORITHM,
            "nonce": NONCE,
            "tag": signatures.TAG,
        }
    )

    def request(self, **changed: object) -> Request:
        values = {
            "@method": self.method,
            "@authority": self.authority,
            "@path": self.path,
            "@query": f"?{self.query or ''}",
            "@target-uri": f"https://{self.authority}{self.path}"
            + (f"?{self.query}" if self.query is not None else ""),
            signatures.TOTP_HEADER: self.code,
        }
        headers = [(signatures.TOTP_HEADER, self.code)]
        names = ["@method", "@authority", "@path", "@query", signatures.TOTP_HEADER]
        if self.body is not None:
            headers.append(("content-digest", digest_of(self.body)))
            values["content-digest"] = digest_of(self.body)
            names.append("content-digest")
        covered = [f'"{name}"' for name in names] if self.components is None else self.components
        shown = "".join(
            f';{key}="{value}"' if isinstance(value, str) else f";{key}={value}"
            for key, value in self.parameters.items()
        )
        member = f"({' '.join(covered)}){shown}"
        lines = [f"{name}: {values.get(name.split(';')[0].strip(chr(34)), '')}" for name in covered]
        base = "\n".join([*lines, f'"@signature-params": {member}'])
        signature = base64.b64encode(raw(self.key, base)).decode()
        headers += [
            ("signature-input", f"{self.label}={member}"),
            ("signature", f"{self.label}=:{signature}:"),
        ]
        request = Request(
            method=self.method,
            authority=self.authority,
            path=self.path,
            query=self.query,
            headers=tuple(headers),
            has_body=bool(self.body),
        )
        return replace(request, **changed)


def with_header(request: Request, name: str, value: str | None) -> Request:
    """The same request with that field line instead of what it had; None takes it away."""
    others = tuple(line for line in request.headers if line[0] != name)
    return replace(request, headers=others if value is None else (*others, (name, value)))


def certificate(**changed: object) -> Certificate:
    now = dt.datetime.fromtimestamp(NOW, tz=dt.UTC)
    known = Certificate(
        thumbprint=thumbprint_of(DER),
        device="device-1",
        status=Status.ACTIVE,
        not_before=now - dt.timedelta(days=1),
        not_after=now + dt.timedelta(days=1),
        public_key=public(KEY),
        totp_key=API_KEY,
    )
    return replace(known, **changed)


class Inventory:
    def __init__(self, *known: Certificate) -> None:
        self.known = {each.thumbprint: each for each in known}
        self.asked = 0

    async def find(self, thumbprint: str) -> Certificate | None:
        self.asked += 1
        return self.known.get(thumbprint)


class Nonces:
    def __init__(self) -> None:
        self.burnt: dict[tuple[str, str], int] = {}

    async def burn(self, who: str, nonce: str, *, until: int) -> bool:
        if (who, nonce) in self.burnt:
            return False
        self.burnt[who, nonce] = until
        return True


def drive(coroutine: object) -> Authenticated:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


SIGNATURE_ALONE = Trust(mode=Mode.SIGNATURE)
MUTUAL = Trust(mode=Mode.MUTUAL_TLS)
FORWARDED = Trust(mode=Mode.FORWARDED, proxies=Networks(["10.1.0.0/16", "fd00::/8"]))


def attempt(
    request: Request,
    *,
    trust: Trust = SIGNATURE_ALONE,
    known: tuple[Certificate, ...] | None = None,
    nonces: Nonces | None = None,
    now: float = NOW,
) -> Authenticated:
    policy = Policy(trust=trust, authorities=frozenset({AUTHORITY}))
    inventory = Inventory(*((certificate(),) if known is None else known))
    store = Nonces() if nonces is None else nonces
    return drive(authenticate(request, policy=policy, inventory=inventory, nonces=store, now=now))
