"""The intermediate is replaced, and no client loses a connection."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509

_HOLDFAST = Path(sys.executable).with_name("holdfast")


@pytest.fixture
def holdfast(site):
    def run(*words):
        return subprocess.run(
            [_HOLDFAST, "--inventory", str(site.inventory.path), "vault", *words],
            env=dict(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


class Visitor(threading.Thread):
    """Somebody who trusts the root alone, and comes again and again."""

    def __init__(self, host):
        super().__init__()
        self.host = host
        self.ended = threading.Event()
        self.seen = []
        self.lost = []

    def run(self):
        while not self.ended.is_set():
            try:
                self.seen.append(self.host.served())
            except (OSError, AssertionError) as error:
                self.lost.append(repr(error))
            time.sleep(0.02)


def _slow(host, into):
    """Begin to fetch what takes half a minute; its connection is to last."""
    trust = ssl.create_default_context(cafile=host.site.records.folder / "root-ca.crt")
    name = f"{host.name}.{host.domain}"
    with (
        socket.create_connection((host.address, 443), timeout=30) as plain,
        trust.wrap_socket(plain, server_hostname=name) as secured,
    ):
        secured.sendall(f"GET /slow/file HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        size = 0
        while more := secured.recv(65536):
            size += len(more)
        into.append(size)


def _signers(certificates, intermediates):
    """Which intermediates signed them, by serial number."""
    found = set()
    for leaf in certificates:
        key = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        found.add(intermediates[key.key_identifier])
    return found


def test_every_agent_moves_and_no_connection_is_lost(trixie, bookworm, root, holdfast):
    hosts = (trixie, bookworm)
    web = [host.shown("nginx.service", "MainPID", "NRestarts") for host in hosts]
    visitors = [Visitor(host) for host in hosts]
    size = []
    slow = threading.Thread(target=_slow, args=(trixie, size))
    for thread in (*visitors, slow):
        thread.start()
    time.sleep(1)
    done = holdfast("rotate-intermediate", "--now", "--json")
    time.sleep(2)
    for visitor in visitors:
        visitor.ended.set()
    for thread in (*visitors, slow):
        thread.join()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["well"]
    assert told["made"]
    assert told["moved"] == ["bookworm1/web", "trixie1/mail", "trixie1/web"] or set(
        told["moved"]
    ) == {"trixie1/web", "trixie1/mail", "bookworm1/web"}
    by_key = {}
    for issuer in root.list("pki-servers/issuers"):
        pem = root.read(f"pki-servers/issuer/{issuer}")["certificate"]
        found = x509.load_pem_x509_certificate(pem.encode())
        key = found.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        by_key[key.digest] = f"{found.serial_number:x}"
    (kept,) = [one["serial"] for one in told["kept"]]
    for visitor in visitors:
        assert visitor.lost == []
        assert len(visitor.seen) > 20
        # Both were seen, each verified up to the root: so each was sent with its certificate.
        assert _signers(visitor.seen, by_key) == {kept, told["current"]}
    assert size[0] > 2 * 1024**2
    assert [host.shown("nginx.service", "MainPID", "NRestarts") for host in hosts] == web
    # The site agrees with what stands.
    assert root.read("pki-servers/config/issuers")["default"]


def test_an_agent_that_cannot_renew_is_named(trixie, bookworm, holdfast):
    """What is left is finished by the next run, without a second intermediate."""
    bookworm.out("mv /etc/holdfast/agent/web.hcl /run/kept.hcl")
    try:
        done = holdfast("rotate-intermediate", "--now", "--json")
    finally:
        bookworm.out("mv /run/kept.hcl /etc/holdfast/agent/web.hcl")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert not told["well"]
    assert "web on bookworm1" in told["findings"][0]
    assert bookworm.served()
    again = holdfast("rotate-intermediate", "--now", "--json")
    assert again.returncode == 0, again.stderr
    after = json.loads(again.stdout)
    assert not after["made"]
    assert after["current"] == told["current"]
    for host in (trixie, bookworm):
        assert f"{host.served().serial_number:x}" == f"{host.certificate().serial_number:x}"


def test_nothing_is_made_by_cleaning(holdfast):
    before = json.loads(holdfast("rotate-intermediate", "--only-clean", "--json").stdout)
    again = json.loads(holdfast("rotate-intermediate", "--only-clean", "--json").stdout)
    assert before == again
    assert len(before["kept"]) >= 1
