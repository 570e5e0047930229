"""The cache: finished, verified files only, shared by all installations on the machine.

    NAME/VERSION/KIND-CPU-ID/   FILE, receipt.json, and `download` if FILE was taken out of it
    .work/                      what is being made; whatever nobody holds locked there is removed
    .locks/  go/  maven/  toolchains/

An entry is made in a work folder and renamed into place as a whole. Its ID covers everything in
the manifest that it depends on, so that a changed pin never finds an old entry.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from holdfast import paths
from holdfast.artifacts import archive
from holdfast.artifacts.errors import Rejected
from holdfast.artifacts.manifest import ANY
from holdfast.errors import Error
from holdfast.files import sync_folder
from holdfast.locking import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from holdfast.artifacts.manifest import Artifact, Source

RECEIPT = "receipt.json"
DOWNLOAD = "download"
_WORK_LOCK_SECONDS = 120


class Damaged(Error):
    """An entry of the cache is not what was put there."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What an entry is, written beside it."""

    artifact: str
    version: str
    licence: str
    source: str
    arch: str
    pin: str
    member: str | None
    file: str
    size: int
    sha256: str
    fetched: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The place of one artifact from one source for one CPU."""

    folder: Path
    artifact: Artifact
    source: Source
    arch: str
    pin: str

    @property
    def file(self) -> Path:
        """What roles ship."""
        return self.folder / self.artifact.file

    def exists(self) -> bool:
        """Whether something stands there; `check` tells what it is worth."""
        return os.path.lexists(self.folder)

    def check(self, *, thorough: bool) -> Receipt:
        """Compare the entry with the manifest's pin; raises Damaged.

        A member taken out of a download is compared with the checksum that was taken when the
        download had been verified; `thorough` verifies the download again and reads the member
        from it once more.
        """
        wanted = {self.artifact.file, RECEIPT} | ({DOWNLOAD} if self.source.member else set())
        try:
            found = {path.name for path in self.folder.iterdir()}
            if found != wanted or not all(_regular(self.folder / name) for name in found):
                raise self._damaged(f"it holds {', '.join(sorted(found)) or 'nothing'}")
            receipt = Receipt(**json.loads((self.folder / RECEIPT).read_bytes()))
            checksum = sha256(self.file)
        except (OSError, ValueError, TypeError) as error:
            raise self._damaged(str(error)) from error
        expected = receipt.sha256 if self.source.member else self.pin
        if receipt.pin != self.pin or checksum != expected:
            raise self._damaged(f"the file's SHA-256 is {checksum}, not {expected}")
        if thorough and self.source.member:
            self._check_member(self.source.member, checksum)
        return receipt

    def _check_member(self, member: str, checksum: str) -> None:
        download = self.folder / DOWNLOAD
        found = sha256(download)
        if found != self.pin:
            raise self._damaged(f"the download's SHA-256 is {found}, not {self.pin}")
        digest = hashlib.sha256()
        try:
            for block in archive.read_member(download, member, max_bytes=self.artifact.max_bytes):
                digest.update(block)
        except Rejected as error:
            raise self._damaged(str(error)) from error
        if digest.hexdigest() != checksum:
            raise self._damaged(f"the file is not the {member} of its download")

    def _damaged(self, what: str) -> Damaged:
        return Damaged(
            f"{self.folder} is damaged: {what}. "
            f"Run `holdfast artifacts fetch {self.artifact.name}` to replace it."
        )


class Cache:
    """The folder, its locks and its entries."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or paths.cache_folder() / "artifacts").absolute()

    def entry(self, artifact: Artifact, source: Source, arch: str) -> Entry | None:
        """Where `artifact` from `source` stands or would stand; None if there is no such file."""
        pin = source.pin(arch)
        if pin is None:
            return None
        cpu = ANY if ANY in source.sha256 else arch
        identity = json.dumps([pin, source.member, artifact.file, artifact.executable])
        name = f"{source.kind}-{cpu}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        folder = self.folder / artifact.name / artifact.version / name
        return Entry(folder=folder, artifact=artifact, source=source, arch=cpu, pin=pin)

    def lock(self, name: str) -> Path:
        """The lock file `name` (see holdfast.locking), in a folder that is made if need be."""
        locks = self.folder / ".locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Error(
                f"{locks} cannot be made: {error.strerror}; run as root, or set "
                "HOLDFAST_CACHE to a folder of your own."
            ) from error
        return locks / f"{name}.lock"

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """A private folder on the cache's own disk, gone afterwards, however this process ends."""
        works = self.folder / ".work"
        with self._works():
            works.mkdir(exist_ok=True, mode=0o700)
            path = works / tempfile.mkdtemp(dir=works)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)

    def clean(self) -> None:
        """Remove what killed commands left behind."""
        works = self.folder / ".work"
        if not any(works.glob("*")):
            return
        with self._works():
            for path in works.glob("*"):
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue  # its maker is alive
                finally:
                    os.close(descriptor)
                shutil.rmtree(path)

    def install(self, made: Path, entry: Entry, receipt: Receipt) -> None:
        """Put the finished folder `made` in the place of `entry`, all or nothing."""
        (made / RECEIPT).write_text(json.dumps(asdict(receipt), indent=2, sort_keys=True) + "\n")
        for path in made.iterdir():
            path.chmod(entry.artifact.mode if path.name == entry.artifact.file else 0o644)
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        made.chmod(0o755)
        sync_folder(made)
        entry.folder.parent.mkdir(parents=True, exist_ok=True)
        self.discard(entry)
        made.rename(entry.folder)
        sync_folder(entry.folder.parent)

    def discard(self, entry: Entry) -> None:
        """Remove an entry; it vanishes at once, not file by file."""
        if entry.exists():
            with self.work_folder() as work:
                entry.folder.rename(work / "discarded")

    @contextmanager
    def _works(self) -> Iterator[None]:
        with exclusive(self.lock("work"), purpose="holdfast artifacts", wait=_WORK_LOCK_SECONDS):
            yield


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _regular(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)
