"""What a client makes of a Vault that is away, closed, strange, or tired of its token."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from holdfast.vault.client import (
    Denied,
    NotInitialised,
    Refused,
    Sealed,
    Token,
    Unreachable,
    Untrusted,
    Vault,
)
from holdfast.vault.quorum import enough, root_token
from holdfast.vault.unsealing import current
from tests.integration.vault.conftest import Office


@pytest.fixture
def root(alive: Office) -> Iterator[Vault]:
    leader = alive.cluster.leader()
    shares = enough(alive.records, current(alive.records), alive.holders(), say=alive.say)
    with root_token(leader, shares, say=alive.say) as vault:
        yield vault


def short(root: Vault, *, seconds: int, **how: Any) -> Token:
    """Make a token that soon ends."""
    request = {"policies": ["default"], "ttl": f"{seconds}s", **how}
    auth = root._request("post", "auth/token/create", request, token=root.token)["auth"]
    return Token(
        value=auth["client_token"], seconds=auth["lease_duration"], renewable=auth["renewable"]
    )


def test_unreachable(office: Office) -> None:
    office.servers[0].stop()
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"vault1 .* does not answer"):
        office.servers[0].vault(patience=1).seal_status()
    assert 0.5 < time.monotonic() - begun < 10


def test_a_read_waits_for_a_node_that_restarts(sealed: Office) -> None:
    server = sealed.servers[0]
    server.stop()
    threading.Timer(0.5, server.start).start()
    assert server.vault(patience=30).seal_status().sealed


def test_a_write_is_never_repeated(sealed: Office) -> None:
    server = sealed.servers[0]
    server.stop()
    begun = time.monotonic()
    with pytest.raises(Unreachable):
        server.vault(patience=30).tell("sys/unseal", {"reset": True})
    assert time.monotonic() - begun < 10


def test_another_authority(sealed: Office, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises(Untrusted, match="who else answers there"):
        sealed.servers[0].vault(ca=other).seal_status()


def test_another_address(sealed: Office) -> None:
    """The certificate is good, and for another host."""
    server = sealed.servers[0]
    with pytest.raises(Untrusted):
        Vault("localhost", ca=server.ca, port=_forwarded(server.address)).seal_status()


def _forwarded(address: str) -> int:
    """Forward one connection from a port of localhost."""
    listening = socket.create_server(("127.0.0.1", 0))

    def forward() -> None:
        here, _ = listening.accept()
        with here, socket.create_connection((address, 8200)) as there:
            here.settimeout(1)
            there.settimeout(1)
            for one, other in ((here, there), (there, here)):
                try:
                    other.sendall(one.recv(65536))
                except OSError:
                    return
        listening.close()

    threading.Thread(target=forward, daemon=True).start()
    return int(listening.getsockname()[1])


def test_the_environment_is_not_heeded(
    sealed: Office, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither proxies, nor another authority, nor Vault's own variables."""
    other = tmp_path / "other.crt"
    trustme.CA().cert_pem.write_to_path(other)
    for name, value in {
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "REQUESTS_CA_BUNDLE": str(other),
        "VAULT_ADDR": "https://127.0.0.1:1",
        "VAULT_TOKEN": "hvs.stolen",
        "VAULT_CACERT": str(other),
    }.items():
        monkeypatch.setenv(name, value)
    assert sealed.vault.seal_status().sealed


def test_a_token_of_the_environment_is_not_used(
    alive: Office, root: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hvs.stolen")
    vault = alive.servers[0].vault(token=root.token)
    assert vault.read("sys/mounts") is not None


def test_no_authority(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="copy the installation's folder"):
        Vault("127.0.0.1", ca=tmp_path / "none.crt")


def test_not_initialised(office: Office) -> None:
    status = office.vault.seal_status()
    assert (status.initialised, status.sealed, status.cluster_id) == (False, True, "")
    with pytest.raises(NotInitialised, match="vault init"):
        office.vault.tell("sys/unseal", {"key": "ab" * 33})


def test_sealed(sealed: Office) -> None:
    with pytest.raises(Sealed, match="vault unseal"):
        sealed.vault.read("sys/mounts")
    assert not sealed.vault.is_leader()


def test_reading_writing_and_what_is_not_there(root: Vault) -> None:
    root.write("sys/policies/acl/holdfast-x", {"policy": 'path "a" {}'})
    assert root.read("sys/policies/acl/holdfast-x") == {
        "name": "holdfast-x",
        "policy": 'path "a" {}',
    }
    assert "holdfast-x" in root.list("sys/policies/acl")
    root.delete("sys/policies/acl/holdfast-x")
    assert root.read("sys/policies/acl/holdfast-x") is None
    assert root.list("auth/cert/crls") == []
    with pytest.raises(Refused, match="refuses sys/mounts/x"):
        root.write("sys/mounts/x", {"type": "no-such-engine"})


def test_a_wrapped_answer(root: Vault) -> None:
    wrapped = root.wrapped("sys/tools/random/4", {}, seconds=60)
    assert wrapped.token not in repr(wrapped)
    holder = root.tell("sys/wrapping/lookup", {"token": wrapped.token})
    assert holder["data"]["creation_ttl"] == 60


def test_denied_without_a_token(alive: Office) -> None:
    with pytest.raises(Denied, match="log in again"):
        alive.vault.read("sys/mounts")


def test_a_token_is_renewed_in_time(alive: Office, root: Vault) -> None:
    vault = alive.servers[0].vault(token=short(root, seconds=3, period="3s"))
    for _ in range(5):
        time.sleep(1)
        assert vault.read("auth/token/lookup-self") is not None
    assert vault.token is not None


@pytest.mark.parametrize("renewable", [True, False])
def test_a_token_that_ends_is_replaced(alive: Office, root: Vault, *, renewable: bool) -> None:
    """At two thirds of its life, or as soon as its renewals get short."""
    logins = []

    def login() -> Token:
        logins.append(short(root, seconds=3, explicit_max_ttl="3s", renewable=renewable))
        return logins[-1]

    vault = alive.servers[0].vault(login=login)
    for _ in range(5):
        assert vault.read("auth/token/lookup-self") is not None
        time.sleep(1)
    assert len(logins) >= 2


def test_a_revoked_token_is_replaced_once(alive: Office, root: Vault) -> None:
    logins: list[Token] = []

    def login() -> Token:
        logins.append(short(root, seconds=60))
        return logins[-1]

    vault = alive.servers[0].vault(login=login)
    vault.read("auth/token/lookup-self")
    root.write("auth/token/revoke", {"token": logins[0].value})
    assert vault.read("auth/token/lookup-self") is not None
    assert len(logins) == 2
    with pytest.raises(Denied):  # a new login does not help either, and is tried once
        vault.read("sys/mounts/x")
    assert len(logins) == 3


def test_tokens_are_not_shown(root: Vault) -> None:
    token = root.token
    assert token is not None
    assert token.value not in repr(token)
