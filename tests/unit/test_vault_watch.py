"""What needs people about Vault is told, with what they can do, and nothing else is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.programs import loaded

watch = loaded("roles/vault/files/vault_watch.py")

_LIMITS = {
    "audit_free_percent": 20,
    "audit_free_mib": 512,
    "certificate_days": 30,
    "sealed_minutes": 5,
}
_SEALED = ("sealed", {"t": 2, "n": 3, "progress": 1})
_UNSEALED = ("unsealed", {})
_UNINITIALISED = ("uninitialised", {})
_SILENT = ("unreachable", {"reason": "refused"})


class TestAuditDisk:
    """The disk that Vault stops with."""

    def _look(self, monkeypatch: pytest.MonkeyPatch, *, free_mib: int, total_mib: int) -> str:
        block = 4096
        blocks = [mib * 1024**2 // block for mib in (total_mib, free_mib, free_mib)]
        found = os.statvfs_result((block, block, *blocks, 0, 0, 0, 0, 255))
        monkeypatch.setattr(watch.os, "statvfs", lambda _: found)
        return str(watch.audit_disk(_LIMITS))

    def test_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "2048 MiB (20 %)" in self._look(monkeypatch, free_mib=2048, total_mib=10240)

    @pytest.mark.parametrize(("free", "total"), [(511, 1024), (2047, 10240), (0, 100)])
    def test_too_little(self, monkeypatch: pytest.MonkeyPatch, free: int, total: int) -> None:
        """In MiB, in percent, in both."""
        with pytest.raises(watch.Alarm, match=rf"^{free} MiB .* make room"):
            self._look(monkeypatch, free_mib=free, total_mib=total)


class TestSeal:
    """A Vault that waits for people is told after a while, and forgotten when it works."""

    @pytest.fixture(autouse=True)
    def host(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.minutes = 100.0
        self.vault: tuple[str, dict[str, Any]] = _UNSEALED
        self.complete = tmp_path / "complete"
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
        monkeypatch.setattr(watch, "COMPLETE", self.complete)
        monkeypatch.setattr(watch, "state", lambda: self.vault)
        monkeypatch.setattr(watch.time, "clock_gettime", lambda _: self.minutes * 60)

    def look(self, *, after: float = 0) -> str:
        self.minutes += after
        return str(watch.seal(_LIMITS))

    def test_at_work(self) -> None:
        assert self.look() == "Vault is unsealed."
        assert self.look(after=100) == "Vault is unsealed."

    @pytest.mark.parametrize("vault", [_SEALED, _SILENT])
    def test_for_too_long(self, vault: tuple[str, dict[str, Any]]) -> None:
        self.vault = vault
        self.look()
        self.look(after=4.9)
        with pytest.raises(watch.Alarm, match="For 5 minutes: "):
            self.look(after=0.1)

    def test_it_names_who_can_help(self) -> None:
        self.vault = _SEALED
        assert self.look() == (
            "Vault is sealed: 2 of 3 operators open it with `holdfast vault unseal` (1 have)."
        )

    def test_the_time_begins_anew(self) -> None:
        self.vault = _SEALED
        self.look()
        self.vault = _UNSEALED
        self.look(after=4)
        self.vault = _SEALED
        self.look(after=4)
        with pytest.raises(watch.Alarm):
            self.look(after=5)

    def test_before_the_ceremony_nobody_is_bothered(self) -> None:
        self.vault = _UNINITIALISED
        self.look()
        assert "holdfast vault init" in self.look(after=1000)

    def test_lost_data_are_told(self) -> None:
        self.vault = _UNINITIALISED
        self.complete.touch()
        self.look()
        with pytest.raises(watch.Alarm, match="holds no data"):
            self.look(after=5)


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(watch, "AUTHORITY", tmp_path / "none")
    word, found = watch.state()
    assert (word, bool(found["reason"])) == ("unreachable", True)


def test_wrong_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert watch.main(["everything"]) == 2
    assert "audit-disk" in capsys.readouterr().err
