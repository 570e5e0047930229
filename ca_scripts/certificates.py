"""Issue certificates of devices: recorded, signed, checked, and only then given back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca_scripts import profiles, serials
from ca_scripts.refusals import Refused
from ca_scripts.signing import sign_certificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta
    from uuid import UUID

    from cryptography.hazmat.primitives.asymmetric import ec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate of an authority and the key that signs for it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_root(
    hierarchy: profiles.Hierarchy, key: ec.EllipticCurvePrivateKey, *, now: datetime
) -> Authority:
    """Return the self-signed root of `hierarchy`."""
    name = _name(f"Holdfast {hierarchy.name} root")
    life, serial = hierarchy.root_life, serials.new(instance=1)
    builder = _builder(name, name, key.public_key(), now=now, life=life, serial=serial)
    builder = _authority(builder, path_length=1)
    return Authority(certificate=sign_certificate(builder, key), key=key)


def make_issuing(
    hierarchy: profiles.Hierarchy,
    root: Authority,
    key: ec.EllipticCurvePrivateKey,
    *,
    now: datetime,
) -> Authority:
    """Return an issuing authority below `root`: no authority below it, clients only."""
    name = _name(f"Holdfast {hierarchy.name} issuing")
    issuer = root.certificate
    life, serial = hierarchy.issuing_life, serials.new(instance=1)
    builder = _builder(name, issuer.subject, key.public_key(), now=now, life=life, serial=serial)
    builder = _authority(builder, path_length=0)
    builder = builder.add_extension(_CLIENTS, critical=False)
    builder = builder.add_extension(_authority_key(issuer), critical=False)
    certificate = sign_certificate(builder, root.key)
    check(certificate, issuer)
    return Authority(certificate=certificate, key=key)


def issue(
    hierarchy: profiles.Hierarchy,
    authority: Authority,
    key: ec.EllipticCurvePublicKey,
    *,
    device: UUID,
    instance: int,
    now: datetime,
    record: Callable[[int], None],
) -> x509.Certificate:
    """Return a device's certificate; `record` keeps its serial before anything is signed.

    A life beyond the issuer's is refused, not cut: a cut would hide an overdue rollover.
    """
    issuer = authority.certificate
    if now + hierarchy.leaf_life > issuer.not_valid_after_utc:
        raise Refused("outlives_issuer", "The issuing authority ends too soon: roll it over.")
    if now - profiles.BACKDATE < issuer.not_valid_before_utc:
        raise Refused("issuer_not_valid", "The issuing authority is not valid yet: wait.")
    serial = serials.new(instance=instance)
    builder = _builder(
        _name(str(device)), issuer.subject, key, now=now, life=hierarchy.leaf_life, serial=serial
    )
    usages = {"digital_signature": True, "key_cert_sign": False, "crl_sign": False}
    name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(device.urn)])
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(**usages), critical=True)
        .add_extension(_CLIENTS, critical=False)
        .add_extension(name, critical=False)
        .add_extension(_authority_key(issuer), critical=False)
    )
    record(serial)
    certificate = sign_certificate(builder, authority.key)
    check(certificate, issuer)
    return certificate


def check(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Refuse a certificate that `issuer` did not sign, or may not have signed."""
    if certificate.issuer != issuer.subject:
        raise Refused("issuer_name", "The certificate names another issuer: use its own.")
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise Refused("issuer_signature", "The issuer did not sign this: use its own.") from error
    try:
        named = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        below = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        above = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        subject_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound as error:
        raise Refused("extension_missing", f"An extension is missing: {error}. Reissue.") from error
    if named.key_identifier != subject_key.digest:
        raise Refused("issuer_key", "The certificate names another key of its issuer: reissue it.")
    if not above.ca or (below.ca and above.path_length == 0):
        raise Refused("path_length", "This issuer may not sign an authority: use the root.")
    if certificate.not_valid_after_utc > issuer.not_valid_after_utc:
        raise Refused("outlives_issuer", "The certificate outlives its issuer: roll that over.")


_CLIENTS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    now: datetime,
    life: timedelta,
    serial: int,
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    return (
        x509.CertificateBuilder(issuer, subject, key, serial)
        .not_valid_before(now - profiles.BACKDATE)
        .not_valid_after(now + life)
        .add_extension(identifier, critical=False)
    )


def _authority(builder: x509.CertificateBuilder, *, path_length: int) -> x509.CertificateBuilder:
    usages = {"digital_signature": False, "key_cert_sign": True, "crl_sign": True}
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    return builder.add_extension(constraints, critical=True).add_extension(
        _usage(**usages), critical=True
    )


def _usage(*, digital_signature: bool, key_cert_sign: bool, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
