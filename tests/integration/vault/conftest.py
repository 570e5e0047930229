"""Real Vaults on the loopback, with raft, TLS and an audit trail; their data are in memory."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from holdfast import artifacts
from holdfast.errors import Error
from holdfast.vault.ceremony import Ceremony
from holdfast.vault.client import PORT, Vault
from holdfast.vault.cluster import Cluster, Node
from holdfast.vault.holders import Holder, ThrowAwayHolder
from holdfast.vault.hosts import State
from holdfast.vault.memory import scratch
from holdfast.vault.operators import Quorum, quorum
from holdfast.vault.quorum import Rekey
from holdfast.vault.records import Records
from holdfast.vault.setup import set_up
from holdfast.vault.unsealing import Unsealing
from tests.people import Person, make

NAMES = ("anna", "ben", "cara")
_SECONDS = 60


@dataclass
class Server:
    """A node: its process, its folders, and its part of the ceremony as a host would play it."""

    program: Path
    folder: Path
    name: str
    ca: Path
    address: str
    peers: list[Server] = field(default_factory=list)

    @property
    def audit_file(self) -> Path:
        return self.folder / "audit.log"

    @property
    def mark(self) -> Path:
        return self.folder / "mark"

    @property
    def pid(self) -> Path:
        return self.folder / "pid"

    def configuration(self) -> dict[str, object]:
        tls = {"tls_cert_file": f"{self.folder}/tls.crt", "tls_key_file": f"{self.folder}/tls.key"}
        listener = {
            "address": f"{self.address}:{PORT}",
            "cluster_address": f"{self.address}:{PORT + 1}",
            **tls,
        }
        join = [
            {"leader_api_addr": f"https://{p.address}:{PORT}", "leader_ca_cert_file": str(self.ca)}
            for p in self.peers
        ]
        return {
            "disable_mlock": True,
            "pid_file": str(self.pid),
            "api_addr": f"https://{self.address}:{PORT}",
            "cluster_addr": f"https://{self.address}:{PORT + 1}",
            "listener": {"tcp": listener},
            "storage": {
                "raft": {
                    "path": f"{self.folder}/data",
                    "node_id": self.name,
                    "performance_multiplier": 1,
                    **({"retry_join": join} if join else {}),
                }
            },
        }

    def start(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        configuration = self.folder / "vault.json"
        configuration.write_text(json.dumps(self.configuration()))
        with (self.folder / "vault.log").open("ab") as log:
            before = log.tell()
            subprocess.run(
                # Nobody's child: a test that is killed must not take the node along.
                ["setsid", "--fork", self.program, "server", f"-config={configuration}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
                check=True,
            )
        deadline = time.monotonic() + _SECONDS
        # Who asks earlier may be cut off, and Python 3.11 forgets to close such a socket.
        # The file with its process number is made first and written a moment later.
        while "Vault server started" not in self.log()[before:] or not self.pid.read_text():
            assert time.monotonic() < deadline, self.log()[before:]
            time.sleep(0.02)

    def stop(self) -> None:
        if not self.pid.exists():
            return
        process = Path("/proc") / self.pid.read_text().strip()
        os.kill(int(process.name), signal.SIGKILL)
        while process.exists() and (process / "cmdline").read_bytes():  # a zombie has none
            time.sleep(0.02)
        self.pid.unlink()

    def restart(self) -> None:
        self.stop()
        self.start()

    def wipe(self) -> None:
        self.stop()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self.audit_file.unlink(missing_ok=True)

    def vault(self, **how: object) -> Vault:
        options = {"ca": self.ca, "name": self.name, "patience": 0.5, **how}
        return Vault(self.address, **options)  # type: ignore[arg-type]

    # What the program on a host does.

    def state(self) -> State:
        return self.mark.read_text() if self.mark.exists() else "none"  # type: ignore[return-value]

    def begin(self) -> None:
        """Wipe; refuses while another node runs that could be joined instead."""
        assert self.state() != "complete"
        assert not [peer for peer in self.peers if peer.pid.exists() and peer.state() != "begun"]
        self.mark.write_text("begun")
        self.wipe()
        self.start()

    def complete(self) -> None:
        self.mark.write_text("complete")

    def log(self) -> str:
        return (self.folder / "vault.log").read_text()


@dataclass
class Office:
    """The operators' side of one Vault: where the records are, and what was said."""

    folder: Path
    servers: Sequence[Server]
    people: dict[str, Person]
    keys: dict[str, Path]
    said: list[str] = field(default_factory=list)
    threshold: int = 2

    def say(self, line: str) -> None:
        self.said.append(line)

    @property
    def records(self) -> Records:
        return Records(self.folder / "vault")

    @property
    def cluster(self) -> Cluster:
        return Cluster([Node(name=s.name, vault=s.vault(), host=s) for s in self.servers])

    @property
    def vault(self) -> Vault:
        return self.servers[0].vault()

    def quorum(self, *names: str) -> Quorum:
        listed = [self.people[name].entry() for name in names or NAMES]
        return quorum(listed, threshold=self.threshold)

    def holders(self, *names: str) -> dict[str, Holder]:
        return {name: ThrowAwayHolder(name=name, key=self.keys[name]) for name in names or NAMES}

    def set_up(self, vault: Vault) -> tuple[str, ...]:
        return set_up(
            vault,
            operators_ca=self.servers[0].ca.read_text(),
            audit_file=str(self.servers[0].audit_file),
        )

    def ceremony(self, **changes: object) -> Ceremony:
        fields: dict[str, object] = {
            "installation": "test",
            "cluster": self.cluster,
            "records": self.records,
            "quorum": self.quorum(),
            "holders": self.holders(),
            "set_up": self.set_up,
            "conductor": "zoe@desk",
            "say": self.say,
        }
        return Ceremony(**{**fields, **changes})  # type: ignore[arg-type]

    def unsealing(self, **changes: object) -> Unsealing:
        fields: dict[str, object] = {
            "cluster": self.cluster,
            "records": self.records,
            "holders": self.holders(),
            "say": self.say,
        }
        return Unsealing(**{**fields, **changes})  # type: ignore[arg-type]

    def rekey(self, **changes: object) -> Rekey:
        fields: dict[str, object] = {
            "installation": "test",
            "cluster": self.cluster,
            "records": self.records,
            "quorum": self.quorum(),
            "holders": self.holders(),
            "new_holders": self.holders(),
            "conductor": "zoe@desk",
            "say": self.say,
        }
        return Rekey(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def program() -> Path:
    """Vault, from the cache."""
    [found] = artifacts.fetch(
        [artifacts.load(artifacts.default_path()).artifacts["vault"]],
        arch=artifacts.this_machine(),
        cache=artifacts.Cache(),
        report=artifacts.Silence(),
        wait=900,
    )
    return found.path


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def people() -> dict[str, Person]:
    return {name: make(name) for name in (*NAMES, "dora", "emil")}


@pytest.fixture(scope="session")
def keys(people: dict[str, Person]) -> Iterator[dict[str, Path]]:
    with scratch() as folder:
        for person in people.values():
            (folder / person.name).write_bytes(person.secret)
        yield {name: folder / name for name in people}


@pytest.fixture
def memory() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


def servers_in(folder: Path, number: int, *, program: Path, authority: trustme.CA) -> list[Server]:
    """Make the folders of nodes that know each other."""
    ca = folder / "ca.crt"
    authority.cert_pem.write_to_path(ca)
    network = f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(256)}"
    made = []
    for index in range(1, number + 1):
        own = folder / f"vault{index}"
        own.mkdir()
        address = f"{network}.{index}"
        leaf = authority.issue_cert(address)
        leaf.private_key_pem.write_to_path(own / "tls.key")
        for pem in leaf.cert_chain_pems:
            pem.write_to_path(own / "tls.crt", append=True)
        made.append(Server(program, own, own.name, ca, address))
    for server in made:
        server.peers = [other for other in made if other is not server]
    return made


