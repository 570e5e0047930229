"""What happens where Maven is not installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from holdfast.artifacts import Cache, Silence, Unavailable, maven
from holdfast.artifacts.manifest import Artifact, Maven

if TYPE_CHECKING:
    from pathlib import Path


def get(tmp_path: Path, bin_folder: Path) -> None:
    source = Maven(coordinates="a:b:1:jar", sha256={"any": "a" * 64})
    artifact = Artifact(
        name="tool",
        version="1",
        licence="MIT",
        purpose="a test",
        file="tool",
        executable=False,
        max_bytes=1000,
        sources=(source,),
    )
    assert not list(bin_folder.glob("mvn"))
    target = tmp_path / "target"
    maven.get(artifact, source, target=target, cache=Cache(tmp_path / "cache"), report=Silence())


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_without_root_the_command_to_install_it_is_named(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="sudo apt-get install maven"):
        get(tmp_path, programs)


def test_a_failing_installation_gives_nothing(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    apt = programs / "apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package maven' >&2\nexit 100\n")
    apt.chmod(0o755)
    with pytest.raises(Unavailable, match="Unable to locate package maven"):
        get(tmp_path, programs)
