"""What operators type: holdfast vault unseal, status, rekey and rotate-root, as processes."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from holdfast.locking import exclusive
from holdfast.vault.gpg import Gpg, keyring
from holdfast.vault.protocol import parse
from tests.integration.vault.conftest import NAMES, Office
from tests.people import UNLOCKED

HOLDFAST = str(Path(sys.executable).with_name("holdfast"))


@dataclass
class Desk:
    """An operator's machine: an inventory, an installation's folder, and a GnuPG home."""

    folder: Path
    office: Office
    inventory: Path
    gnupg: Path | None = None
    variables: dict[str, object] = field(default_factory=dict)

    @property
    def kept(self) -> Path:
        return self.folder / "state" / "installations" / "test" / "vault"

    def list(self, **changes: object) -> None:
        """Write the inventory, with these changes of its variables."""
        server = self.office.servers[0]
        variables = {
            "installation_name": "test",
            "vault_operators": [self.office.people[name].entry() for name in NAMES],
            "vault_threshold": 2,
            **changes,
        }
        group = {"hosts": {"vault1": {"ansible_host": server.address}}}
        children = {"installation": {"children": {"vault": group}, "vars": variables}}
        self.inventory.write_text(yaml.safe_dump({"all": {"children": children}}))

    def environment(self) -> dict[str, str]:
        state = {"HOLDFAST_STATE": str(self.folder / "state"), "TERM": "dumb"}
        home = self.gnupg or self.folder / "no-gnupg"
        return {**os.environ, **state, "GNUPGHOME": str(home), "COLUMNS": "200"}

    def argv(self, *words: str) -> list[str]:
        where = ["--name", "test", "--inventory", str(self.inventory)]
        return [HOLDFAST, *where, "vault", *words]

    def run(
        self, *words: str, status: int = 0, stdin: bytes = b"", pass_fds: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            self.argv(*words),
            input=stdin,
            capture_output=True,
            env=self.environment(),
            pass_fds=pass_fds,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, (done.stdout + done.stderr).decode()
        return done

    def on_a_terminal(self, answers: Mapping[str, bytes], *words: str) -> tuple[int, str]:
        """Run on a terminal of its own, typing each answer at its prompt."""
        child, terminal = pty.fork()
        if child == 0:
            os.execve(HOLDFAST, self.argv(*words), self.environment())  # noqa: S606
        seen = b""
        waiting = dict(answers)
        while True:
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                break
            for prompt in [one for one in waiting if one.encode() in seen]:
                os.write(terminal, waiting.pop(prompt) + b"\n")
        os.close(terminal)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), seen.decode()

    def share(self, name: str) -> bytes:
        with keyring(self.office.people[name].secret) as gpg:
            return gpg.decrypt((self.kept / "shares" / f"{name}.asc").read_bytes())

    def use_keys_of(self, *names: str) -> None:
        """Give the caller's own GnuPG these people's secret keys."""
        self.gnupg = self.folder / "gnupg"
        self.gnupg.mkdir(mode=0o700)
        for name in names:
            secret = self.office.people[name].secret
            Gpg(self.gnupg).must(*UNLOCKED, "--import", stdin=secret)


@pytest.fixture
def desk(sealed: Office, memory: Path) -> Iterator[Desk]:
    made = Desk(memory, sealed, memory / "inventory.yml")
    made.list()
    shutil.copytree(sealed.records.folder, made.kept)
    shutil.copy(sealed.servers[0].ca, made.kept / "operators-ca.crt")
    yield made
    if made.gnupg:
        subprocess.run(["gpgconf", "--homedir", made.gnupg, "--kill", "all"], check=True)


def pipe(content: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return reading


def test_unseal_from_a_pipe_and_standard_input(desk: Desk) -> None:
    reading = pipe(desk.share("anna"))
    given = ("--share", f"anna=/dev/fd/{reading}", "--share", "cara=-")
    done = desk.run("unseal", *given, stdin=desk.share("cara"), pass_fds=[reading])
    os.close(reading)
    assert b"vault1: opened" in done.stderr
    assert not desk.office.vault.seal_status().sealed


def test_unseal_on_a_terminal(desk: Desk) -> None:
    """Anna is not here; what ben and cara type is not shown."""
    answers = {
        "Share of anna": b"",
        "Share of ben": desk.share("ben"),
        "Share of cara": desk.share("cara"),
    }
    status, seen = desk.on_a_terminal(answers, "unseal")
    assert status == 0, seen
    assert "anna gave no share" in seen
    assert not [name for name in NAMES if desk.share(name).decode()[:12] in seen]
    assert not desk.office.vault.seal_status().sealed


def test_unseal_by_the_callers_gnupg(desk: Desk) -> None:
    """Each where their key is: the first leaves a share and says who else is needed."""
    desk.use_keys_of("ben")
    first = desk.run("unseal", status=1)
    assert b"1 more of anna, cara needed" in first.stderr
    subprocess.run(["gpgconf", "--homedir", str(desk.gnupg), "--kill", "all"], check=True)
    shutil.rmtree(desk.gnupg or "")
    desk.use_keys_of("cara")
    desk.run("unseal")
    assert not desk.office.vault.seal_status().sealed


BAD: dict[str, tuple[tuple[str, ...], bytes]] = {
    "no file": (("--share", "anna=/nowhere"), b"cannot be read"),
    "nobody": (("--share", "mallory=-"), b"mallory holds no share"),
    "no name": (("--share", "/dev/fd/9"), b"is not NAME=FILE"),
    "two from one": (("--share", "anna=-", "--share", "ben=-"), b"Only one share"),
    "none at hand": ((), b"2 of anna, ben, cara are needed"),
}


@pytest.mark.parametrize("case", BAD)
def test_unseal_refuses(desk: Desk, case: str) -> None:
    words, message = BAD[case]
    assert message in desk.run("unseal", *words, status=2).stderr


def test_unseal_of_a_ciphertext(desk: Desk) -> None:
    message = (desk.kept / "shares" / "anna.asc").read_bytes()
    done = desk.run("unseal", "--share", "anna=-", stdin=message, status=2)
    assert b"this is the encrypted share; decrypt it first" in done.stderr


def test_one_at_a_time(desk: Desk) -> None:
    lock = desk.folder / "state" / "locks" / "test.vault.lock"
    with exclusive(lock, purpose="another"):
        assert b"another" in desk.run("unseal", status=3).stderr


def status(desk: Desk, *, code: int) -> dict[str, object]:
    found: dict[str, object] = json.loads(desk.run("status", "--json", status=code).stdout)
    assert found["well"] == (code == 0)
    return found


def findings(desk: Desk) -> str:
    found = status(desk, code=1)["findings"]
    assert isinstance(found, list)
    return "\n".join(found)


def test_status(desk: Desk) -> None:
    """Sealed: who can help; then how many more; then nobody has to do anything."""
    assert "vault1 is sealed: 2 more of anna, ben, cara must each run" in findings(desk)
    desk.run("unseal", "--share", "ben=-", stdin=desk.share("ben"), status=1)
    assert "vault1 is sealed: 1 more of" in findings(desk)
    shown = desk.run("status", status=1).stdout.decode()
    assert "sealed" in shown
    assert "holdfast vault unseal" in shown
    desk.run("unseal", "--share", "cara=-", stdin=desk.share("cara"))
    desk.office.cluster.leader()
    found = status(desk, code=0)
    assert found["signed"] == list(NAMES)
    assert found["nodes"] == [
        {
            "name": "vault1",
            "address": desk.office.servers[0].address,
            "state": "open",
            "leader": True,
            "version": "1.21.2",
            "needed": 0,
            "persons": [],
            "why": "",
        }
    ]
    assert b"open, leader" in desk.run("status").stdout


def test_status_unreachable(desk: Desk) -> None:
    desk.office.servers[0].stop()
    assert "does not answer" in findings(desk)


def test_status_of_an_empty_vault(desk: Desk) -> None:
    desk.office.servers[0].wipe()
    desk.office.servers[0].start()
    assert "vault1 is not initialised: run `holdfast vault init`" in findings(desk)


def replace_protocol(desk: Desk, change: Callable[[bytes], bytes]) -> None:
    file = desk.kept / "protocol.json"
    file.write_bytes(change(file.read_bytes()))


TAMPERED: dict[str, tuple[Callable[[Desk], object], str]] = {
    "a word": (
        lambda desk: replace_protocol(desk, lambda data: data.replace(b"zoe@desk", b"eve@desk")),
        "anna did not sign this protocol",
    ),
    "a blank": (
        lambda desk: replace_protocol(desk, lambda data: data + b" "),
        "not in the form in which it was written",
    ),
    "another signature": (
        lambda desk: shutil.copy(
            desk.kept / "protocol.json.anna.asc", desk.kept / "protocol.json.ben.asc"
        ),
        "ben did not sign this protocol",
    ),
    "no signature": (
        lambda desk: (desk.kept / "protocol.json.cara.asc").unlink(),
        "cara has not signed the protocol",
    ),
    "another share": (
        lambda desk: shutil.copy(desk.kept / "shares/anna.asc", desk.kept / "shares/ben.asc"),
        "ben.asc was changed",
    ),
    "no share": (lambda desk: (desk.kept / "shares/ben.asc").unlink(), "ben.asc is missing"),
    "no protocol": (
        lambda desk: (desk.kept / "protocol.json").unlink(),
        "there is no protocol of a ceremony",
    ),
    "other people": (
        lambda desk: desk.list(
            vault_operators=[desk.office.people[name].entry() for name in ("anna", "ben", "dora")]
        ),
        "dora holds no share yet: run `holdfast vault rekey`",
    ),
    "an expired key": (
        lambda desk: desk.list(vault_operators=[desk.office.people["anna"].entry(key="none")]),
        "no public keys",
    ),
    "another Vault": (
        lambda desk: (
            [
                desk.run("unseal", "--share", f"{name}=-", stdin=desk.share(name), status=number)
                for name, number in (("anna", 1), ("ben", 0))
            ],
            replace_protocol(
                desk,
                lambda data: data.replace(parse(data).cluster_id.encode(), b"c0ffee"),
            ),
        ),
        "vault1 is of another Vault",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_status_finds(desk: Desk, case: str) -> None:
    tamper, words = TAMPERED[case]
    tamper(desk)
    assert words in findings(desk)


def test_rekey_and_rotate_root(desk: Desk) -> None:
    """By the caller's GnuPG, which has everybody's key, as on a machine for ceremonies."""
    desk.use_keys_of("anna", "ben", "cara", "dora")
    assert b"holdfast vault unseal" in desk.run("rekey", status=2).stderr
    desk.run("unseal")
    people = ("ben", "cara", "dora")
    desk.list(vault_operators=[desk.office.people[name].entry() for name in people])
    done = desk.run("rekey", "--conductor", "zoe")
    assert b"the new shares are valid" in done.stderr
    assert status(desk, code=0)["signed"] == list(people)
    for purpose in ("encryption-key", "revocation"):
        done = desk.run("rotate-root", "--for", purpose)
        assert b"the root token is revoked" in done.stderr
    assert desk.office.vault.seal_status().threshold == 2
    assert b"encrypted with a new key" in desk.run("rotate-root", "--for", "encryption-key").stderr
    desk.run("rotate-root", status=2)


def test_rekey_on_a_terminal(desk: Desk) -> None:
    """Old shares come from a pipe and the callers' keys; a new one is typed."""
    desk.use_keys_of("anna", "ben")
    desk.run("unseal")
    status, seen = desk.on_a_terminal({"Share of cara": b"nonsense"}, "rekey")
    assert status == 2
    assert "cara: this is no share" in seen
    assert not (desk.kept / "next").exists()
    desk.office.servers[0].restart()
    desk.run("unseal")