@pytest.fixture
def office(
    program: Path,
    authority: trustme.CA,
    memory: Path,
    people: dict[str, Person],
    keys: dict[str, Path],
) -> Iterator[Office]:
    """One empty Vault, and three operators of whom two open it."""
    [server] = servers_in(memory, 1, program=program, authority=authority)
    server.start()
    yield Office(memory / "office", [server], people, keys)
    server.stop()


@pytest.fixture(scope="session")
def template(
    program: Path, authority: trustme.CA, people: dict[str, Person], keys: dict[str, Path]
) -> Iterator[Office]:
    """A Vault after its ceremony, stopped; what each test does to it is forgotten."""
    with scratch() as folder:
        live = folder / "live"
        live.mkdir()
        [server] = servers_in(live, 1, program=program, authority=authority)
        office = Office(live / "office", [server], people, keys)
        server.start()
        try:
            office.ceremony().run()
        finally:
            server.stop()
        shutil.copytree(live, folder / "kept")
        yield office


@contextmanager
def started(template: Office) -> Iterator[Office]:
    """The same, started: sealed, and as it was after its ceremony."""
    live = template.folder.parent
    [server] = template.servers
    assert not server.pid.exists(), "another test still has it"
    shutil.rmtree(live)
    shutil.copytree(live.with_name("kept"), live)
    server.start()
    try:
        yield Office(template.folder, [server], template.people, template.keys)
    finally:
        server.stop()


def opened(office: Office) -> Office:
    """Open it."""
    office.unsealing().run()
    office.cluster.leader()
    office.said.clear()
    return office


@pytest.fixture
def sealed(template: Office) -> Iterator[Office]:
    """A Vault after its ceremony, restarted."""
    with started(template) as office:
        yield office


@pytest.fixture
def alive(sealed: Office) -> Office:
    """A Vault after its ceremony, open."""
    return opened(sealed)


def errors(work: Callable[[], object]) -> str:
    """Return the message of the Error that `work` must end in."""
    with pytest.raises(Error) as raised:
        work()
    return str(raised.value)


def killed(work: Callable[[], object], *, at: Callable[[Callable[[], None]], None]) -> bool:
    """Do `work` in a process that is killed; tell whether it was, before it ended.

    `at` is given what kills, and arranges for it to be called.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            at(lambda: os.kill(os.getpid(), signal.SIGKILL))
            work()
            status = 0
        except BaseException:  # noqa: BLE001  (it is told, and the parent fails)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in {0, -signal.SIGKILL}
    return os.WIFSIGNALED(status)


def after_lines(office: Office, number: int) -> Callable[[Callable[[], None]], None]:
    """Kill once so many lines were said."""

    def arrange(kill: Callable[[], None]) -> None:
        said: list[str] = []

        def say(line: str) -> None:
            said.append(line)
            if len(said) == number:
                kill()

        office.say = say  # type: ignore[method-assign]

    return arrange
