"""What `holdfast up` does about Vault, and what a host is asked to do, without either."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from holdfast import inventory
from holdfast.installation import Installation
from holdfast.local.operators import ensure_operators, throw_away_keys
from holdfast.process import run
from holdfast.vault.authority import ensure_authorities, unlock
from holdfast.vault.ceremony import Ceremony
from holdfast.vault.client import SealStatus
from holdfast.vault.cluster import Cluster, Node
from holdfast.vault.gpg import Gpg
from holdfast.vault.holders import (
    FileHolder,
    GpgHolder,
    NoShare,
    TerminalHolder,
    ThrowAwayHolder,
    choose,
)
from holdfast.vault.hosts import PROGRAM, CeremonyFailed, SshHost
from holdfast.vault.memory import scratch
from holdfast.vault.operators import quorum
from holdfast.vault.records import Records
from holdfast.vault.site import PersonNeeded, Site, authorities_for_others
from holdfast.vault.unsealing import Unsealing
from tests.people import UNLOCKED, Person, make


@pytest.fixture(scope="session")
def people() -> dict[str, Person]:
    return {name: make(name) for name in ("anna", "ben", "cara")}


@dataclass
class Host:
    """A node that is in a state, and remembers what it was asked."""

    ceremony: str = "none"
    sealed: bool = True

    def state(self) -> str:
        return self.ceremony

    def seal_status(self) -> SealStatus:
        return SealStatus(
            initialised=self.ceremony == "complete",
            sealed=self.sealed,
            threshold=2,
            shares=3,
            progress=0,
            version="",
            cluster_id="",
        )


@dataclass
class Watched:
    """A site whose ceremony and opening are only noted."""

    site: Site
    done: list[str] = field(default_factory=list)


@pytest.fixture
def watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, people: dict[str, Person]
) -> Callable[..., Watched]:
    monkeypatch.setenv("HOLDFAST_STATE", str(tmp_path))

    def made(*hosts: Host, throw_away: bool) -> Watched:
        installation = Installation("test")
        listed = [person.entry() for person in people.values()]
        variables: dict[str, Any] = {"vault_operators": listed, "vault_threshold": 2}
        if throw_away:
            variables |= {"vault_throw_away": True, "local_release": "trixie"}
        names = [f"vault{number}" for number, _ in enumerate(hosts, start=1)]
        found = inventory.parse(
            {
                "installation": {"hosts": names},
                "vault": {"hosts": names},
                "_meta": {"hostvars": dict.fromkeys(names, variables)},
            },
            path=tmp_path / "inventory",
        )
        watched = Watched(Site(installation, found, print))
        nodes = [
            Node(name=name, vault=host, host=host)  # type: ignore[arg-type]
            for name, host in zip(names, hosts, strict=True)
        ]
        monkeypatch.setattr(Site, "cluster", Cluster(nodes))
        monkeypatch.setattr(Site, "holding", lambda *_, **__: {})
        monkeypatch.setattr(Ceremony, "run", lambda _: watched.done.append("ceremony"))
        monkeypatch.setattr(Unsealing, "run", lambda _: watched.done.append("unsealing"))
        return watched

    return made


NEW = Host()
INTERRUPTED = Host("begun", sealed=False)
OPEN = Host("complete", sealed=False)
SEALED = Host("complete")


@pytest.mark.parametrize(
    ("hosts", "done"),
    [
        ([NEW], ["ceremony"]),
        ([INTERRUPTED], ["ceremony"]),
        ([OPEN], []),
        ([OPEN, OPEN, OPEN], []),
        ([SEALED], ["unsealing", "ceremony"]),
        ([OPEN, SEALED], ["unsealing", "ceremony"]),
        ([OPEN, NEW], ["unsealing", "ceremony"]),  # it joins the other, and is marked
    ],
)
def test_throw_away_operators_do_what_is_needed(
    watch: Callable[..., Watched], hosts: list[Host], done: list[str]
) -> None:
    watched = watch(*hosts, throw_away=True)
    watched.site.init_if_needed()
    assert watched.done == done


@pytest.mark.parametrize(
    ("hosts", "verb"), [([NEW], "init"), ([INTERRUPTED], "init"), ([SEALED], "unseal")]
)
def test_people_are_told_what_to_run(
    watch: Callable[..., Watched], hosts: list[Host], verb: str
) -> None:
    watched = watch(*hosts, throw_away=False)
    with pytest.raises(PersonNeeded, match=rf"2 of anna, ben, cara run .*holdfast .*vault {verb}`"):
        watched.site.init_if_needed()
    assert watched.done == []


def test_people_are_left_alone_when_all_is_well(watch: Callable[..., Watched]) -> None:
    watched = watch(OPEN, throw_away=False)
    watched.site.init_if_needed()
    assert watched.done == []


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh that notes its arguments and answers as it is told."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/asked\n'
        f'cat {tmp_path}/answer\ncat {tmp_path}/error >&2\nexit "$(cat {tmp_path}/status)"\n'
    )
    program.chmod(0o755)
    for name, text in {"answer": "", "error": "", "status": "0"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path


def host(tmp_path: Path) -> SshHost:
    variables = {
        "ansible_host": "192.0.2.13",
        "ansible_user": "jane",
        "ansible_port": 2222,
        "ansible_ssh_private_key_file": "/keys/jane",
        "ansible_ssh_common_args": "-o UserKnownHostsFile=/keys/known",
    }
    listed = {"vault": {"hosts": ["vault1"]}, "_meta": {"hostvars": {"vault1": variables}}}
    return SshHost(inventory.parse(listed, path=tmp_path).hosts["vault1"])


def test_a_host_is_asked_over_ssh(ssh: Path) -> None:
    (ssh / "answer").write_text("begun\n")
    assert host(ssh).state() == "begun"
    asked = (ssh / "asked").read_text().split("\n")[:-1]
    assert asked[-5:] == ["jane@192.0.2.13", "sudo", "-n", PROGRAM, "state"]
    for words in (["-p", "2222"], ["-i", "/keys/jane"], ["-o", "UserKnownHostsFile=/keys/known"]):
        assert " ".join(words) in " ".join(asked)
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes"} <= set(asked)
    for verb in ("stop", "begin", "complete"):
        getattr(host(ssh), verb)()
        assert (ssh / "asked").read_text().endswith(f"{PROGRAM}\n{verb}\n")


def test_a_host_that_refuses(ssh: Path) -> None:
    (ssh / "error").write_text("warning\nthe ceremony is complete: nothing is wiped\n")
    (ssh / "status").write_text("1")
    with pytest.raises(CeremonyFailed, match=r"could not begin .*: the ceremony is complete"):
        host(ssh).begin()


def test_a_host_without_the_program(ssh: Path) -> None:
    (ssh / "answer").write_text("hello\n")
    with pytest.raises(CeremonyFailed, match=r"run site\.yml"):
        host(ssh).state()


def test_who_gives_a_share_how(people: dict[str, Person], monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints = {name: person.fingerprint for name, person in people.items()}
    key = Path("/keys/ben")
    with scratch() as home:
        monkeypatch.setenv("GNUPGHOME", str(home))
        Gpg(home).must(*UNLOCKED, "--import", stdin=people["cara"].secret)
        found = choose(fingerprints, given={"anna": "-"}, throw_away={"ben": key}, interactive=True)
        nobody = choose(fingerprints, given={}, throw_away={}, interactive=False)
        typed = choose(fingerprints, given={}, throw_away={}, interactive=True)
        run(["gpgconf", "--homedir", str(home), "--kill", "all"])
    assert found == {
        "anna": FileHolder(name="anna", source="-"),
        "ben": ThrowAwayHolder(name="ben", key=key),
        "cara": GpgHolder(name="cara"),
    }
    assert nobody == {"cara": GpgHolder(name="cara")}
    assert typed["anna"] == TerminalHolder(name="anna")
    with pytest.raises(NoShare, match="zoe holds no share"):
        choose(fingerprints, given={"zoe": "-"}, throw_away={}, interactive=False)


def test_authorities_follow_the_operators(tmp_path: Path, people: dict[str, Person]) -> None:
    """After a rekey the authorities' keys are for those who hold shares, and for no others."""
    listed = [person.entry() for person in people.values()]
    old = quorum(listed[:2], threshold=2).operators
    new = quorum(listed[1:], threshold=2).operators
    ensure_authorities(tmp_path, installation="test", domain="test.example", operators=old)
    assert authorities_for_others(tmp_path, old) == []
    assert authorities_for_others(tmp_path, new) == ["operators-ca.key.asc", "root-ca.key.asc"]
    assert authorities_for_others(tmp_path, old[:1]) != []
    with scratch() as folder:
        for name in ("anna", "cara"):
            (folder / name).write_bytes(people[name].secret)
        anna, cara = (ThrowAwayHolder(name=name, key=folder / name) for name in ("anna", "cara"))

        class Here(Site):
            records = Records(tmp_path)  # type: ignore[assignment]
            quorum = quorum(listed[1:], threshold=2)  # type: ignore[assignment]

        site = Here(Installation("test"), None, print)  # type: ignore[arg-type]
        with pytest.raises(PersonNeeded, match="operators of before"):
            site.hand_over_authorities({"anna": TerminalHolder(name="anna")})
        site.hand_over_authorities({"anna": anna})
        assert authorities_for_others(tmp_path, new) == []
        assert unlock(tmp_path, "root-ca", cara)
        site.hand_over_authorities({})  # nothing is left to do


def test_throw_away_keys_are_for_throw_away_inventories(
    tmp_path: Path, watch: Callable[..., Watched]
) -> None:
    """An inventory of people finds no way through keys that happen to lie there."""
    ensure_operators(tmp_path / "installations" / "test" / "operators")
    assert throw_away_keys(tmp_path / "installations" / "test" / "operators")
    watched = watch(NEW, throw_away=False)
    assert watched.site.holders({"anna": "A" * 40}, given={}, interactive=False) == {}
