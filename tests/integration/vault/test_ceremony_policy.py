"""An operator logs in with a certificate, configures Vault, and gets at no secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from holdfast.vault.client import Denied, Refused, Token, Vault
from holdfast.vault.memory import scratch
from holdfast.vault.quorum import enough, root_token
from holdfast.vault.setup import ROLE, UNIT
from holdfast.vault.unsealing import current
from tests.integration.vault.conftest import Office, opened, started

BOUND = {"secret_id_bound_cidrs": ["127.0.0.1/32"], "token_bound_cidrs": ["127.0.0.1"]}


def certificate(
    authority: trustme.CA,
    folder: Path,
    *,
    unit: str | None = UNIT,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    since: timedelta = timedelta(),
) -> tuple[Path, Path]:
    """Write an operator's certificate for an hour, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.now(UTC) - timedelta(minutes=1) - since
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "anna")]
    if unit:
        names.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    issuer = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(issuer, ec.EllipticCurvePrivateKey)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False
        )
        .sign(issuer, hashes.SHA256())
    )
    paths = (folder / "login.crt", folder / "login.key")
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return paths


@pytest.fixture
def deployer(alive: Office, authority: trustme.CA, memory: Path) -> Vault:
    return logged_in(alive, authority, memory)


def logged_in(office: Office, authority: trustme.CA, folder: Path) -> Vault:
    vault = office.servers[0].vault(certificate=certificate(authority, folder))
    vault.login_by_certificate(role=ROLE)
    return vault


@pytest.fixture(scope="module")
def stocked(template: Office, authority: trustme.CA) -> Iterator[Vault]:
    """Vault with something to steal: mounts that a deployer may not make, and what they hold.

    The tests only try what is denied, so that they can share it.
    """
    with started(template) as office, scratch() as folder:
        opened(office)
        leader = office.cluster.leader()
        shares = enough(office.records, current(office.records), office.holders(), say=office.say)
        with root_token(leader, shares, say=office.say) as root:
            stock(root)
        yield logged_in(office, authority, folder)


def stock(root: Vault) -> None:
    root.write("sys/mounts/kv", {"type": "kv"})
    root.write("kv/secret", {"value": "canary"})
    root.write("sys/mounts/transit", {"type": "transit"})
    root.write("transit/keys/k", {})
    root.write("sys/mounts/pki-servers", {"type": "pki"})
    root.write("pki-servers/root/generate/internal", {"common_name": "test", "key_type": "ec"})
    root.write("pki-servers/roles/holdfast-web", {"allow_any_name": True})
    root.write("sys/mounts/database", {"type": "database"})
    root.write("sys/auth/approle", {"type": "approle"})
    root.write("auth/approle/role/holdfast-web", {"token_policies": "holdfast-web", **BOUND})
    root.write("sys/auth/userpass", {"type": "userpass"})


def test_an_hour_and_no_more(deployer: Vault) -> None:
    found = deployer.read("auth/token/lookup-self")
    assert found is not None
    assert found["policies"] == ["deployer"]
    assert 3500 < found["ttl"] <= 3600
    assert found["explicit_max_ttl"] <= 3600
    assert found["meta"]["common_name"] == "anna"  # what the audit trail names


BAD_LOGINS: dict[str, dict[str, Any]] = {
    "no unit": {"unit": None},
    "another unit": {"unit": "holdfast-service"},
    "a server's certificate": {"usage": ExtendedKeyUsageOID.SERVER_AUTH},
    "an hour old": {"since": timedelta(hours=2)},
}


@pytest.mark.parametrize("case", BAD_LOGINS)
def test_bad_logins(alive: Office, authority: trustme.CA, memory: Path, case: str) -> None:
    made = certificate(authority, memory, **BAD_LOGINS[case])
    with pytest.raises((Denied, Refused)):
        alive.servers[0].vault(certificate=made).login_by_certificate(role=ROLE)


def test_a_certificate_of_another_authority(alive: Office, memory: Path) -> None:
    made = certificate(trustme.CA(), memory)
    with pytest.raises((Denied, Refused)):
        alive.servers[0].vault(certificate=made).login_by_certificate(role=ROLE)


def test_no_certificate(alive: Office) -> None:
    with pytest.raises((Denied, Refused)):
        alive.vault.login_by_certificate(role=ROLE)


