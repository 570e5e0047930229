"""Keys that sign: in an encrypted file, or elsewhere, behind `cryptography`'s own interface.

Its builders take any `EllipticCurvePrivateKey` that can sign. What they built is verified before
it leaves: a key elsewhere may answer for another key, or not at all.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NoReturn, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ca_scripts.refusals import Refused
from holdfast.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509
    from cryptography.utils import Buffer


class KeyElsewhere(ec.EllipticCurvePrivateKey):
    """A private key that never comes here; `sign_digest` asks where it is.

    Args:
        public_key: its public half, on P-256 or P-384.
        sign_digest: takes a digest (SHA-256 or SHA-384, by the curve), returns an ECDSA signature
            in DER (RFC 3279, section 2.2.3).
    """

    def __init__(
        self, public_key: ec.EllipticCurvePublicKey, sign_digest: Callable[[bytes], bytes]
    ) -> None:
        hash_for(public_key)
        self._public_key = public_key
        self._sign_digest = sign_digest

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Return the signature in DER; the hash must be the one that belongs to the curve."""
        wanted = hash_for(self._public_key)
        if getattr(signature_algorithm.algorithm, "name", None) != wanted.name:
            raise Refused("hash_wrong", f"This key signs with {wanted.name} only.")
        return self._sign_digest(hashlib.new(wanted.name, data).digest())

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve of the key."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """The size of the key in bits."""
        return self._public_key.key_size

    def exchange(self, *_arguments: object) -> NoReturn:
        """Refuse: this key only signs."""
        raise Refused("key_elsewhere", "This key only signs.")

    def private_bytes(self, *_arguments: object) -> NoReturn:
        """Refuse: the private half is not here."""
        raise Refused("key_elsewhere", "The private half of this key cannot be had.")

    def private_numbers(self) -> NoReturn:
        """Refuse: the private half is not here."""
        raise Refused("key_elsewhere", "The private half of this key cannot be had.")

    def __copy__(self) -> Self:
        """Return the same: it has no state of its own."""
        return self

    def __deepcopy__(self, _memo: dict[int, object]) -> Self:
        """Return the same: it has no state of its own."""
        return self


def sign_certificate(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """Sign what `builder` holds with `key`; the result is verified."""
    certificate = builder.sign(key, hash_for(key.public_key()))
    _verify(certificate.signature, certificate.tbs_certificate_bytes, key.public_key())
    return certificate


def sign_crl(
    builder: x509.CertificateRevocationListBuilder, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateRevocationList:
    """Sign a revocation list with `key`; the result is verified."""
    crl = builder.sign(key, hash_for(key.public_key()))
    _verify(crl.signature, crl.tbs_certlist_bytes, key.public_key())
    return crl


def save_key(path: Path, key: ec.EllipticCurvePrivateKey, *, passphrase: bytes) -> None:
    """Write the key encrypted (PKCS#8), whole, for its owner alone."""
    if not passphrase:
        raise Refused("key_passphrase", "A key file needs a passphrase: give one.")
    encryption = BestAvailableEncryption(passphrase)
    write_atomic(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), mode=0o600)


def load_key(path: Path, *, passphrase: bytes) -> ec.EllipticCurvePrivateKey:
    """Open an encrypted key file; one that others can read, or in the clear, is refused."""
    if path.stat().st_mode & 0o077:
        raise Refused("key_permissions", f"Others can read {path}: chmod 600 it, and replace it.")
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase)
    except TypeError as error:
        raise Refused("key_not_encrypted", f"{path} is not encrypted: replace the key.") from error
    except ValueError as error:
        raise Refused("key_unreadable", f"{path} does not open: check the passphrase.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Refused("key_type", f"{path} holds no EC key: use P-256 or P-384.")
    hash_for(key.public_key())
    return key


def hash_for(key: ec.EllipticCurvePublicKey) -> hashes.SHA256 | hashes.SHA384:
    """Return the hash that belongs to the curve of `key`."""
    if isinstance(key.curve, ec.SECP256R1):
        return hashes.SHA256()
    if isinstance(key.curve, ec.SECP384R1):
        return hashes.SHA384()
    raise Refused("key_type", "Authorities sign with P-256 or P-384 only.")


def _verify(signature: bytes, signed: bytes, key: ec.EllipticCurvePublicKey) -> None:
    try:
        key.verify(signature, signed, ec.ECDSA(hash_for(key)))
    except InvalidSignature as error:
        message = "The signing key answered a signature that is not its own: check the backend."
        raise Refused("signature_wrong", message) from error
