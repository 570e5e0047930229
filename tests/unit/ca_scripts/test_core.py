"""What the authority refuses, and what openssl and pkilint say of what it issues."""

import dataclasses
import subprocess
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from pkilint import loader
from pkilint.pkix import certificate as pkix
from pkilint.pkix import extension, name
from pkilint.validation import ValidationFindingSeverity

from ca_scripts import certificates, profiles, renewal, requests, serials, signing
from ca_scripts.refusals import Refused

NOW = datetime.now(UTC).replace(microsecond=0)
LATER = NOW + timedelta(hours=1)
DEVICE = uuid.UUID("6f2d4c1e-58a1-4f27-9d0b-6f0d3f0c2a11")


def p256():
    return ec.generate_private_key(ec.SECP256R1())


def csr(key, algorithm=None):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, algorithm or hashes.SHA256()).public_bytes(Encoding.DER)


def tampered(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.fixture(scope="module")
def chain():
    root_key = ec.generate_private_key(ec.SECP384R1())
    root = certificates.make_root(profiles.PRODUCTION, root_key, now=NOW)
    return root, certificates.make_issuing(profiles.PRODUCTION, root, p256(), now=NOW)


def elsewhere(key, *, answers_with=None):
    """A key as Vault's: it gets a digest, and answers a signature."""
    algorithm = ec.ECDSA(utils.Prehashed(signing.hash_for(key.public_key())))
    return signing.KeyElsewhere(
        key.public_key(), lambda digest: (answers_with or key).sign(digest, algorithm)
    )


def issue(authority, *, now=LATER, record=lambda _serial: None):
    return certificates.issue(
        profiles.PRODUCTION,
        authority,
        p256().public_key(),
        device=DEVICE,
        instance=3,
        now=now,
        record=record,
    )


def named(chain):
    return {"root": chain[0].certificate, "issuing": chain[1].certificate, "leaf": issue(chain[1])}


def pem(certificate):
    return certificate.public_bytes(Encoding.PEM).decode()


REQUESTS = {
    "csr_too_large": lambda: b"\x30" * 4097,
    "csr_malformed": lambda: b"\x30\x03abc",
    "csr_key_type": lambda: csr(rsa.generate_private_key(65537, 2048)),
    "csr_not_proven": lambda: tampered(csr(p256())),
}


@pytest.mark.parametrize("code", REQUESTS)
def test_request_is_refused(code):
    with pytest.raises(Refused) as refused:
        requests.public_key(REQUESTS[code](), is_known=lambda _key: False)
    assert refused.value.code == code


def test_key_of_another_curve_is_refused():
    with pytest.raises(Refused) as refused:
        requests.public_key(
            csr(ec.generate_private_key(ec.SECP384R1())), is_known=lambda _key: False
        )
    assert refused.value.code == "csr_key_type"


def test_reused_key_is_refused():
    key = p256()
    with pytest.raises(Refused) as refused:
        requests.public_key(csr(key), is_known=requests.key_digest(key.public_key()).__eq__)
    assert refused.value.code == "csr_key_reused"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=200).map(b"-----BEGIN ".__add__))
def test_any_octets_are_refused_by_code(data):
    with pytest.raises(Refused):
        requests.public_key(data, is_known=lambda _key: False)


@settings(max_examples=100)
@given(st.integers(min_value=1, max_value=127))
def test_serial_is_positive_short_and_tells_its_instance(instance):
    serial = serials.new(instance=instance)
    assert 0 < serial.bit_length() <= 143
    assert serials.instance_of(serial) == instance


@pytest.mark.parametrize("instance", [-1, 0, 128])
def test_serial_of_no_instance_is_refused(instance):
    with pytest.raises(Refused):
        serials.new(instance=instance)


