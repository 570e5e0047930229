"""The local CA signs what the inventory names, for keys that were proven, and nothing else."""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from holdfast.errors import Error
from holdfast.local import ca as local_ca
from holdfast.local.ca import MAX_VALIDITY, ensure_ca, load_ca, sign, why_renew

DAYS_30 = timedelta(days=30)
DAYS_10 = timedelta(days=10)


@pytest.fixture
def ca(tmp_path):
    return ensure_ca(tmp_path / "ca", name="local", domain="holdfast.test")


def request_for(key=None, *, names=("wanted.example",)):
    """A signing request that also asks for things it must not get."""
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin.holdfast.test")]))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    key = key or ec.generate_private_key(ec.SECP256R1())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def signed(ca, *, names=("api.holdfast.test",), validity=DAYS_30):
    return sign(ca, request_for(), names=names, validity=validity)


def verify(ca, pem, name):
    verifier = (
        PolicyBuilder()
        .store(Store([x509.load_pem_x509_certificate(ca.root.read_bytes())]))
        .build_server_verifier(x509.DNSName(name))
    )
    return verifier.verify(x509.load_pem_x509_certificate(pem), [])


def test_files_are_private_and_marked(ca):
    modes = {path.name: path.stat().st_mode & 0o777 for path in ca.folder.iterdir()}
    assert modes == {"README": 0o644, "root.crt": 0o644, "root.key": 0o600}
    assert ca.folder.stat().st_mode & 0o777 == 0o700
    assert "THROW-AWAY" in (ca.folder / "README").read_text(encoding="utf-8")
    assert "throw-away" in ca.certificate.subject.rfc4514_string()


def test_root(ca):
    """P-384, no CA below it, bound to the domain, and to no address at all."""
    root = ca.certificate
    extensions = root.extensions
    assert root.public_key().curve.name == "secp384r1"
    assert extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(
        ca=True, path_length=0
    )
    constraints = extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert [name.value for name in constraints.value.permitted_subtrees] == ["holdfast.test"]
    assert [str(name.value) for name in constraints.value.excluded_subtrees] == [
        "0.0.0.0/0",
        "::/0",
    ]
    assert root.not_valid_after_utc - root.not_valid_before_utc < timedelta(days=731)


def test_again_is_the_same(ca):
    again = ensure_ca(ca.folder, name="local", domain="holdfast.test")
    assert again.certificate == ca.certificate


@pytest.mark.parametrize("written", ["README", "root.key"])
def test_killed_half_way_is_completed(tmp_path, monkeypatch, written):
    """Killed after each file: the next call ends in a CA that works, with the key made first."""
    real = local_ca.write_atomic

    def write(path, data, *, mode=0o644):
        real(path, data, mode=mode)
        if path.name == written:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(local_ca, "write_atomic", write)
        with pytest.raises(KeyboardInterrupt):
            ensure_ca(tmp_path / "ca", name="local", domain="holdfast.test")
    key = tmp_path / "ca" / "root.key"
    before = key.read_bytes() if key.exists() else None
    ca = ensure_ca(tmp_path / "ca", name="local", domain="holdfast.test")
    assert before in (None, key.read_bytes())
    verify(ca, signed(ca), "api.holdfast.test")


def test_expiring_root_is_replaced(tmp_path, monkeypatch):
    """It could not sign a whole certificate any more; the old leaves are noticed."""
    with monkeypatch.context() as patch:
        patch.setattr(local_ca, "ROOT_VALIDITY", MAX_VALIDITY - timedelta(days=1))
        old = ensure_ca(tmp_path / "ca", name="local", domain="holdfast.test")
    leaf = signed(old)
    new = ensure_ca(tmp_path / "ca", name="local", domain="holdfast.test")
    assert new.certificate != old.certificate
    assert new.certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=700)
    verify(new, leaf, "api.holdfast.test")  # same key: what was signed before still stands


@pytest.mark.parametrize(("name", "domain"), [("other", "holdfast.test"), ("local", "other.test")])
def test_of_another_installation(ca, name, domain):
    with pytest.raises(Error, match="another installation or domain"):
        ensure_ca(ca.folder, name=name, domain=domain)


