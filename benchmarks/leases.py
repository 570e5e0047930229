"""Logins and certificates that change all the time, under load; and how many Vault can issue."""

from __future__ import annotations

import base64
import io
import json
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast import paths
from holdfast.installation import Installation
from holdfast.vault.login import deployer

_BIN = Path(sys.executable).parent
_CODE = "/var/tmp/leases"  # noqa: S108  (on a host that is thrown away)
_LOGIN = "/run/holdfast/gateway/database.json"
_LOGINS, _CERTIFICATES = "database/roles/gateway-app", "pki-servers/roles/holdfast-web1-web"
# Seconds that a login lasts, that it lasts at most, and that a certificate does.
_LEASE, _LONGEST, _CERTIFICATE = 6, 12, 15
_SECONDS = 60
_ISSUE_SECONDS = 10
_THREADS = 8
_PORT = 443

# As the service `web` on its host: its identity, then certificates one after the other.
_ISSUE = """
import json, subprocess, sys, threading, time, hvac
settings = json.load(open("/etc/holdfast/vault.json"))
subprocess.run(["/usr/local/lib/holdfast/vault-identity", "hand", "web"], check=True)
wrapped = open("/run/holdfast-agent/web/secret-id").read()
client = lambda token=None: hvac.Client(settings["address"], token=token, verify=settings["ca"])
opened = client(wrapped).sys.unwrap()["data"]["secret_id"]
role = settings["services"]["web"]["identity"]
first = client()
first.auth.approle.login(role_id=role, secret_id=opened)
until = time.monotonic() + float(sys.argv[1])
issued = []
def issue():
    own = client(first.token)
    while time.monotonic() < until:
        own.write_data("pki-servers/issue/" + role, data={"common_name": sys.argv[2]})
        issued.append(1)
threads = [threading.Thread(target=issue) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
first.auth.token.revoke_self()
print(len(issued))
"""


@dataclass(frozen=True, kw_only=True)
class Leases:
    """What was seen under load, and how fast Vault issues."""

    seconds: int
    queries: int
    failed_queries: int
    logins: int
    slowest_query: float
    requests: int
    failed_requests: int
    certificates: int
    issued_per_second: float
    issued_per_core_second: float


def measure(name: str) -> Leases:
    """Measure on a living installation; its lives are short afterwards, so throw it away."""
    installation = Installation(name)
    record = json.loads((installation.folder / "servers.json").read_text())
    address = {host: entry["addresses"][0] for host, entry in record["hosts"].items()}
    _ship(name)
    issued, cores = _issue(name, f"api.{record['domain']}")
    vault = deployer(installation, {"vault1": address["vault1"]})
    for path, lives in (
        (_LOGINS, {"default_ttl": _LEASE, "max_ttl": _LONGEST}),
        (_CERTIFICATES, {"ttl": _CERTIFICATE, "max_ttl": _CERTIFICATE}),
    ):
        vault.write(path, {**dict(vault.read(path) or {}), **lives})
    _ssh(name, "app1", "sudo systemctl restart holdfast-agent-gateway")
    _ssh(name, "web1", "sudo systemctl restart holdfast-agent-web")
    edge = _Edge(address["web1"], record["domain"], installation.folder / "vault" / "root-ca.crt")
    edge.start()
    command = (
        f"cd / && sudo -u holdfast-gateway python3 -I {_CODE}/tests/leases_load.py"
        f" {_CODE} {_LOGIN} {_SECONDS} {_THREADS}"
    )
    found: dict[str, Any] = json.loads(_ssh(name, "app1", command))
    edge.stop()
    return Leases(
        seconds=_SECONDS,
        queries=found["queries"],
        failed_queries=len(found["failed"]),
        logins=len(found["logins"]),
        slowest_query=found["slowest"],
        requests=edge.requests,
        failed_requests=edge.failed,
        certificates=len(edge.serials),
        issued_per_second=issued / _ISSUE_SECONDS,
        issued_per_core_second=issued / cores,
    )


class _Edge(threading.Thread):
    """Strangers that come to the edge one after the other, each with a handshake of its own."""

    def __init__(self, address: str, domain: str, root: Path) -> None:
        super().__init__()
        self._address, self._name = address, f"api.{domain}"
        self._trust = ssl.create_default_context(cafile=str(root))
        self._over = threading.Event()
        self.requests = self.failed = 0
        self.serials: set[str] = set()

    def run(self) -> None:
        while not self._over.wait(0.02):
            self.requests += 1
            try:
                self.serials.add(self._serial())
            except OSError:
                self.failed += 1

    def stop(self) -> None:
        """End, and wait for the end."""
        self._over.set()
        self.join()

    def _serial(self) -> str:
        plain = socket.create_connection((self._address, _PORT), timeout=5)
        with closing(self._trust.wrap_socket(plain, server_hostname=self._name)) as stream:
            shown = stream.getpeercert() or {}
            lines = ("GET / HTTP/1.1", f"Host: {self._name}", "Connection: close", "", "")
            stream.sendall("\r\n".join(lines).encode())
            if not stream.recv(16).startswith(b"HTTP/1.1 "):
                raise ConnectionError
        return str(shown["serialNumber"])


def _issue(name: str, common_name: str) -> tuple[int, float]:
    """Return how many certificates were issued, and the seconds that Vault's cores took."""
    coded = base64.b64encode(_ISSUE.encode()).decode()
    run = "import base64,sys;t=sys.argv.pop(1);exec(base64.b64decode(t))"
    before = _cores(name)
    said = _ssh(name, "web1", f'sudo python3 -I -c "{run}" {coded} {_ISSUE_SECONDS} {common_name}')
    time.sleep(0.5)
    return int(said), _cores(name) - before


def _cores(name: str) -> float:
    """Seconds that the cores have worked for Vault's unit."""
    shown = _ssh(
        name,
        "vault1",
        "sudo cat /proc/$(systemctl show -P MainPID vault.service)/stat; getconf CLK_TCK",
    ).splitlines()
    fields = shown[0].rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / int(shown[1])


def _ship(name: str) -> None:
    """Bring the library of leased logins, and what works with it, to where services run."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path in ("holdfast/__init__.py", "holdfast/leases", "tests/leases_load.py"):
            tar.add(paths.repository() / path, arcname=path)
    coded = base64.b64encode(packed.getvalue()).decode()
    _ssh(
        name,
        "app1",
        "sudo DEBIAN_FRONTEND=noninteractive apt-get -qq install python3-psycopg"
        f" python3-psycopg-pool >&2 && sudo mkdir -p {_CODE} && echo {coded} | base64 -d"
        f" | sudo tar xz -C {_CODE} && sudo chmod -R a+rX {_CODE}",
    )


def _ssh(name: str, host: str, command: str) -> str:
    return subprocess.run(
        [_BIN / "holdfast", "--name", name, "ssh", host, command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