def test_what_a_deployer_does(deployer: Vault) -> None:
    """All that configuring takes, in the order in which it is done."""
    deployer.write("sys/mounts/pki-servers", {"type": "pki", "description": "servers"})
    deployer.write("sys/mounts/pki-servers/tune", {"max_lease_ttl": "8760h"})
    made = deployer.write(
        "pki-servers/issuers/generate/intermediate/internal",
        {"common_name": "servers", "key_type": "ec", "key_bits": 256},
    )
    assert "private_key" not in made
    deployer.write("pki-servers/config/urls", {"issuing_certificates": ["http://x/ca"]})
    deployer.write("pki-servers/config/crl", {"expiry": "72h"})
    deployer.write("pki-servers/config/auto-tidy", {"enabled": True, "tidy_cert_store": True})
    deployer.write("pki-servers/roles/holdfast-web", {"allowed_domains": ["web"]})
    assert deployer.list("pki-servers/roles") == ["holdfast-web"]
    deployer.write("sys/auth/approle", {"type": "approle"})
    policy = {"policy": 'path "pki-servers/issue/holdfast-web" { capabilities = ["update"] }'}
    deployer.write("sys/policies/acl/holdfast-web", policy)
    role = "auth/approle/role/holdfast-web"
    deployer.write(role, {"token_policies": ["holdfast-web"], **BOUND})
    assert deployer.read(role) is not None
    assert deployer.read(f"{role}/role-id") is not None
    assert deployer.wrapped(f"{role}/secret-id", {}, seconds=300).token
    deployer.delete(role)
    deployer.delete("sys/policies/acl/holdfast-web")
    deployer.write("sys/mounts/database", {"type": "database"})
    assert deployer.list("database/roles") == []
    assert set(deployer.read("sys/audit") or {}) == {"file/"}
    assert "approle/" in (deployer.read("sys/auth") or {})
    peers = deployer.read("sys/storage/raft/configuration")
    assert peers is not None
    assert peers["config"]["servers"][0]["node_id"] == "vault1"


def test_the_login_ends(alive: Office, deployer: Vault) -> None:
    assert deployer.token is not None
    value = deployer.token.value
    deployer.revoke_own_token()
    work: Callable[[str], object] = alive.servers[0].vault(token=Token(value=value)).read
    with pytest.raises(Denied):
        work("sys/mounts")


# From here on all share one Vault.

READS = [
    "kv/secret",
    "database/creds/any",
    "database/static-creds/any",
    "transit/keys/k",
    "transit/export/encryption-key/k",
    "cubbyhole/any",
    "sys/raw/core/keyring",
    "sys/storage/raft/snapshot",
    "sys/policies/acl/root",
    "sys/policies/acl/default",
    "identity/entity/id/any",
    "auth/userpass/users/any",
    "sys/internal/inspect/router/root",
    "sys/leases/lookup/database",
    "auth/cert/certs/other",
    "sys/config/state/sanitized",
]


@pytest.mark.parametrize("path", READS)
def test_what_a_deployer_cannot_read(stocked: Vault, path: str) -> None:
    with pytest.raises(Denied):
        stocked.read(path)


