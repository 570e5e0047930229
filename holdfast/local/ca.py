"""The throw-away certification authority of a local installation.

It signs server certificates only, for names below the installation's domain and for addresses in
the networks it was made for (none, if nothing else is said), until Vault does. Its key lies
unencrypted in the installation's state folder: trust the root for nothing else.

A server keeps its key to itself and sends a certificate signing request. Only the public key is
taken from that; names, addresses and validity are the operator's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from holdfast.errors import Error
from holdfast.files import private_folder, write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Network = IPv4Network | IPv6Network

ROOT_VALIDITY = timedelta(days=730)
MAX_VALIDITY = timedelta(days=90)

# A root that is closer to its end than this cannot sign a whole certificate: it is made anew.
_ROOT_RESERVE = MAX_VALIDITY
_CLOCK_SKEW = timedelta(minutes=5)
_EVERY_ADDRESS = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})+")
_NOTICE = """\
THROW-AWAY: the certification authority of a Holdfast installation on this machine.
root.key is not encrypted. Trust root.crt for trying this installation, and for nothing else.
"""


@dataclass(frozen=True, kw_only=True)
class LocalCA:
    """A root on the operator's machine; `folder` holds root.crt and root.key."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def root(self) -> Path:
        """The file that clients are to trust."""
        return self.folder / "root.crt"


def ensure_ca(folder: Path, *, name: str, domain: str, addresses: Iterable[str] = ()) -> LocalCA:
    """Return the CA in `folder`, made first where it is missing or about to expire.

    It can be killed at any point and run again. `name` is the installation's and goes into the
    root's subject; only names below `domain` and addresses in the networks `addresses` can be
    signed, by the root's own name constraints (RFC 5280, section 4.2.1.10). Raises Error when the
    folder holds the CA of another installation, domain or networks, or one that is damaged.
    """
    _require_host_name(domain)
    networks = frozenset(_network(text) for text in addresses)
    private_folder(folder)
    if not (folder / "README").exists():
        write_atomic(folder / "README", _NOTICE)
    if (folder / "root.crt").exists():
        ca = load_ca(folder)
        found = (ca.certificate.subject, _domain(ca), _networks(ca))
        if found != (_subject(name), domain, networks):
            raise Error(
                f"{folder} holds the certification authority of another installation or domain"
                f" ({ca.certificate.subject.rfc4514_string()}, {_domain(ca)},"
                f" {_told(_networks(ca))}). Remove that folder to have a new one made; clients then"
                " need its new root.crt."
            )
        if ca.certificate.not_valid_after_utc - datetime.now(UTC) > _ROOT_RESERVE:
            return ca
    # The key goes first: what is killed in between is completed by the next call.
    key = _load_or_make_key(folder)
    certificate = _make_root(key, name=name, domain=domain, networks=networks)
    write_atomic(folder / "root.crt", certificate.public_bytes(serialization.Encoding.PEM))
    return LocalCA(folder=folder, certificate=certificate, key=key)


def load_ca(folder: Path) -> LocalCA:
    """Read the CA in `folder`. Raises Error when it is missing or damaged."""
    fix = f"Remove {folder} to have a new one made; clients then need its new root.crt."
    try:
        certificate = x509.load_pem_x509_certificate((folder / "root.crt").read_bytes())
        key = _read_key(folder / "root.key")
    except FileNotFoundError as error:
        raise Error(
            f"No certification authority in {folder}: {error.filename} is missing. {fix}"
        ) from error
    except ValueError as error:
        raise Error(f"{folder}/root.crt cannot be read ({error}). {fix}") from error
    if certificate.public_key() != key.public_key():
        raise Error(f"root.key and root.crt in {folder} do not belong together. {fix}")
    return LocalCA(folder=folder, certificate=certificate, key=key)


