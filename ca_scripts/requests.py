"""Certificate requests of devices: bounded, proven, and only their public key is taken."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca_scripts.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST = 4096  # octets; a P-256 request is under 500
_BEGIN = b"-----BEGIN CERTIFICATE REQUEST-----"


def key_digest(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the SHA-256 of the SubjectPublicKeyInfo: 32 octets."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def public_key(
    unverified_request: bytes, *, is_known: Callable[[bytes], bool]
) -> ec.EllipticCurvePublicKey:
    """Return the verified P-256 key of a request in PEM or DER.

    `is_known` answers whether a key (by `key_digest`) has been certified or refused before.
    """
    if len(unverified_request) > LARGEST:
        raise Refused("csr_too_large", f"The request is over {LARGEST} octets: send only a key.")
    request = _parse(unverified_request)
    key = _key(request)
    try:
        proven = request.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        proven = False
    if not proven:
        raise Refused("csr_not_proven", "The request is not signed by its own key: sign it again.")
    if is_known(key_digest(key)):
        raise Refused("csr_key_reused", "This key was used before: make a new one.")
    return key


def _parse(data: bytes) -> x509.CertificateSigningRequest:
    try:
        if not data.lstrip().startswith(b"-----"):
            return x509.load_der_x509_csr(data)
        text = data.strip()
        if not text.startswith(_BEGIN) or text.count(b"-----BEGIN") != 1:
            raise Refused("csr_malformed", "Send exactly one request in PEM or DER.")
        return x509.load_pem_x509_csr(text)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused("csr_malformed", "This is no PKCS#10 request: send PEM or DER.") from error


def _key(request: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    try:
        key = request.public_key()
        algorithm = request.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused("csr_key_type", "This kind of key is not taken: use EC P-256.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused("csr_key_type", "This kind of key is not taken: use EC P-256.")
    if not isinstance(algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise Refused("csr_weak_hash", "The request is signed with a weak hash: use SHA-256.")
    return key
