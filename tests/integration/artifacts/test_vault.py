"""Vault and its plugins as fetched: what the roles build on is in them, and they work together.

Whichever source gave Vault, the same must hold: roles use what the publisher's and ours both have.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hvac
import pytest
import requests

from holdfast.artifacts import Cache, default_path, fetch, load, this_machine
from holdfast.process import WITH_US

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trustme

    from holdfast.artifacts import Held

POSTGRESQL = "vault-plugin-database-postgresql"
AWS = "vault-plugin-auth-aws"
NAMES = ("vault", AWS, POSTGRESQL)
HOLDFAST = Path(sys.executable).parent / "holdfast"

pytestmark = pytest.mark.timeout(5400)  # what is not in the cache is built: ten minutes and more


class Aloud:
    """Tells what is going on past pytest's capturing: nothing is worse than silent minutes."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture = config.pluginmanager.getplugin("capturemanager")

    def say(self, message: str) -> None:
        with self._capture.global_and_fixture_disabled():
            print(f"\n{message}", end="", flush=True)

    def progress(self, label: str, done: int, total: int | None) -> None:
        pass


@pytest.fixture(scope="module")
def fetched(request: pytest.FixtureRequest) -> dict[str, Held]:
    """The artifacts, from the cache that all of this machine shares; made if they are not there."""
    wanted = load(default_path()).choose(NAMES)
    report = Aloud(request.config)
    found = fetch(wanted, arch=this_machine(), cache=Cache(), report=report, wait=5000)
    return {artifact.name: held for artifact, held in zip(wanted, found, strict=True)}