def _remove_key(folder):
    (folder / "root.key").unlink()


def _swap_key(folder):
    key = ec.generate_private_key(ec.SECP384R1())
    _write_key(folder, key)


def _weak_key(folder):
    _write_key(folder, ec.generate_private_key(ec.SECP256R1()))


def _write_key(folder, key):
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "root.key").write_bytes(pem)


def _garble_key(folder):
    (folder / "root.key").write_text("garbage", encoding="utf-8")


def _garble_root(folder):
    (folder / "root.crt").write_text("garbage", encoding="utf-8")


def _open_key(folder):
    (folder / "root.key").chmod(0o644)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove_key, "is missing"),
        (_swap_key, "do not belong together"),
        (_weak_key, "not a P-384 key"),
        (_garble_key, "not a P-384 key"),
        (_garble_root, "cannot be read"),
        (_open_key, "Others may read"),
    ],
)
def test_damaged(ca, damage, message):
    damage(ca.folder)
    with pytest.raises(Error, match=message):
        load_ca(ca.folder)
    with pytest.raises(Error, match=message):
        ensure_ca(ca.folder, name="local", domain="holdfast.test")


def test_missing(tmp_path):
    with pytest.raises(Error, match="No certification authority"):
        load_ca(tmp_path)


def test_leaf(ca):
    """Names and use are the operator's; of the request only the key is left."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = ["api.holdfast.test", "panel.holdfast.test"]
    pem = sign(ca, request_for(key), names=names, validity=DAYS_30)
    leaf = x509.load_pem_x509_certificate(pem)
    assert leaf.public_key() == key.public_key()
    assert len(leaf.subject) == 0
    alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert alternative.critical
    assert list(alternative.value) == [x509.DNSName(name) for name in names]
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert leaf.serial_number.bit_length() > 64
    for name in names:
        verify(ca, pem, name)
    with pytest.raises(VerificationError):
        verify(ca, pem, "admin.holdfast.test")


def test_leaf_pleases_openssl(ca, tmp_path):
    """An independent reader: strict checks, the name, and the purpose."""
    (tmp_path / "leaf.pem").write_bytes(signed(ca))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-check_ss_sig"]
    command += ["-CAfile", str(ca.root), "-verify_hostname", "api.holdfast.test"]
    done = subprocess.run(
        [*command, str(tmp_path / "leaf.pem")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_leaf_never_outlives_the_root(ca, monkeypatch):
    monkeypatch.setattr(local_ca, "MAX_VALIDITY", timedelta(days=3650))
    leaf = x509.load_pem_x509_certificate(signed(ca, validity=timedelta(days=3650)))
    assert leaf.not_valid_after_utc == ca.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    "name",
    [
        "example.org",
        "xholdfast.test",
        "api.holdfast.test.evil",
        "*.holdfast.test",
        "10.0.0.1",
        "API.holdfast.test",
        "api..holdfast.test",
        "",
        "-x.holdfast.test",
        "api.holdfast.test\n",
    ],
)
def test_name_outside(ca, name):
    with pytest.raises(Error, match=r"not a host name|outside the domain"):
        signed(ca, names=["api.holdfast.test", name])


def test_no_name(ca):
    with pytest.raises(Error, match="at least one name"):
        signed(ca, names=[])


@pytest.mark.parametrize("days", [-1, 0, 91])
def test_validity(ca, days):
    with pytest.raises(Error, match="valid for 1 to 90 days"):
        signed(ca, validity=timedelta(days=days))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
    ids=["P-384", "secp256k1", "RSA"],
)
def test_other_kind_of_key(ca, key):
    with pytest.raises(Error, match="P-256"):
        sign(ca, request_for(key), names=["api.holdfast.test"], validity=DAYS_30)


def test_key_not_proven(ca):
    """The signature of another request: somebody else's public key."""
    der = bytearray(x509.load_pem_x509_csr(request_for()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    unproven = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(Error, match="not signed by the key"):
        sign(ca, unproven, names=["api.holdfast.test"], validity=DAYS_30)


@pytest.mark.parametrize("request_", [b"", b"garbage", b"-----BEGIN CERTIFICATE REQUEST-----\n"])
def test_no_request(ca, request_):
    with pytest.raises(Error, match="not a certificate signing request"):
        sign(ca, request_, names=["api.holdfast.test"], validity=DAYS_30)


NETWORKS = ["10.89.1.0/24", "fd00:89:1::/64", "127.0.0.1/32"]


@pytest.fixture
def addressed(tmp_path):
    """A CA that may also sign addresses."""
    folder = tmp_path / "addressed"
    return ensure_ca(folder, name="local", domain="holdfast.test", addresses=NETWORKS)


def _signed_for(ca, *addresses):
    return sign(
        ca, request_for(), names=["v1.holdfast.test"], addresses=addresses, validity=DAYS_30
    )


class TestAddresses:
    """A root that says for which addresses it may be believed."""

    def test_root_permits_the_networks_only(self, addressed):
        constraints = addressed.certificate.extensions.get_extension_for_class(
            x509.NameConstraints
        ).value
        permitted = [str(name.value) for name in constraints.permitted_subtrees]
        assert sorted(permitted) == sorted(["holdfast.test", *NETWORKS])
        assert constraints.excluded_subtrees is None

    def test_a_family_without_a_network_stays_excluded(self, tmp_path):
        ca = ensure_ca(
            tmp_path / "four", name="local", domain="holdfast.test", addresses=["10.0.0.0/8"]
        )
        constraints = ca.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        assert [str(name.value) for name in constraints.excluded_subtrees] == ["::/0"]
        with pytest.raises(Error, match=r"outside the networks .*, 10\.0\.0\.0/8\.$"):
            _signed_for(ca, "fd00::1")

    @pytest.mark.parametrize("address", ["10.89.1.7", "fd00:89:1::7", "127.0.0.1"])
    def test_openssl_believes_the_leaf(self, addressed, tmp_path, address):
        (tmp_path / "leaf.pem").write_bytes(_signed_for(addressed, address))
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip"]
        command += [address, "-CAfile", str(addressed.root), str(tmp_path / "leaf.pem")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize("address", ["10.89.2.1", "fd00:89:2::1", "127.0.0.2"])
    def test_openssl_believes_no_other_address(self, addressed, tmp_path, monkeypatch, address):
        """Not even where this program would sign it."""
        monkeypatch.setattr(local_ca, "_require_addresses", lambda *_, **__: None)
        (tmp_path / "leaf.pem").write_bytes(_signed_for(addressed, address))
        command = ["openssl", "verify", "-CAfile", str(addressed.root), str(tmp_path / "leaf.pem")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "permitted subtree violation" in done.stderr

    @pytest.mark.parametrize(
        ("address", "message"),
        [
            ("10.89.2.1", "outside the networks"),
            ("::1", "outside the networks"),
            ("v1.holdfast.test", "no IP address"),
            ("10.89.1.0/24", "no IP address"),
            ("", "no IP address"),
        ],
    )
    def test_address_outside(self, addressed, address, message):
        with pytest.raises(Error, match=message):
            _signed_for(addressed, address)

    def test_without_networks_there_are_no_addresses(self, ca):
        with pytest.raises(Error, match=r"outside the networks .*, no addresses\.$"):
            _signed_for(ca, "127.0.0.1")

    def test_other_networks_are_another_ca(self, addressed):
        same = {"name": "local", "domain": "holdfast.test"}
        again = ensure_ca(addressed.folder, **same, addresses=reversed(NETWORKS))
        assert again.certificate == addressed.certificate
        for networks in ([], NETWORKS[:1], [*NETWORKS, "10.0.0.0/8"]):
            with pytest.raises(Error, match="another installation or domain"):
                ensure_ca(addressed.folder, **same, addresses=networks)

    @pytest.mark.parametrize("network", ["10.0.0.1/8", "everywhere", ""])
    def test_no_network(self, tmp_path, network):
        with pytest.raises(Error, match="no network"):
            ensure_ca(tmp_path / "ca", name="local", domain="holdfast.test", addresses=[network])
        assert not (tmp_path / "ca").exists()

    def test_renewal(self, addressed):
        pem = _signed_for(addressed, "10.89.1.7", "fd00:89:1::7")

        def why(*addresses):
            return why_renew(
                addressed, pem, names=["v1.holdfast.test"], addresses=addresses, reserve=DAYS_10
            )

        assert why("fd00:89:1:0::7", "10.89.1.7") is None
        for other in [(), ("10.89.1.7",), ("10.89.1.7", "fd00:89:1::7", "127.0.0.1")]:
            assert why(*other) == "its addresses are not those of the inventory"


class TestRenewal:
    """When a certificate is replaced."""

    NAMES = ("api.holdfast.test", "panel.holdfast.test")

    def why(self, ca, pem, *, names=NAMES):
        return why_renew(ca, pem, names=names, reserve=DAYS_10)

    def test_good(self, ca):
        assert self.why(ca, signed(ca, names=self.NAMES)) is None
        assert self.why(ca, signed(ca, names=tuple(reversed(self.NAMES)))) is None

    def test_none(self, ca):
        assert self.why(ca, b"\n") == "there is none"

    def test_soon_over(self, ca):
        assert self.why(ca, signed(ca, names=self.NAMES, validity=DAYS_10)).startswith("it ends on")

    def test_other_names(self, ca):
        assert "names" in self.why(ca, signed(ca, names=self.NAMES[:1]))
        assert "names" in self.why(ca, signed(ca, names=(*self.NAMES, "x.holdfast.test")))

    @pytest.mark.parametrize("pem", [b"garbage", b"-----BEGIN CERTIFICATE-----\n"])
    def test_unreadable(self, ca, pem):
        assert "not one of this" in self.why(ca, pem)

    def test_of_another_authority(self, ca, tmp_path):
        other = ensure_ca(tmp_path / "other", name="local", domain="holdfast.test")
        assert "not one of this" in self.why(ca, signed(other, names=self.NAMES))


def test_command_line(tmp_path, capsys, monkeypatch):
    """As role `certificates` calls it."""
    folder = str(tmp_path / "ca")

    def run(*words, given=b""):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given)))
        status = local_ca.main([*words, "--folder", folder])
        return status, *capsys.readouterr()

    names = ("--name", "api.holdfast.test")
    status, _, error = run("sign", "--days", "30", *names, given=request_for())
    assert (status, "No certification authority" in error) == (1, True)
    made = run("ensure", "--installation", "local", "--domain", "holdfast.test")
    assert made == (0, f"{folder}/root.crt" + os.linesep, "")
    assert run("check", "--reserve-days", "10", *names)[1].strip() == '{"renew": "there is none"}'
    status, leaf, _ = run("sign", "--days", "30", *names, given=request_for())
    assert status == 0
    verdict = run("check", "--reserve-days", "10", *names, given=leaf.encode())
    assert verdict == (0, '{"renew": null}' + os.linesep, "")
    status, output, error = run("sign", "--days", "91", *names, given=request_for())
    assert (status, output) == (1, "")
    assert "90 days" in error


def test_command_line_with_addresses(tmp_path, capsys, monkeypatch):
    folder = str(tmp_path / "ca")

    def run(*words, given=b""):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given)))
        status = local_ca.main([*words, "--folder", folder])
        return status, *capsys.readouterr()

    wanted = ("--name", "v1.holdfast.test", "--address", "10.89.1.7", "--address", "127.0.0.1")
    domain = ("--installation", "local", "--domain", "holdfast.test")
    assert run("ensure", *domain, "--addresses", "10.89.1.0/24", "127.0.0.1")[0] == 0
    status, leaf, _ = run("sign", "--days", "30", *wanted, given=request_for())
    assert status == 0
    verdict = run("check", "--reserve-days", "10", *wanted, given=leaf.encode())
    assert verdict == (0, '{"renew": null}' + os.linesep, "")
    verdict = run("check", "--reserve-days", "10", *wanted[:4], given=leaf.encode())
    assert "addresses" in verdict[1]
    status, output, error = run(
        "sign", "--days", "30", *wanted, "--address", "10.0.0.1", given=request_for()
    )
    assert (status, output) == (1, "")
    assert "10.89.1.0/24, 127.0.0.1/32" in error
