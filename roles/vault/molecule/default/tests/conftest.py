"""Talking to Vault as its clients do, and keeping its shares in the memory of the tests."""

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import testinfra

_REPOSITORY = Path(__file__).resolve().parents[5]
_AUTHORITY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "ca"
_THRESHOLD = 2


def _until(true, *, seconds=60, pause=0.25):
    """Wait until `true()` is, and return it."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(pause)
    return found


@dataclass
class Node:
    """One Vault: its host, and its API as seen from outside."""

    name: str
    host: testinfra.host.Host
    addresses: list

    def ask(self, method, path, body=None, *, token=None, timeout=20):
        """Status and JSON of one request; the certificate must name the address."""
        trust = ssl.create_default_context(cafile=str(_AUTHORITY / "root.crt"))
        connection = http.client.HTTPSConnection(
            self.addresses[0], 8200, timeout=timeout, context=trust
        )
        with contextlib.closing(connection):
            headers = {"X-Vault-Token": token} if token else {}
            content = None if body is None else json.dumps(body)
            connection.request(method, f"/v1/{path}", body=content, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        told = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(text) if text and told else {}

    def got(self, method, path, body=None, **options):
        """The JSON of a request that must succeed."""
        status, found = self.ask(method, path, body, **options)
        assert status in (200, 204), (self.name, path, status, found)
        return found

    def seal_status(self):
        return self.got("GET", "sys/seal-status")

    def sealed(self):
        return self.seal_status()["sealed"]

    def unseal(self, shares):
        """As soon as it has joined a cluster, if it has to."""
        _until(lambda: self.seal_status()["initialized"])
        for share in shares[:_THRESHOLD]:
            self.got("PUT", "sys/unseal", {"key": share})
        # While it joins, the answer to the last share still says sealed.
        _until(lambda: not self.sealed())

    def pid(self):
        return self.host.check_output("systemctl show --value -p MainPID vault")

    def owners(self):
        """Who may do what with which file."""
        shown = self.host.check_output(
            "stat --format='%n %U:%G %a' /etc/vault.d /etc/vault.d/* /var/lib/vault"
            " /var/log/vault /var/log/vault/audit.log /run/holdfast/vault /run/holdfast/vault/*"
        )
        return shown.splitlines()

    def shown_certificate(self):
        return ssl.get_server_certificate((self.addresses[0], 8200), timeout=10)

    def journal(self, unit="vault"):
        return self.host.check_output("journalctl --no-pager --output=cat --unit=%s", unit)


@dataclass
class Cluster:
    """Initialised nodes."""

    nodes: list
    shares: list = field(repr=False)
    token: str = field(repr=False)

    def open(self, node):
        """Unseal a node, and wait until there is work."""
        node.unseal(self.shares)
        _until(self.leader)

    def leader(self):
        """The active node as somebody who works sees it; None while there is none."""
        for node in self.nodes:
            with contextlib.suppress(OSError):
                if node.ask("GET", "sys/health", timeout=2)[0] == 200:
                    return node
        return None

    def standbys(self):
        leader = _until(self.leader)
        return [node for node in self.nodes if node is not leader]

    def write(self, node, name, value, *, timeout=20):
        body = {"value": value}
        return node.ask("PUT", f"kv/{name}", body, token=self.token, timeout=timeout)[0] == 204

    def read(self, node, name):
        status, found = node.ask("GET", f"kv/{name}", token=self.token)
        return found["data"]["value"] if status == 200 else None

    def raft(self):
        """Every server by name, as the leader sees it."""
        found = _until(self.leader).got("GET", "sys/storage/raft/autopilot/state", token=self.token)
        return found["data"]["servers"]


@pytest.fixture(scope="session")
def until():
    """Wait until a function's answer is true, and return it."""
    return _until


@pytest.fixture(scope="session")
def authority():
    """Folder of the certification authority that the nodes believe."""
    return _AUTHORITY


@pytest.fixture(scope="session")
def nodes(request):
    inventory = request.config.option.ansible_inventory
    found = {}
    for name in ("trixie1", "trixie2", "trixie3", "bookworm1"):
        host = testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory)
        addresses = host.ansible.get_variables()["addresses"]
        found[name] = Node(name=name, host=host, addresses=addresses)
    return found


def _initialised(nodes):
    """Begin anew on every node, as the ceremony does, and open them all."""
    for node in nodes:
        node.host.check_output("rm -f /var/lib/holdfast/vault/complete")
        node.host.check_output("touch /var/lib/holdfast/vault/begun")
        node.host.check_output("/usr/local/lib/holdfast/vault-ceremony stop")
    for node in nodes:
        node.host.check_output("/usr/local/lib/holdfast/vault-ceremony begin")
    body = {"secret_shares": 3, "secret_threshold": _THRESHOLD}
    made = nodes[0].got("PUT", "sys/init", body)
    cluster = Cluster(nodes=nodes, shares=made["keys"], token=made["root_token"])
    for node in nodes:
        node.unseal(cluster.shares)
    leader = _until(cluster.leader)
    for kind, path, body in (
        (
            "PUT",
            "sys/audit/file",
            {"type": "file", "options": {"file_path": "/var/log/vault/audit.log"}},
        ),
        ("POST", "sys/mounts/kv", {"type": "kv"}),
    ):
        leader.got(kind, path, body, token=cluster.token)
    return cluster


@pytest.fixture(scope="session")
def cluster(nodes):
    """Three nodes, unsealed."""
    return _initialised([nodes[f"trixie{number}"] for number in (1, 2, 3)])


@pytest.fixture(scope="session")
def single(nodes):
    """One node on the older release, unsealed."""
    return _initialised([nodes["bookworm1"]])


@pytest.fixture
def node(single):
    """The single node, at work at the beginning of each test."""
    (found,) = single.nodes
    found.host.check_output("systemctl reset-failed vault; systemctl start vault")
    if found.sealed():
        single.open(found)
    return found


@pytest.fixture(scope="session")
def play(nodes):
    """Run the scenario's play on the single node; True with what it said if it succeeded."""

    def run(**variables):
        done = subprocess.run(
            [
                Path(sys.executable).with_name("ansible-playbook"),
                *("-i", nodes["bookworm1"].host.backend.ansible_inventory),
                *("--limit", "bookworm1", "--extra-vars", json.dumps(variables)),
                str(Path(__file__).parents[1] / "converge.yml"),
            ],
            cwd=_REPOSITORY,
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "false"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode == 0, done.stdout + done.stderr

    return run
