"""The certification authorities that the operators hold, offline.

Their keys lie in the installation's folder, encrypted to every operator's PGP key; each operator
alone can open them, and they are in the clear in this process's memory only, while it signs.

- `operators-ca` signs Vault's own certificates, and those by which operators log in;
- `root-ca` signs Vault's intermediates, and nothing else. It is what services trust.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Literal, get_args

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from holdfast.errors import Error
from holdfast.files import private_folder, write_atomic
from holdfast.vault.gpg import keyring

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from holdfast.vault.holders import GpgHolder
    from holdfast.vault.operators import Operator

Kind = Literal["operators-ca", "root-ca"]

# Signed by the operators, who are people: long enough that a Vault that stayed sealed comes back.
LISTENER = timedelta(days=90)
LOGIN = timedelta(hours=1)
OPERATORS_UNIT = "holdfast-operator"
_VALIDITY = {"operators-ca": timedelta(days=5 * 365), "root-ca": timedelta(days=10 * 365)}
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certification authority whose key is open."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign_listener(
        self,
        request: bytes,
        *,
        names: Sequence[str],
        addresses: Sequence[str] = (),
        validity: timedelta = LISTENER,
    ) -> bytes:
        """Return a server certificate for the P-256 key in the PEM `request`; nothing else of it.

        Raises Error when the request is not signed by its own key, for another kind of key, or for
        a validity above 90 days.
        """
        if not timedelta(0) < validity <= LISTENER:
            raise Error(f"A listener's certificate is valid for 1 to {LISTENER.days} days.")
        alternative = [
            *(x509.DNSName(name) for name in names),
            *(x509.IPAddress(ip_address(address)) for address in addresses),
        ]
        return self._sign(
            self._leaf(_requested_key(request), validity)
            .subject_name(x509.Name([]))
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            # Critical, because the subject is empty (RFC 5280, section 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName(alternative), critical=True)
        )

    def sign_operator(self, key: ec.EllipticCurvePublicKey, *, name: str) -> bytes:
        """Return a client certificate by which the operator `name` logs in, once."""
        subject = [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, OPERATORS_UNIT),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
        return self._sign(
            self._leaf(key, LOGIN)
            .subject_name(x509.Name(subject))
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )

    def sign_intermediate(self, request: bytes, *, domain: str, validity: timedelta) -> bytes:
        """Return a CA certificate for the P-256 key in `request`, for names below `domain` only."""
        key = _requested_key(request)
        common_name = x509.NameAttribute(NameOID.COMMON_NAME, f"{domain} servers")
        return self._sign(
            self._begin(key, validity)
            .subject_name(x509.Name([common_name]))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(_below(domain), critical=True)
        )

    def _leaf(self, key: ec.EllipticCurvePublicKey, validity: timedelta) -> x509.CertificateBuilder:
        return (
            self._begin(key, validity)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
        )

    def _begin(
        self, key: ec.EllipticCurvePublicKey, validity: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder()
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(min(now + validity, self.certificate.not_valid_after_utc))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        signed = builder.sign(self.key, hashes.SHA384())
        return signed.public_bytes(serialization.Encoding.PEM)


def ensure_authorities(
    folder: Path, *, installation: str, domain: str, operators: Sequence[Operator]
) -> None:
    """Make each authority that is not there yet; its key goes to `operators`, encrypted.

    Killed in between, it begins again with a new key, because nothing was signed yet.
    """
    private_folder(folder)
    for kind in get_args(Kind):
        if not (folder / f"{kind}.crt").exists():
            _make(folder, kind, installation=installation, domain=domain, operators=operators)


def certificate(folder: Path, kind: Kind) -> x509.Certificate:
    """Return an authority's certificate. Raises Error when it is missing or damaged."""
    path = folder / f"{kind}.crt"
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise Error(
            f"{path} is missing or damaged; put it back from where the operators keep copies of "
            f"the folder {folder.name}/."
        ) from error


def unlock(folder: Path, kind: Kind, holder: GpgHolder) -> Authority:
    """Open an authority's key with an operator's. Raises Error."""
    found = certificate(folder, kind)
    path = folder / f"{kind}.key.asc"
    try:
        opened = holder.decrypt(path.read_bytes())
    except FileNotFoundError as error:
        raise Error(
            f"{path} is missing; put it back from where the operators keep copies of the folder "
            f"{folder.name}/."
        ) from error
    key = serialization.load_pem_private_key(opened, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != found.public_key():
        raise Error(
            f"{path} is not the key of {kind}.crt: one of them was replaced. Find out by whom, and "
            "put back the operators' copies."
        )
    return Authority(certificate=found, key=key)


def reencrypt(folder: Path, holder: GpgHolder, *, operators: Sequence[Operator]) -> None:
    """Give the authorities' keys to other `operators`. Who had them may have kept them."""
    for kind in get_args(Kind):
        authority = unlock(folder, kind, holder)
        _write_key(folder, kind, authority.key, operators=operators)


def _make(
    folder: Path, kind: Kind, *, installation: str, domain: str, operators: Sequence[Operator]
) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, installation),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{installation} {kind}"),
        ]
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALIDITY[kind])
        .add_extension(
            x509.BasicConstraints(ca=True, path_length=1 if kind == "root-ca" else 0), critical=True
        )
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if kind == "root-ca":
        builder = builder.add_extension(_below(domain), critical=True)
    # The key goes first: without a certificate it counts for nothing.
    _write_key(folder, kind, key, operators=operators)
    made = builder.sign(key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)
    write_atomic(folder / f"{kind}.crt", made)


def _write_key(
    folder: Path, kind: Kind, key: ec.EllipticCurvePrivateKey, *, operators: Sequence[Operator]
) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    recipients = [word for operator in operators for word in ("--recipient", operator.fingerprint)]
    with keyring(*(operator.public for operator in operators)) as gpg:
        closed = gpg.must("--armor", *recipients, "--encrypt", stdin=pem).out
        opens = set(gpg.recipients(closed))
    for operator in operators:
        if not opens & operator.encryption:
            raise Error(f"{operator.name} could not open the key of {kind}; nothing was written.")
    if opens - frozenset().union(*(operator.encryption for operator in operators)):
        raise Error(f"The key of {kind} would open for strangers; nothing was written.")
    write_atomic(folder / f"{kind}.key.asc", closed, mode=0o600)


def _requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    try:
        unverified = x509.load_pem_x509_csr(request)
        proven = unverified.is_signature_valid
        key = unverified.public_key()
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Error(f"This is not a certificate signing request: {error}.") from error
    if not proven:
        raise Error("The certificate signing request is not signed by the key it asks for.")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Error("The certificate signing request must be for a P-256 key.")
    return key


def _below(domain: str) -> x509.NameConstraints:
    """Names below `domain`, and no addresses, which are another kind of name."""
    return x509.NameConstraints(
        permitted_subtrees=[x509.DNSName(domain)],
        excluded_subtrees=[
            x509.IPAddress(ip_network("0.0.0.0/0")),
            x509.IPAddress(ip_network("::/0")),
        ],
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