WRITES: dict[str, dict[str, Any]] = {
    # secrets
    "pki-servers/issue/holdfast-web": {"common_name": "x"},
    "pki-servers/sign/holdfast-web": {"csr": "x"},
    "pki-servers/sign-verbatim": {"csr": "x"},
    "pki-servers/root/generate/exported": {"common_name": "x"},
    "pki-servers/root/generate/internal": {"common_name": "x"},
    "pki-servers/root/sign-intermediate": {"csr": "x"},
    "pki-servers/intermediate/generate/exported": {"common_name": "x"},
    "pki-servers/issuers/generate/intermediate/exported": {"common_name": "x"},
    "pki-servers/issuers/import/bundle": {"pem_bundle": "x"},
    "pki-servers/keys/generate/exported": {},
    "pki-servers/keys/import": {"pem_bundle": "x"},
    "pki-servers/config/acme": {"enabled": True},
    "pki-servers/roles/other": {"allow_any_name": True},
    "transit/sign/k": {"input": "aGk="},
    "transit/decrypt/k": {"ciphertext": "x"},
    "transit/keys/k/config": {"exportable": True},
    "kv/secret": {"value": "x"},
    # becoming more
    "sys/policies/acl/deployer": {"policy": 'path "*" { capabilities = ["sudo"] }'},
    "sys/policies/acl/default": {"policy": 'path "*" { capabilities = ["read"] }'},
    "sys/policies/acl/admin": {"policy": 'path "*" { capabilities = ["read"] }'},
    "sys/policy/deployer": {"policy": 'path "*" { capabilities = ["read"] }'},
    "auth/token/create": {"policies": ["deployer"]},
    "auth/token/create-orphan": {"policies": ["root"]},
    "auth/token/roles/x": {"allowed_policies": "root"},
    "auth/cert/certs/operators": {"token_policies": "root"},
    "auth/cert/certs/other": {"certificate": "x"},
    "auth/userpass/users/me": {"password": "x", "policies": "root"},
    "sys/auth/other": {"type": "userpass"},
    "sys/auth/cert/tune": {"default_lease_ttl": "9h"},
    "identity/entity": {"name": "x", "policies": ["root"]},
    "identity/group": {"name": "x", "policies": ["root"]},
    "sys/remount": {"from": "kv", "to": "pki-x"},
    "sys/generate-recovery-token/attempt": {},
    # hiding
    "sys/audit/file": {"type": "file", "options": {"file_path": "/dev/null"}},
    "sys/config/auditing/request-headers/x": {"hmac": False},
    "sys/mounts/database/tune": {"audit_non_hmac_response_keys": ["password"]},
    "sys/mounts/kv/tune": {"audit_non_hmac_request_keys": ["value"]},
    "sys/mounts/more": {"type": "kv", "config": {"audit_non_hmac_response_keys": ["value"]}},
    "sys/auth/approle": {"type": "approle", "config": {"audit_non_hmac_request_keys": ["x"]}},
    # identities
    "auth/approle/role/holdfast-web/secret-id": {},
    "auth/approle/role/holdfast-web/custom-secret-id": {"secret_id": "mine"},
    "auth/approle/role/holdfast-web/policies": {"token_policies": "root"},
    # programs
    "sys/plugins/catalog/database/other": {"sha256": "0" * 64, "command": "sh"},
    "sys/plugins/catalog/database/postgresql-database-plugin": {
        "sha256": "0" * 64,
        "command": "x",
        "env": ["LD_PRELOAD=x"],
    },
    "sys/plugins/catalog/auth/other": {"sha256": "0" * 64, "command": "sh"},
    "database/config/db": {"plugin_name": "x", "root_rotation_statements": ["DROP"]},
    # everybody
    "sys/seal": {},
    "sys/rotate": {},
    "sys/storage/raft/snapshot": {},
    "sys/leases/revoke-force/database": {},
}


@pytest.mark.parametrize("path", WRITES)
def test_what_a_deployer_cannot_write(stocked: Vault, path: str) -> None:
    with pytest.raises(Denied):
        stocked.write(path, WRITES[path])


@pytest.mark.parametrize("seconds", [601, 86400])
def test_a_secret_id_is_wrapped_for_ten_minutes_at_most(stocked: Vault, seconds: int) -> None:
    with pytest.raises(Denied):
        stocked.wrapped("auth/approle/role/holdfast-web/secret-id", {}, seconds=seconds)


DELETES = [
    "sys/mounts/transit",
    "sys/mounts/pki-servers",
    "sys/auth/approle",
    "sys/auth/cert",
    "sys/audit/file",
    "sys/policies/acl/deployer",
    "auth/cert/certs/operators",
    "kv/secret",
    "pki-servers/root",
    "pki-servers/key/any",
]


@pytest.mark.parametrize("path", DELETES)
def test_what_a_deployer_cannot_remove(stocked: Vault, path: str) -> None:
    with pytest.raises(Denied):
        stocked.delete(path)


@pytest.mark.parametrize("path", ["kv", "sys/leases/lookup/database/creds"])
def test_what_a_deployer_cannot_list(stocked: Vault, path: str) -> None:
    with pytest.raises(Denied):
        stocked.list(path)


def test_a_deployer_sees_whose_tokens_there_are_and_cannot_end_them(stocked: Vault) -> None:
    accessors = stocked.list("auth/token/accessors")
    found = [
        stocked.write("auth/token/lookup-accessor", {"accessor": accessor})
        for accessor in accessors
    ]
    assert [token for token in found if token["policies"] == ["deployer"]]
    assert not [token for token in found if token["id"]]
    for accessor in accessors:
        with pytest.raises(Denied):
            stocked.write("auth/token/revoke-accessor", {"accessor": accessor})
