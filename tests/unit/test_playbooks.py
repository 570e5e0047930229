"""Every play stops everything as soon as one host fails, and none begins unchecked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast import paths

_FOLDERS = ("playbooks", ".config/molecule")
_PLAYBOOKS = [
    path for folder in _FOLDERS for path in sorted((paths.repository() / folder).glob("*.yml"))
]


def plays(path: Path) -> list[dict[str, Any]]:
    loaded = yaml.safe_load(path.read_text())
    return [entry for entry in loaded if "hosts" in entry] if isinstance(loaded, list) else []


@pytest.mark.parametrize("path", _PLAYBOOKS, ids=lambda path: path.name)
def test_every_play_is_fatal_for_all(path: Path) -> None:
    assert [play["name"] for play in plays(path) if play.get("any_errors_fatal") is not True] == []


@pytest.mark.parametrize(
    "path", sorted((paths.repository() / "playbooks").glob("*.yml")), ids=lambda path: path.name
)
def test_every_playbook_begins_with_the_check_of_the_inventory(path: Path) -> None:
    first = plays(path)[0]
    assert "check_inventory" in (first.get("pre_tasks") or first["tasks"])[0]
    assert "roles" not in first


def test_plays_were_found() -> None:
    assert len([play for path in _PLAYBOOKS for play in plays(path)]) >= 6
