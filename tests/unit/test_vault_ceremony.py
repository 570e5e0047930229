"""A node's part in the ceremony: wipes what may be wiped, and never what may not."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.programs import loaded

ceremony = loaded("roles/vault/files/vault_ceremony.py")


class Node:
    """Folders of a host, and a Vault that is in `vault`'s state after each start."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.marks, self.data, self.audit = (folder / name for name in ("marks", "data", "log"))
        for path in (self.marks, self.data, self.audit):
            path.mkdir()
        self.vault = "uninitialised"
        self.asked: list[str] = []
        monkeypatch.setattr(ceremony, "MARKS", self.marks)
        monkeypatch.setattr(ceremony, "DATA", self.data)
        monkeypatch.setattr(ceremony, "AUDIT", self.audit)
        monkeypatch.setattr(ceremony, "PATIENCE", 0.0)
        monkeypatch.setattr(ceremony, "_systemctl", self.asked.append)
        monkeypatch.setattr(ceremony, "_vault", lambda: self.vault)

    def fill(self) -> None:
        (self.data / "raft").mkdir()
        (self.data / "raft/raft.db").write_text("secrets")
        (self.data / "vault.db").write_text("secrets")
        for name in ("audit.log", "audit.log.1", "audit.log.2.gz"):
            (self.audit / name).write_text("who did what")

    def full(self) -> bool:
        left = {path.name for path in (*self.data.rglob("*"), *self.audit.iterdir())}
        return left >= {"raft.db", "vault.db", "audit.log", "audit.log.1", "audit.log.2.gz"}

    def empty(self) -> bool:
        return not [*self.data.iterdir(), *self.audit.iterdir()]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def test_a_new_node_begins(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert ceremony.main(["state"]) == 0
    assert ceremony.main(["begin"]) == 0
    assert capsys.readouterr().out == "none\nbegun\n"
    assert node.asked[-2:] == ["stop", "start"]


def test_an_interrupted_ceremony_is_wiped(node: Node) -> None:
    assert ceremony.main(["begin"]) == 0
    node.fill()
    (node.audit / "kept").write_text("of somebody else")
    assert ceremony.main(["begin"]) == 0
    assert [path.name for path in node.audit.iterdir()] == ["kept"]
    assert not [*node.data.iterdir()]
    assert node.data.is_dir()


def test_stop_wipes_nothing(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.fill()
    assert ceremony.main(["stop"]) == 0
    assert node.asked == ["stop"]
    assert node.full()
    assert capsys.readouterr().out == "none\n"


def test_nothing_is_wiped_before_vault_is_stopped(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ceremony.main(["begin"]) == 0
    node.fill()

    def fails(verb: str) -> None:
        raise ceremony.Refused(f"systemctl {verb}")

    monkeypatch.setattr(ceremony, "_systemctl", fails)
    assert ceremony.main(["begin"]) == 1
    assert node.full()


@pytest.mark.parametrize("command", ["begin", "stop"])
@pytest.mark.parametrize("state", ["sealed", "unsealed", "uninitialised"])
def test_after_complete_nothing_is_wiped_or_stopped(
    node: Node, capsys: pytest.CaptureFixture[str], state: str, command: str
) -> None:
    assert ceremony.main(["begin"]) == 0
    node.fill()
    node.vault = "unsealed"
    assert ceremony.main(["complete"]) == 0
    capsys.readouterr()
    node.asked.clear()
    node.vault = state
    assert ceremony.main([command]) == 1
    assert node.full()
    assert node.asked == []
    assert "Nothing was changed" in capsys.readouterr().err
    assert ceremony.main(["state"]) == 0
    assert capsys.readouterr().out == "complete\n"
    assert ceremony.main(["complete"]) == 0


@pytest.mark.parametrize("state", ["sealed", "unsealed", "unreachable"])
def test_what_somebody_else_initialised_is_kept(
    node: Node, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    """The marks are lost, or were never there: a host made anew on an old disk."""
    node.fill()
    node.vault = state
    assert ceremony.main(["begin"]) == 1
    assert node.full()
    assert "stop" not in node.asked
    assert ceremony.main(["state"]) == 0
    out, error = capsys.readouterr()
    assert out == "none\n"
    assert "somebody's" in error or "did not answer" in error


@pytest.mark.parametrize("state", ["unreachable", "uninitialised"])
def test_nothing_is_complete_without_data(node: Node, state: str) -> None:
    assert ceremony.main(["begin"]) == 0
    node.vault = state
    assert ceremony.main(["complete"]) == 1
    assert ceremony.state() == "begun"


def test_a_node_that_joined_an_old_vault_is_told(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ceremony.main(["begin"]) == 0
    node.vault = "sealed"
    assert ceremony.main(["begin"]) == 1
    assert "every node" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["_mark", "_empty", "_wait"])
def test_killed_anywhere_it_begins_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    assert ceremony.main(["begin"]) == 0
    (node.marks / "begun").unlink()
    real = getattr(ceremony, place)

    def killed(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ceremony, place, killed)
        with pytest.raises(KeyboardInterrupt):
            ceremony.main(["begin"])
    assert ceremony.main(["begin"]) == 0
    assert node.empty()
    assert ceremony.state() == "begun"


def test_two_at_once(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    with (node.marks / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ceremony.main(["begin"]) == 1
    assert "Another vault-ceremony" in capsys.readouterr().err
    assert node.asked == []


@pytest.mark.parametrize("words", [[], ["wipe"], ["begin", "--force"]])
def test_wrong_words(node: Node, words: list[str]) -> None:
    node.fill()
    assert ceremony.main(words) == 2
    assert node.full()
