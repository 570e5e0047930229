"""The copier of Vault's audit log loses no line and repeats none, over rotations and restarts."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs import loaded

vault_audit = loaded("roles/vault/files/vault_audit.py")


class Copier:
    """The program on a log of its own; `restart` is a new process."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "audit.log"
        self.rotated = folder / "audit.log.1"
        self.position = folder / "position.json"
        self.out = io.BytesIO()
        self.follower: Any = None
        self.restart()

    def end(self) -> None:
        if self.follower and self.follower._stream:
            self.follower._stream.close()

    def restart(self) -> None:
        self.end()
        self.follower = vault_audit.Follower(self.log, self.position, self.out)

    def write(self, *lines: str) -> None:
        with self.log.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in lines)

    def rotate(self) -> None:
        self.log.rename(self.rotated)

    def copied(self) -> list[str]:
        while self.follower.step():
            pass
        return self.out.getvalue().decode().splitlines()


@pytest.fixture
def copier(tmp_path: Path) -> Iterator[Copier]:
    made = Copier(tmp_path)
    yield made
    made.end()


def test_lines_as_they_come(copier: Copier) -> None:
    assert copier.copied() == []
    copier.write("a", "b")
    assert copier.copied() == ["a", "b"]
    copier.write("c")
    assert copier.copied() == ["a", "b", "c"]


def test_half_a_line_waits_for_its_end(copier: Copier) -> None:
    copier.log.write_text("whole\nhal")
    assert copier.copied() == ["whole"]
    copier.log.write_text("whole\nhalf\n")
    assert copier.copied() == ["whole", "half"]


def test_a_line_longer_than_a_batch(copier: Copier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_audit, "_BATCH", 4)
    copier.write("much longer than that", "b")
    assert copier.copied() == ["much longer than that", "b"]


def test_what_is_written_between_rename_and_reopening(copier: Copier) -> None:
    copier.write("a")
    copier.copied()
    copier.rotate()
    with copier.rotated.open("a") as stream:
        stream.write("late\n")
    assert copier.copied() == ["a", "late"]
    copier.write("new")
    assert copier.copied() == ["a", "late", "new"]


def test_the_old_log_is_read_to_its_end_before_the_new(copier: Copier) -> None:
    copier.write("a")
    copier.copied()
    copier.write("b")
    copier.rotate()
    copier.write("c")
    assert copier.copied() == ["a", "b", "c"]


def test_a_line_that_comes_while_the_new_log_is_noticed(
    copier: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vault writes its last line into the old log after its end was seen, and opens the new one."""
    copier.write("a")
    copier.copied()
    replaced = copier.follower._replaced

    def late() -> bool:
        if not copier.rotated.exists():
            copier.write("late")
            copier.rotate()
            copier.write("new")
        return bool(replaced())

    monkeypatch.setattr(copier.follower, "_replaced", late)
    assert copier.copied() == ["a", "late", "new"]


def test_a_restart_goes_on(copier: Copier) -> None:
    copier.write("a")
    copier.copied()
    copier.restart()
    copier.write("b")
    assert copier.copied() == ["a", "b"]


def test_a_restart_after_a_rotation_goes_on_in_the_old_log(copier: Copier) -> None:
    copier.write("a")
    copier.copied()
    copier.write("b")
    copier.rotate()
    copier.write("c")
    copier.restart()
    assert copier.copied() == ["a", "b", "c"]


def test_a_log_that_is_gone_is_said(copier: Copier, capsys: pytest.CaptureFixture[str]) -> None:
    copier.write("a")
    copier.copied()
    other = copier.log.with_name("other")
    other.write_text("b\n")
    os.replace(other, copier.log)  # noqa: PTH105  (as a name)
    copier.restart()
    assert copier.copied() == ["a", "b"]
    assert "lines may be missing" in capsys.readouterr().err


def test_a_log_that_was_cut_off_is_read_from_its_beginning(copier: Copier) -> None:
    copier.write("a", "b")
    copier.copied()
    copier.log.write_text("")
    copier.write("c")
    assert copier.copied() == ["a", "b", "c"]


def test_a_kill_between_printing_and_noting_repeats_and_loses_nothing(
    copier: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    copier.write("a")
    copier.copied()
    copier.write("b")

    def killed() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(copier.follower, "_keep", killed)
    with pytest.raises(KeyboardInterrupt):
        copier.copied()
    copier.restart()
    assert copier.copied() == ["a", "b", "b"]
