"""Taking one file out of an archive that may be hostile."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from holdfast.artifacts.archive import read_member
from holdfast.artifacts.errors import Rejected

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"content" * 1000


def read(path: Path, member: str = "tool", max_bytes: int = 1024**2) -> bytes:
    return b"".join(read_member(path, member, max_bytes=max_bytes))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def zip_of(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in entries:
            package.writestr(name, content)


def tar_of(path: Path, mode: str, *entries: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, mode) as package:  # type: ignore[call-overload]  # mode is the test's
        for info, content in entries:
            info.size = len(content)
            package.addfile(info, io.BytesIO(content))


def test_zip(archive: Path) -> None:
    zip_of(archive, ("other", b""), ("tool", CONTENT))
    assert read(archive) == CONTENT


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_tar(archive: Path, mode: str) -> None:
    tar_of(archive, mode, (tarfile.TarInfo("./bin/tool"), CONTENT))
    assert read(archive, "bin/tool") == CONTENT


def test_a_symbolic_link_is_no_file(archive: Path) -> None:
    link = zipfile.ZipInfo("tool")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    zip_of(archive, (link, b"/etc/shadow"))
    with pytest.raises(Rejected, match="0 regular files among 1"):
        read(archive)
    info = tarfile.TarInfo("tool")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/shadow"
    tar_of(archive, "w", (info, b""))
    with pytest.raises(Rejected, match="0 regular files among 1"):
        read(archive)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # what the test is about
def test_two_of_one_name_are_refused(archive: Path) -> None:
    zip_of(archive, ("tool", b"good"), ("tool", b"evil"))
    with pytest.raises(Rejected, match="2 regular files among 2"):
        read(archive)


def test_a_member_that_is_not_there_is_refused(archive: Path) -> None:
    zip_of(archive, ("tool2", CONTENT), ("bin/tool", CONTENT))
    with pytest.raises(Rejected, match="correct `member`"):
        read(archive)


def test_a_member_larger_than_allowed_is_refused(archive: Path) -> None:
    zip_of(archive, ("tool", CONTENT))
    assert len(read(archive, max_bytes=len(CONTENT))) == len(CONTENT)
    with pytest.raises(Rejected, match="max_mib"):
        read(archive, max_bytes=len(CONTENT) - 1)


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:xz"])
@pytest.mark.parametrize("defect", ["truncated", "altered"])
def test_a_broken_archive_is_refused(archive: Path, mode: str, defect: str) -> None:
    noise = bytes(i * i % 251 for i in range(5000))
    if mode == "zip":
        zip_of(archive, ("tool", noise))
    else:
        tar_of(archive, mode, (tarfile.TarInfo("tool"), noise))
    content = bytearray(archive.read_bytes())
    if defect == "truncated":
        content = content[: len(content) // 4]
    else:
        content[100:200] = bytes(100)
    archive.write_bytes(content)
    with pytest.raises(Rejected):
        read(archive)


def test_something_else_is_no_archive(archive: Path) -> None:
    archive.write_bytes(CONTENT)
    with pytest.raises(Rejected, match="cannot be read"):
        read(archive)
