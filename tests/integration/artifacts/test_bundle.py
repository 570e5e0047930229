"""The way of artifacts to a machine without a network."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from holdfast.artifacts import Artifact, Cache, Rejected, bundle, held
from holdfast.errors import Error

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Workshop

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def elsewhere(tmp_path: Path) -> Cache:
    """The cache of the machine without a network."""
    return Cache(tmp_path / "elsewhere")


def bundled(workshop: Workshop, path: Path) -> Artifact:
    """Fetch a release with a member and write a bundle of it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as package:
        package.writestr("tool", CONTENT)
    source = workshop.release(stream.getvalue(), member="tool")
    workshop.fetch(source)
    artifact = workshop.artifact(source)
    bundle.write(path, [artifact], arch="amd64", cache=workshop.cache)
    workshop.publisher.close()
    return artifact


def imported(workshop: Workshop, path: Path, artifact: Artifact, cache: Cache) -> list[str]:
    return bundle.read(path, [artifact], arch="amd64", cache=cache, report=workshop, wait=0)


def files(cache: Cache) -> list[Path]:
    return [p for p in cache.folder.rglob("*") if p.is_file() and ".locks" not in p.parts]


def test_a_bundle_brings_the_same_file(
    workshop: Workshop, tmp_path: Path, elsewhere: Cache
) -> None:
    artifact = bundled(workshop, tmp_path / "a.tar")
    assert imported(workshop, tmp_path / "a.tar", artifact, elsewhere)
    found = held(artifact, arch="amd64", cache=elsewhere, thorough=True)
    assert found
    assert found.path.read_bytes() == CONTENT
    bundle.write(tmp_path / "b.tar", [artifact], arch="amd64", cache=elsewhere)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize("byte", [700, 200_000])
def test_an_altered_bundle_is_refused(
    workshop: Workshop, tmp_path: Path, elsewhere: Cache, byte: int
) -> None:
    artifact = bundled(workshop, tmp_path / "a.tar")
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[byte] ^= 1
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(Rejected, match="do not use it"):
        imported(workshop, tmp_path / "a.tar", artifact, elsewhere)
    assert files(elsewhere) == []


@pytest.mark.parametrize("length", [0, 300, 100_000])
def test_a_truncated_bundle_is_refused(
    workshop: Workshop, tmp_path: Path, elsewhere: Cache, length: int
) -> None:
    artifact = bundled(workshop, tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:length])
    with pytest.raises(Rejected, match="no complete bundle"):
        imported(workshop, tmp_path / "a.tar", artifact, elsewhere)
    assert files(elsewhere) == []


def test_a_bundle_of_other_things_is_an_error(
    workshop: Workshop, tmp_path: Path, elsewhere: Cache
) -> None:
    artifact = bundled(workshop, tmp_path / "a.tar")
    with tarfile.open(tmp_path / "other.tar", "w") as other:
        other.addfile(tarfile.TarInfo("../../etc/passwd"))
    with pytest.raises(Error, match="holds nothing that the manifest wants"):
        imported(workshop, tmp_path / "other.tar", artifact, elsewhere)
    assert files(elsewhere) == []


def test_what_was_not_fetched_cannot_be_bundled(workshop: Workshop, tmp_path: Path) -> None:
    artifact = workshop.artifact(workshop.release(CONTENT))
    with pytest.raises(Error, match="holdfast artifacts fetch --arch amd64 tool"):
        bundle.write(tmp_path / "a.tar", [artifact], arch="amd64", cache=workshop.cache)
    assert not (tmp_path / "a.tar").exists()
