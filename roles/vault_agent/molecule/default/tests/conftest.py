"""The Vault of the scenario with a root token, its clients, and an attacker on any of them."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from holdfast import inventory as inventories
from holdfast.installation import Installation
from holdfast.local.podman import Podman
from holdfast.process import CommandFailed
from holdfast.vault.authority import certificate
from holdfast.vault.quorum import enough, root_token
from holdfast.vault.site import Site
from holdfast.vault.unsealing import current

_REPOSITORY = Path(__file__).resolve().parents[5]
_SCENARIO = Path(__file__).parents[1]
_PODMAN = Podman()

# Runs on a host, asks Vault from the host's own address, and says nothing to anybody else.
_ASK = """
import json, ssl, sys, urllib.error, urllib.request
asked = json.load(sys.stdin)
headers = {"X-Vault-Token": asked["token"]} if asked["token"] else {}
body = json.dumps(asked["body"]).encode()
trust = ssl.create_default_context(cadata=asked["ca"])
request = urllib.request.Request(asked["url"], body, headers, method="POST")
try:
    answer = urllib.request.urlopen(request, context=trust, timeout=20)
except urllib.error.HTTPError as error:
    answer = error
text = answer.read()
print(json.dumps([answer.status, json.loads(text) if text else {}]))
"""


def _until(true, *, seconds=60, pause=0.3):
    """Wait until `true()` is, and return it."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(pause)
    return found


@dataclass(frozen=True)
class Client:
    """A host, reached as root and not over the network; and its web server, which is."""

    name: str
    site: Site

    @property
    def container(self):
        return f"holdfast-{self.site.installation.name}_{self.name}"

    @property
    def address(self):
        return self.site.inventory.hosts[self.name].addresses[0]

    @property
    def domain(self):
        return self.site.installation.domain

    def run(self, command, *, stdin=""):
        """Return the status and all that was said."""
        argv = ("exec", "-i", self.container, "sh", "-c", f'{{ {command}\n}} 2>&1; echo " $?"')
        said, _, status = _PODMAN(*argv, stdin=stdin).rstrip().rpartition(" ")
        return int(status), said.strip()

    def out(self, command, *, stdin=""):
        status, said = self.run(command, stdin=stdin)
        assert status == 0, said
        return said

    def restart(self):
        _PODMAN("restart", "--time", "10", self.container)
        _until(lambda: self.answers("systemctl is-system-running | grep -E 'running|degraded'"))

    def answers(self, command):
        with contextlib.suppress(CommandFailed):
            return self.run(command)[0] == 0
        return False

    def journal(self, unit="holdfast-agent-web"):
        return self.out(f"journalctl --no-pager --output=cat --unit={unit}")

    def shown(self, unit, *properties):
        options = " ".join(f"-p {one}" for one in properties)
        return self.out(f"systemctl show --value {options} {unit}").split("\n")

    def certificate(self, service="web"):
        """What the agent wrote; the key stays there."""
        pem = self.out(f"openssl x509 -in /run/holdfast/{service}/tls.pem")
        return x509.load_pem_x509_certificate(pem.encode())

    def served(self):
        """What a client that trusts the root alone gets from the web server, verified."""
        trust = ssl.create_default_context(cafile=self.site.records.folder / "root-ca.crt")
        name = f"{self.name}.{self.domain}"
        with (
            socket.create_connection((self.address, 443), timeout=10) as plain,
            trust.wrap_socket(plain, server_hostname=name) as secured,
        ):
            secured.sendall(f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
            answer = b""
            while more := secured.recv(4096):
                answer += more
            assert answer.endswith(b"well\n"), answer
            return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True))

    def ask(self, path, body=None, *, token=None):
        """A request to Vault from this host: the status, and the answer."""
        asked = {
            "url": f"https://vault.{self.domain}:8200/v1/{path}",
            "ca": self.site.operators_ca.read_text(),
            "token": token,
            "body": body or {},
        }
        argv = ("exec", "-i", self.container, "python3", "-c", _ASK)
        return json.loads(_PODMAN(*argv, stdin=json.dumps(asked)))

    def identity(self):
        """The raw secret id of this host, as its root gets at it."""
        sealed = "/etc/credstore.encrypted/holdfast-vault-identity"
        return self.out(f"systemd-creds decrypt --name=holdfast-vault-identity {sealed} -")

    def login(self, role, secret_id):
        """The status, and the token."""
        status, answer = self.ask("auth/approle/login", {"role_id": role, "secret_id": secret_id})
        return status, answer["auth"]["client_token"] if status == 200 else None


@pytest.fixture(scope="session")
def until():
    """Wait until a function's answer is true, and return it."""
    return _until


@pytest.fixture(scope="session")
def site():
    found = inventories.load(_SCENARIO / "inventory")
    return Site(Installation(os.environ["HOLDFAST_NAME"]), found, lambda _: None)


@pytest.fixture(scope="session")
def trixie(site):
    return Client("trixie1", site)


@pytest.fixture(scope="session")
def bookworm(site):
    return Client("bookworm1", site)


@pytest.fixture(scope="session")
def keeper(site):
    """The host of Vault."""
    return Client("vault1", site)


@pytest.fixture(scope="session")
def root(site, unseal):
    """Vault, as nobody meets it every day."""
    unseal()
    records = site.records
    holders = site.holding(given={}, interactive=False)
    shares = enough(records, current(records), holders, say=lambda _: None)
    with root_token(site.cluster.leader(), shares, say=lambda _: None) as vault:
        yield vault


@pytest.fixture(scope="session")
def unseal(site):
    """Have the operators open Vault, if it is not."""

    def work():
        node = site.cluster.nodes[0].vault
        _until(lambda: _answers(node))
        site.unsealing(given={}, interactive=False).run()
        site.cluster.leader()

    return work


def _answers(node):
    try:
        return bool(node.seal_status())
    except Exception:  # noqa: BLE001  (it is asked again)
        return False


@pytest.fixture(scope="session")
def installation_root(site):
    return certificate(site.records.folder, "root-ca")


@pytest.fixture
def shorter(root):
    """Give certificates, and the agents' own logins, a shorter life, until the test ends."""
    kept = {}

    def work(role, *, certificate, token=None):
        path = f"pki-servers/roles/{role}"
        # Vault forgets what is not written again, here but not there.
        kept.setdefault(path, dict(root.read(path)))
        root.write(path, {**kept[path], "ttl": certificate, "max_ttl": certificate})
        if token:
            path = f"auth/approle/role/{role}"
            kept.setdefault(path, {"token_period": root.read(path)["token_period"]})
            root.write(path, {"token_period": token})

    yield work
    for path, found in kept.items():
        root.write(path, found)


@pytest.fixture(scope="session")
def play():
    """Run the scenario's play: what changed, as (task, host)."""

    def run(*words, **variables):
        done = subprocess.run(
            [
                Path(sys.executable).with_name("ansible-playbook"),
                *("-i", str(_SCENARIO / "inventory"), "--extra-vars", json.dumps(variables)),
                *words,
                str(_SCENARIO / "converge.yml"),
            ],
            cwd=_REPOSITORY,
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        changed, task = set(), ""
        for line in said.splitlines():
            if line.startswith("TASK ["):
                task = line.split("[", 1)[1].split("]")[0]
            if line.startswith("changed: ["):
                item = line.partition("item=")[2]
                changed.add((task, line.split("[", 1)[1].split("]")[0].split(" ")[0], item))
        return changed

    return run
