"""The air-gap bundle: what the cache holds, in one file, for a machine without a network.

A plain tar with one member an artifact, NAME/VERSION/KIND-CPU-ID: the file that the manifest pins.
Nothing in a bundle is trusted: importing holds every member to the pins of the manifest there, and
takes members out of archives anew. The same artifacts give the same bundle, byte for byte.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.artifacts.cache import DOWNLOAD, Entry
from holdfast.artifacts.errors import Rejected, full_disk_named
from holdfast.artifacts.fetching import finish, held
from holdfast.errors import Error
from holdfast.locking import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.artifacts.cache import Cache
    from holdfast.artifacts.manifest import Artifact
    from holdfast.artifacts.report import Report


def write(path: Path, artifacts: Iterable[Artifact], *, arch: str, cache: Cache) -> list[str]:
    """Write the bundle of `artifacts` to `path`, whole or not at all; returns their names.

    Raises Error when one of them is not in the cache, Damaged when one is not what it should be.
    """
    pinned: dict[str, Path] = {}
    for artifact in artifacts:
        found = held(artifact, arch=arch, cache=cache, thorough=True)
        if found is None:
            raise Error(
                f"{artifact.name} {artifact.version} for {arch} is not in the cache; "
                f"run `holdfast artifacts fetch --arch {arch} {artifact.name}` first."
            )
        folder = found.path.parent
        name = str(folder.relative_to(cache.folder))
        pinned[name] = folder / DOWNLOAD if found.receipt.member else found.path
    with full_disk_named(path.parent):
        _write(path, pinned)
    return sorted(pinned)


def read(
    path: Path,
    artifacts: Iterable[Artifact],
    *,
    arch: str,
    cache: Cache,
    report: Report,
    wait: float,
) -> list[str]:
    """Put what `path` holds of `artifacts` into the cache, verified; returns their names.

    Raises Rejected when a member is not what is pinned, or the file is no bundle; Error when it
    holds nothing that the manifest wants.
    """
    wanted = {
        str(entry.folder.relative_to(cache.folder)): entry
        for artifact in artifacts
        for source in artifact.sources
        if (entry := cache.entry(artifact, source, arch))
    }
    found = []
    with full_disk_named(cache.folder):
        cache.clean()
        try:
            with tarfile.open(path, "r:") as bundle:
                for info in bundle:
                    entry = wanted.get(info.name)
                    if entry is None or not info.isreg():
                        report.say(f"{info.name}: this manifest does not want it; passed over")
                        continue
                    _import(bundle, info, entry, path, cache=cache, report=report, wait=wait)
                    found.append(info.name)
        except tarfile.TarError as error:
            raise Rejected(
                f"{path} is no complete bundle ({error}); make it again with "
                "`holdfast artifacts bundle` and copy it whole."
            ) from error
    if not found:
        raise Error(
            f"{path} holds nothing that the manifest wants for {arch}; "
            "make it with the same Holdfast, or name the CPU with --arch."
        )
    return found


def _write(path: Path, pinned: dict[str, Path]) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as bundle:
                for member, file in sorted(pinned.items()):
                    info = tarfile.TarInfo(member)
                    info.size = file.stat().st_size
                    with file.open("rb") as content:
                        bundle.addfile(info, content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _import(
    bundle: tarfile.TarFile,
    info: tarfile.TarInfo,
    entry: Entry,
    path: Path,
    *,
    cache: Cache,
    report: Report,
    wait: float,
) -> None:
    artifact = entry.artifact
    if info.size > artifact.max_bytes:
        raise Rejected(
            f"{info.name} in {path} is larger than the {artifact.max_bytes // 1024**2} MiB that "
            "the manifest allows; make the bundle again."
        )
    with (
        exclusive(
            cache.lock(f"artifact-{artifact.name}"),
            purpose="holdfast artifacts import",
            wait=wait,
            say=report.say,
        ),
        cache.work_folder() as work,
    ):
        gotten, made = work / DOWNLOAD, work / "entry"
        made.mkdir()
        content = bundle.extractfile(info)
        if content is None:
            raise tarfile.TarError(f"{info.name} has no content")
        with content, gotten.open("xb") as stream:
            shutil.copyfileobj(content, stream)
        finish(gotten, entry, made=made, cache=cache, describe=f"{info.name} in {path}")
        report.say(f"{artifact.name} {artifact.version}: verified, from {path}")
