"""The operators' certification authorities open for operators only, and sign nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from holdfast.errors import Error
from holdfast.vault.authority import Authority, ensure_authorities, reencrypt, unlock
from holdfast.vault.gpg import keyring
from holdfast.vault.holders import NoShare, ThrowAwayHolder
from holdfast.vault.memory import scratch
from holdfast.vault.operators import Operator, quorum


@dataclass(frozen=True)
class People:
    operators: tuple[Operator, ...]
    holders: dict[str, ThrowAwayHolder]


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    listed, holders = [], {}
    with scratch() as folder, keyring() as gpg:
        for name in ("ada", "bob", "eve"):
            made = ("--passphrase", "", "--quick-generate-key", name)
            gpg.must(*made, "future-default", "default", "1y")
            words = gpg.must("--with-colons", "--fingerprint", name).out.decode().splitlines()
            fingerprint = next(line.split(":")[9] for line in words if line.startswith("fpr"))
            public = gpg.must("--armor", "--export", fingerprint).out.decode()
            listed.append({"name": name, "fingerprint": fingerprint, "key": public})
            key = folder / name
            key.write_bytes(gpg.must("--export-secret-keys", fingerprint).out)
            holders[name] = ThrowAwayHolder(name=name, key=key)
        found = quorum(listed, threshold=2)
        yield People(found.operators, holders)


@pytest.fixture
def folder(tmp_path: Path, people: People) -> Path:
    ada, bob, _ = people.operators
    ensure_authorities(tmp_path, installation="test", domain="test.example", operators=[ada, bob])
    return tmp_path


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil.example")])
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def opened(folder: Path, people: People, name: str = "ada") -> Authority:
    return unlock(folder, "operators-ca", people.holders[name])


def test_each_operator_alone_opens_a_key_and_nobody_else(folder: Path, people: People) -> None:
    for name in ("ada", "bob"):
        unlock(folder, "operators-ca", people.holders[name])
        unlock(folder, "root-ca", people.holders[name])
    with pytest.raises(NoShare, match="eve cannot open"):
        unlock(folder, "root-ca", people.holders["eve"])


def test_nothing_in_the_folder_is_a_readable_key(folder: Path) -> None:
    assert [path.name for path in folder.iterdir() if b"PRIVATE KEY" in path.read_bytes()] == []


def test_what_is_there_is_kept(folder: Path, people: People) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    ensure_authorities(
        folder, installation="test", domain="test.example", operators=people.operators
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_killed_before_the_certificate_it_begins_again(folder: Path, people: People) -> None:
    (folder / "root-ca.crt").unlink()
    ensure_authorities(
        folder, installation="test", domain="test.example", operators=people.operators[:2]
    )
    unlock(folder, "root-ca", people.holders["bob"])


def test_an_exchanged_key_is_found(folder: Path, people: People) -> None:
    (folder / "root-ca.key.asc").write_bytes((folder / "operators-ca.key.asc").read_bytes())
    with pytest.raises(Error, match=r"not the key of root-ca\.crt"):
        unlock(folder, "root-ca", people.holders["ada"])


def test_an_altered_key_does_not_open(folder: Path, people: People) -> None:
    path = folder / "root-ca.key.asc"
    lines = path.read_text().splitlines()
    lines[len(lines) // 2] = lines[len(lines) // 2][::-1]
    path.write_text("\n".join(lines))
    with pytest.raises(NoShare, match="cannot open"):
        unlock(folder, "root-ca", people.holders["ada"])


def test_other_operators(folder: Path, people: People) -> None:
    reencrypt(folder, people.holders["ada"], operators=people.operators[1:])
    unlock(folder, "root-ca", people.holders["eve"])
    with pytest.raises(NoShare):
        unlock(folder, "root-ca", people.holders["ada"])


def test_a_listener_is_for_what_was_asked_and_not_for_what_its_request_says(
    folder: Path, people: People
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signed = x509.load_pem_x509_certificate(
        opened(folder, people).sign_listener(
            request(key), names=["vault1.test.example"], addresses=["192.0.2.1", "::1"]
        )
    )
    names = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["vault1.test.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "::1"]
    assert signed.subject == x509.Name([])
    usage = signed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert signed.not_valid_after_utc - signed.not_valid_before_utc < timedelta(days=91)


def test_an_operator_logs_in_for_an_hour_and_as_a_client_only(folder: Path, people: People) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    signed = x509.load_pem_x509_certificate(
        opened(folder, people, "bob").sign_operator(key, name="bob")
    )
    usage = signed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert signed.not_valid_after_utc - signed.not_valid_before_utc < timedelta(minutes=66)


def test_an_intermediate_signs_below_the_domain_and_no_further_authority(
    folder: Path, people: People
) -> None:
    root = unlock(folder, "root-ca", people.holders["ada"])
    key = ec.generate_private_key(ec.SECP256R1())
    signed = x509.load_pem_x509_certificate(
        root.sign_intermediate(request(key), domain="test.example", validity=timedelta(days=9))
    )
    basic = signed.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)
    below = signed.extensions.get_extension_for_class(x509.NameConstraints).value
    assert below.permitted_subtrees == [x509.DNSName("test.example")]


@pytest.mark.parametrize(
    "bad",
    [
        b"nothing",
        request(rsa.generate_private_key(65537, 2048)),
        request(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["no-request", "rsa", "p384"],
)
def test_a_bad_request(folder: Path, people: People, bad: bytes) -> None:
    with pytest.raises(Error, match="certificate signing request"):
        opened(folder, people).sign_listener(bad, names=["vault1.test.example"])


def test_a_request_for_somebody_elses_key(folder: Path, people: People) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    der = bytearray(x509.load_pem_x509_csr(request(key)).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(Error, match="not signed by the key"):
        opened(folder, people).sign_listener(forged, names=["vault1.test.example"])