@dataclass(frozen=True)
class Server:
    """A running, unsealed Vault."""

    client: hvac.Client
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def plugins(self) -> Path:
        return self.folder / "plugins"

    def register(self, kind: str, name: str, checksum: str) -> None:
        self.client.write_data(
            f"sys/plugins/catalog/{kind}/{name}", data={"command": name, "sha256": checksum}
        )

    def runs(self, name: str) -> bool:
        """Whether the server has started the plugin `name`."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")  # any thread may fork
        children = [child for task in tasks for child in task.read_text().split()]
        return self.plugins / name in [Path(f"/proc/{x}/exe").readlink() for x in children]


@pytest.fixture(scope="module")
def server(
    fetched: dict[str, Held], authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("vault")
    (folder / "raft").mkdir()
    (folder / "plugins").mkdir()
    for name in (AWS, POSTGRESQL):
        shutil.copy(fetched[name].path, folder / "plugins" / name)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    api, cluster = free_ports()
    settings = {
        "storage": {"raft": {"path": str(folder / "raft"), "node_id": "one"}},
        "listener": {
            "tcp": {
                "address": f"127.0.0.1:{api}",
                "cluster_address": f"127.0.0.1:{cluster}",
                "tls_cert_file": str(folder / "server.pem"),
                "tls_key_file": str(folder / "server.pem"),
            }
        },
        "api_addr": f"https://127.0.0.1:{api}",
        "cluster_addr": f"https://127.0.0.1:{cluster}",
        "disable_mlock": True,
        "plugin_directory": str(folder / "plugins"),
    }
    (folder / "vault.json").write_text(json.dumps(settings))
    argv = [*WITH_US, str(fetched["vault"].path), "server", f"-config={folder / 'vault.json'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    try:
        client = hvac.Client(settings["api_addr"], verify=str(folder / "authority.pem"))
        running = Server(client, process, folder)
        open_up(running)
        yield running
    finally:
        process.terminate()
        process.wait(60)


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def open_up(server: Server) -> None:
    """Initialise and unseal; nothing of that outlives the process."""
    log = server.folder / "log"
    wait(lambda: answers(server), log)
    made = server.client.sys.initialize(secret_shares=1, secret_threshold=1)
    server.client.sys.submit_unseal_key(made["keys"][0])
    server.client.token = made["root_token"]
    wait(lambda: server.client.sys.read_leader_status()["is_self"], log)


def answers(server: Server) -> bool:
    assert server.process.poll() is None, (server.folder / "log").read_text()
    try:
        return not server.client.sys.is_initialized()
    except requests.ConnectionError:
        return False


def wait(until: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 90
    while not until():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def test_the_commands_give_and_verify_them(fetched: dict[str, Held]) -> None:
    run = [str(HOLDFAST), "artifacts"]
    again = subprocess.run([*run, "fetch", *NAMES], capture_output=True, text=True, check=True)
    assert again.stdout.split() == [str(fetched[name].path) for name in NAMES]
    said = subprocess.run([*run, "verify", "--json", *NAMES], capture_output=True, check=True)
    rows = {row["name"]: (row["state"], row["licence"]) for row in json.loads(said.stdout)}
    assert rows == dict.fromkeys(NAMES, ("verified", "BUSL-1.1"))


def test_it_is_the_version_that_the_manifest_names(fetched: dict[str, Held]) -> None:
    said = subprocess.run(
        [fetched["vault"].path, "version"], capture_output=True, text=True, check=True
    )
    version = fetched["vault"].receipt.version
    assert re.match(rf"Vault v{re.escape(version)}[ ,]", said.stdout)


@pytest.mark.parametrize("engine", ["database", "kv", "pki", "ssh", "transit"])
def test_an_engine_that_roles_use_is_there(server: Server, engine: str) -> None:
    server.client.sys.enable_secrets_engine(engine, path=f"any-{engine}")


@pytest.mark.parametrize("login", ["approle", "cert", "jwt", "userpass"])
def test_a_login_that_roles_use_is_there(server: Server, login: str) -> None:
    server.client.sys.enable_auth_method(login, path=f"any-{login}")


def test_the_audit_log_holds_requests_and_no_token(server: Server) -> None:
    log = server.folder / "audit.log"
    server.client.sys.enable_audit_device("file", options={"file_path": str(log)})
    server.client.lookup_token()
    written = log.read_text()
    assert "auth/token/lookup-self" in written
    assert server.client.token not in written


def test_the_postgresql_plugin_is_started_and_speaks_to_the_database(
    server: Server, fetched: dict[str, Held]
) -> None:
    server.register("database", POSTGRESQL, fetched[POSTGRESQL].receipt.sha256)
    known = server.client.read(f"sys/plugins/catalog/database/{POSTGRESQL}")["data"]
    assert (known["builtin"], known["sha256"]) == (False, fetched[POSTGRESQL].receipt.sha256)
    configure(server, "logins", POSTGRESQL)
    assert server.runs(POSTGRESQL)
    role = {"db_name": "nowhere", "creation_statements": 'CREATE ROLE "{{name}}"'}
    server.client.write_data("logins/roles/reader", data=role)
    with pytest.raises(hvac.exceptions.VaultError, match="connection refused"):
        server.client.read("logins/creds/reader")


def configure(server: Server, mount: str, plugin: str) -> None:
    """Point `plugin` at a port where nobody listens, in a database engine of its own."""
    connection = {
        "plugin_name": plugin,
        "connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/none",
        "username": "nobody",
        "password": "none",
        "allowed_roles": "*",
        "verify_connection": False,
    }
    server.client.sys.enable_secrets_engine("database", path=mount)
    server.client.write_data(f"{mount}/config/nowhere", data=connection)


def test_other_bytes_than_registered_are_not_started(
    server: Server, fetched: dict[str, Held]
) -> None:
    altered = server.plugins / "altered"
    altered.write_bytes(fetched[POSTGRESQL].path.read_bytes() + b"\0")
    altered.chmod(0o755)
    server.register("database", "altered", fetched[POSTGRESQL].receipt.sha256)
    with pytest.raises(hvac.exceptions.VaultError, match="checksums did not match"):
        configure(server, "altered", "altered")
    assert not server.runs("altered")


def test_the_aws_plugin_is_started_and_answers(server: Server, fetched: dict[str, Held]) -> None:
    server.register("auth", AWS, fetched[AWS].receipt.sha256)
    server.client.sys.enable_auth_method(AWS, path="aws")
    assert server.client.read("auth/aws/config/identity")["data"]["iam_alias"] == "role_id"
    assert server.runs(AWS)
