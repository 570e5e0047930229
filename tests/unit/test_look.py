"""The module `look` sees every way in which a file or a unit is not as it should be."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.programs import loaded

look = loaded("ansible_plugins/modules/look.py")

_DEFAULTS = {
    "state": "file",
    "owner": "me",
    "group": "us",
    "mode": None,
    "src": None,
    "sha1": None,
    "sha256": None,
}
_ACTIVE = {
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "NeedDaemonReload": "no",
    "StateChangeTimestamp": "@1000",
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests."""
    monkeypatch.setattr(look, "_account", lambda _: "me")
    monkeypatch.setattr(look, "_group", lambda _: "us")


def _differs(path: Path, **wanted: Any) -> bool:
    return bool(look.differs({**_DEFAULTS, "path": str(path), **wanted}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("text")
    path.chmod(0o640)
    return path


_TEXT = hashlib.sha1(b"text").hexdigest()  # noqa: S324  (as the module compares)
_LARGE = hashlib.sha256(b"text").hexdigest()


def test_a_file_as_wanted(file: Path) -> None:
    assert not _differs(file, mode="0640")
    assert not _differs(file, mode="0640", sha1=_TEXT)
    assert not _differs(file, mode="0640", sha256=_LARGE)


@pytest.mark.parametrize(
    "wanted",
    [
        {"mode": "0644"},
        {"mode": "0640", "owner": "root"},
        {"mode": "0640", "group": "root"},
        {"mode": "0640", "sha1": "0" * 40},
        {"mode": "0640", "sha256": "0" * 64},
        {"mode": "0640", "state": "directory"},
        {"state": "link", "src": "/dev/null"},
    ],
)
def test_a_file_unlike_what_is_wanted(file: Path, wanted: dict[str, Any]) -> None:
    assert _differs(file, **wanted)


def test_what_is_missing_differs(tmp_path: Path, file: Path) -> None:
    assert _differs(tmp_path / "none", mode="0640")
    assert _differs(tmp_path / "none", mode="0640", sha256=_LARGE)
    assert _differs(file / "below", mode="0640")


def test_folders_and_links(tmp_path: Path, file: Path) -> None:
    tmp_path.chmod(0o750)
    link = tmp_path / "link"
    link.symlink_to(file)
    assert not _differs(tmp_path, state="directory", mode="0750")
    assert _differs(tmp_path, state="directory", mode="0755")
    assert not _differs(link, state="link", src=str(file))
    assert _differs(link, state="link", src="/dev/null")
    # What a link leads to does not count as the file itself.
    assert _differs(link, mode="0640", sha1=_TEXT)


def test_systemctl_answers_in_paragraphs() -> None:
    shown = "Id=a.service\nActiveState=active\n\nId=b.timer\nActiveState=\n"
    assert list(look.units(shown)) == [
        {"Id": "a.service", "ActiveState": "active"},
        {"Id": "b.timer", "ActiveState": ""},
    ]


@pytest.mark.parametrize(("earlier", "stale"), [(-5, False), (0, False), (5, True)])
def test_a_unit_is_stale_when_its_file_is_younger(file: Path, earlier: int, stale: bool) -> None:  # noqa: FBT001  (a parameter)
    began = f"@{int(file.stat().st_ctime) - earlier}"
    unit = {**_ACTIVE, "StateChangeTimestamp": began}
    assert look.is_stale(unit, [str(file), "/none"]) is stale


def test_a_stopped_unit_reads_its_files_when_it_starts(file: Path) -> None:
    assert not look.is_stale({**_ACTIVE, "ActiveState": "inactive"}, [str(file)])
