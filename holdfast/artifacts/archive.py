"""One regular file out of a zip or tar archive, by its exact name, bounded in size."""

from __future__ import annotations

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from holdfast.artifacts.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = 1024 * 1024
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # zipfile: encrypted, or packed in a way it does not know
)


def read_member(archive: Path, member: str, *, max_bytes: int) -> Iterator[bytes]:
    """Yield the content of `member`.

    Raises Rejected if the archive is broken, has no such regular file or two of them, or if the
    member is larger than `max_bytes`.
    """
    done = 0
    try:
        with _open(archive, member) as stream:
            while block := stream.read(_BLOCK):
                done += len(block)
                if done > max_bytes:
                    raise Rejected(
                        f"{member} in {archive.name} is larger than {max_bytes // 1024**2} MiB; "
                        "find out why, and raise max_mib only if it is right."
                    )
                yield block
    except _BROKEN as error:
        raise Rejected(
            f"{archive.name} cannot be read ({error}); correct its pin in the manifest."
        ) from error


@contextmanager
def _open(archive: Path, member: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as package:
            infos = [info for info in package.infolist() if info.filename == member]
            plain = [info for info in infos if not info.is_dir() and not _special(info)]
            _require_one(archive, member, found=len(infos), plain=len(plain))
            with package.open(plain[0]) as stream:
                yield stream
        return
    with tarfile.open(archive) as tar:
        entries = [info for info in tar if info.name.removeprefix("./") == member]
        files = [info for info in entries if info.isreg()]
        _require_one(archive, member, found=len(entries), plain=len(files))
        extracted = tar.extractfile(files[0])
        if extracted is None:
            raise tarfile.TarError(f"{member} has no content")
        with extracted:
            yield extracted


def _special(info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind not in (0, stat.S_IFREG)


def _require_one(archive: Path, member: str, *, found: int, plain: int) -> None:
    if found != 1 or plain != 1:
        raise Rejected(
            f"{archive.name} has {plain} regular files among {found} entries named {member}, "
            "and must have one; correct `member` in the manifest."
        )