def test_leaf_that_outlives_its_issuer_is_refused(chain):
    end = chain[1].certificate.not_valid_after_utc
    with pytest.raises(Refused) as refused:
        issue(chain[1], now=end - timedelta(days=364))
    assert refused.value.code == "outlives_issuer"


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1])
def test_a_key_elsewhere_signs(curve):
    root = certificates.make_root(
        profiles.PRODUCTION, elsewhere(ec.generate_private_key(curve())), now=NOW
    )
    root.certificate.verify_directly_issued_by(root.certificate)


def test_foreign_signature_does_not_leave(chain):
    wrong = dataclasses.replace(chain[1], key=elsewhere(p256(), answers_with=p256()))
    with pytest.raises(Refused) as refused:
        issue(wrong)
    assert refused.value.code == "signature_wrong"


def test_a_key_elsewhere_gives_nothing_away():
    key = elsewhere(p256())
    for ask in (key.private_bytes, key.private_numbers, key.exchange):
        with pytest.raises(Refused):
            ask()
    with pytest.raises(Refused) as refused:
        key.sign(b"", ec.ECDSA(hashes.SHA384()))
    assert refused.value.code == "hash_wrong"


def test_keys_of_other_curves_sign_nothing():
    with pytest.raises(Refused) as refused:
        elsewhere(ec.generate_private_key(ec.SECP521R1()))
    assert refused.value.code == "key_type"


def test_nothing_is_signed_unless_recorded(chain):
    def sign(digest):
        pytest.fail(f"{digest.hex()} was signed before the serial was recorded")

    def record(_serial):
        raise ConnectionError

    key = signing.KeyElsewhere(p256().public_key(), sign)
    with pytest.raises(ConnectionError):
        issue(dataclasses.replace(chain[1], key=key), record=record)


def test_sibling_issuer_is_refused(chain):
    sibling = certificates.make_issuing(profiles.PRODUCTION, chain[0], p256(), now=NOW)
    with pytest.raises(Refused) as refused:
        certificates.check(issue(chain[1]), sibling.certificate)
    assert refused.value.code == "issuer_signature"


def test_key_file_in_the_clear_is_refused(tmp_path):
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(p256().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(Refused) as refused:
        signing.load_key(path, passphrase=b"a test")
    assert refused.value.code == "key_not_encrypted"


def test_key_file_is_for_its_owner_and_opens_again(tmp_path):
    path, key = tmp_path / "key", p256()
    signing.save_key(path, key, passphrase=b"a test")
    assert path.stat().st_mode & 0o777 == 0o600
    assert signing.load_key(path, passphrase=b"a test").public_key() == key.public_key()
    with pytest.raises(Refused):
        signing.load_key(path, passphrase=b"another")


def test_openssl_accepts_the_chain(chain, tmp_path):
    for stem, certificate in named(chain).items():
        (tmp_path / stem).write_text(pem(certificate))
    at = str(int((LATER + timedelta(minutes=1)).timestamp()))
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-attime",
        at,
        "-CAfile",
        "root",
        "-untrusted",
        "issuing",
        "leaf",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pkilint_finds_no_error(chain):
    judge = pkix.create_pkix_certificate_validator_container(
        pkix.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            pkix.create_issuer_validator_container([]),
            pkix.create_validity_validator_container(),
            pkix.create_subject_validator_container([]),
            pkix.create_extensions_validator_container([]),
            pkix.create_spki_validator_container([]),
        ],
    )
    found = [
        (stem, finding.finding.code)
        for stem, certificate in named(chain).items()
        for result in judge.validate(loader.load_pem_certificate(pem(certificate), "issued").root)
        for finding in result.finding_descriptions
        if finding.finding.severity <= ValidationFindingSeverity.NOTICE
    ]
    # It takes every URI for a URL; a URN is one too (RFC 3986, section 1.1.3).
    assert found == [("leaf", "pkix.invalid_uri_syntax")]


def test_renewal_lies_in_its_window_and_spreads(chain):
    windows = [renewal.window(issue(chain[1])) for _ in range(8)]
    assert all(w.start <= w.moment < w.end for w in windows)
    assert len({w.moment - w.start for w in windows}) == 8