def sign(
    ca: LocalCA,
    request: bytes,
    *,
    names: Sequence[str],
    addresses: Sequence[str] = (),
    validity: timedelta,
) -> bytes:
    """Return a PEM certificate for the P-256 key in the PEM `request`.

    It is for the DNS names `names` and the IP addresses `addresses`; nothing but the key is taken
    from the request. Raises Error when the request is not signed by its own key, for another kind
    of key, for a name outside the CA's domain, for an address outside its networks, or for a
    validity above 90 days.
    """
    if not timedelta(0) < validity <= MAX_VALIDITY:
        raise Error(
            f"A certificate is valid for 1 to {MAX_VALIDITY.days} days, not {validity.days}."
        )
    _require_names(names, domain=_domain(ca))
    _require_addresses(addresses, networks=_networks(ca))
    public_key = _verified_public_key(request)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(min(now + validity, ca.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        # Critical, because the subject is empty (RFC 5280, section 4.2.1.6).
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    *(x509.DNSName(name) for name in names),
                    *(x509.IPAddress(ip_address(address)) for address in addresses),
                ]
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
        .sign(ca.key, hashes.SHA384())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def why_renew(
    ca: LocalCA,
    certificate: bytes,
    *,
    names: Sequence[str],
    addresses: Sequence[str] = (),
    reserve: timedelta,
) -> str | None:
    """Tell why the PEM `certificate` has to be replaced, or None when it is as wanted.

    `reserve` is how long it must still be valid. An empty `certificate` is one that does not exist.
    """
    if not certificate.strip():
        return "there is none"
    try:
        current = x509.load_pem_x509_certificate(certificate)
        current.verify_directly_issued_by(ca.certificate)
        present = current.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return "it is not one of this certification authority"
    if sorted(present.get_values_for_type(x509.DNSName)) != sorted(names):
        return "its names are not those of the inventory"
    if set(present.get_values_for_type(x509.IPAddress)) != {ip_address(one) for one in addresses}:
        return "its addresses are not those of the inventory"
    if current.not_valid_after_utc - datetime.now(UTC) < reserve:
        return f"it ends on {current.not_valid_after_utc:%Y-%m-%d}"
    return None


def _make_root(
    key: ec.EllipticCurvePrivateKey, *, name: str, domain: str, networks: frozenset[Network]
) -> x509.Certificate:
    permitted = sorted(networks, key=str)
    families = {network.version for network in networks}
    # Addresses are another kind of name, which a permitted domain does not limit. A family is
    # either permitted in part or excluded as a whole: an exclusion would win.
    excluded = [every for every in _EVERY_ADDRESS if every.version not in families]
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(_subject(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + ROOT_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(
            x509.NameConstraints(
                permitted_subtrees=[
                    x509.DNSName(domain),
                    *(x509.IPAddress(network) for network in permitted),
                ],
                excluded_subtrees=[x509.IPAddress(network) for network in excluded] or None,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
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


def _subject(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Holdfast (throw-away)"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{name} local root"),
        ]
    )


def _domain(ca: LocalCA) -> str:
    domains = [name.value for name in _permitted(ca) if isinstance(name, x509.DNSName)]
    return domains[0] if len(domains) == 1 else ""


def _networks(ca: LocalCA) -> frozenset[Network]:
    found = (name.value for name in _permitted(ca) if isinstance(name, x509.IPAddress))
    return frozenset(value for value in found if isinstance(value, Network))


def _permitted(ca: LocalCA) -> list[x509.GeneralName]:
    constraints = ca.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    return list(constraints.permitted_subtrees or [])


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise Error(
            f"`{text}` is no network ({error}); write it as 192.0.2.0/24 or 2001:db8::/32."
        ) from error


def _told(networks: Iterable[Network]) -> str:
    return ", ".join(sorted(str(network) for network in networks)) or "no addresses"


def _load_or_make_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    path = folder / "root.key"
    if path.exists():
        return _read_key(path)
    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_atomic(path, pem, mode=0o600)
    return key


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if path.stat().st_mode & 0o077:
        raise Error(
            f"Others may read {path}. If they did not, `chmod 600` it; else remove its folder."
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise Error(
            f"{path} is not a P-384 key. Remove {path.parent} to have a new certification authority"
            " made; clients then need its new root.crt."
        )
    return key


def _verified_public_key(request: bytes) -> ec.EllipticCurvePublicKey:
    try:
        unverified_request = x509.load_pem_x509_csr(request)
        proven = unverified_request.is_signature_valid
        public_key = unverified_request.public_key()
    except (ValueError, TypeError) as error:
        raise Error(f"This is not a certificate signing request: {error}.") from error
    if not proven:
        raise Error("The certificate signing request is not signed by the key it asks for.")
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(
        public_key.curve, ec.SECP256R1
    ):
        raise Error("The certificate signing request must be for a P-256 key.")
    return public_key


def _require_host_name(name: str) -> None:
    if not _HOST_NAME.fullmatch(name):
        raise Error(f"`{name}` is not a host name in small letters, without wildcards.")


def _require_names(names: Sequence[str], *, domain: str) -> None:
    if not names:
        raise Error("A certificate needs at least one name.")
    for name in names:
        _require_host_name(name)
        if name != domain and not name.endswith(f".{domain}"):
            raise Error(
                f"`{name}` is outside the domain of this certification authority, {domain}."
            )


def _require_addresses(addresses: Sequence[str], *, networks: Iterable[Network]) -> None:
    for text in addresses:
        try:
            address = ip_address(text)
        except ValueError as error:
            raise Error(f"`{text}` is no IP address.") from error
        if not any(address in network for network in networks):
            raise Error(
                f"{address} is outside the networks of this certification authority,"
                f" {_told(networks)}."
            )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m holdfast.local.ca", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check", help='print {"renew": REASON or null} for the certificate on standard input'
    )
    check.add_argument("--reserve-days", type=int, required=True, help="least remaining validity")
    signing = commands.add_parser("sign", help="sign the request on standard input")
    signing.add_argument("--days", type=int, required=True, help="validity")
    ensure = commands.add_parser("ensure", help="make the CA where there is none; print its root")
    ensure.add_argument("--installation", required=True, help="name of the installation")
    ensure.add_argument("--domain", required=True, help="below which it may sign")
    ensure.add_argument(
        "--addresses",
        nargs="*",
        default=[],
        metavar="NETWORK",
        help="in which it may sign; none if nothing is said",
    )
    for command in (check, signing, ensure):
        command.add_argument("--folder", type=Path, required=True, help="where the CA lies")
    for command in (check, signing):
        command.add_argument(
            "--name", action="append", required=True, help="a DNS name; repeatable"
        )
        command.add_argument(
            "--address", action="append", default=[], help="an IP address; repeatable"
        )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line that role `certificates` uses; 1 is an Error, told on stderr."""
    arguments = _arguments(argv)
    try:
        if arguments.command == "ensure":
            made = ensure_ca(
                arguments.folder,
                name=arguments.installation,
                domain=arguments.domain,
                addresses=arguments.addresses,
            )
            sys.stdout.write(f"{made.root}\n")
            return 0
        given = sys.stdin.buffer.read()
        ca = load_ca(arguments.folder)
        wanted = {"names": arguments.name, "addresses": arguments.address}
        if arguments.command == "sign":
            signed = sign(ca, given, **wanted, validity=timedelta(days=arguments.days))
            sys.stdout.write(signed.decode())
        else:
            reserve = timedelta(days=arguments.reserve_days)
            reason = why_renew(ca, given, **wanted, reserve=reserve)
            sys.stdout.write(json.dumps({"renew": reason}) + os.linesep)
    except Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
