"""Fetching: the cache first, then the sources in the manifest's order, each held to its own pin."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast.artifacts import archive, golang, maven
from holdfast.artifacts.cache import DOWNLOAD, Cache, Damaged, Receipt, sha256
from holdfast.artifacts.download import download
from holdfast.artifacts.errors import Rejected, Unavailable, full_disk_named
from holdfast.artifacts.manifest import Go, Maven, Release
from holdfast.artifacts.signature import verify
from holdfast.errors import Busy
from holdfast.locking import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from holdfast.artifacts.cache import Entry
    from holdfast.artifacts.manifest import Artifact, Source
    from holdfast.artifacts.report import Report

_MAX_CHECKSUMS_BYTES = 1024**2
_MAX_SIGNATURE_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Held:
    """A verified artifact in the cache."""

    path: Path
    receipt: Receipt
    fetched: bool


def held(artifact: Artifact, *, arch: str, cache: Cache, thorough: bool = False) -> Held | None:
    """The artifact if the cache has it, verified; None if not. Raises Damaged."""
    damage: Damaged | None = None
    for entry in _entries(artifact, arch, cache):
        if entry.exists():
            try:
                receipt = entry.check(thorough=thorough)
            except Damaged as error:
                damage = error
            else:
                return Held(path=entry.file, receipt=receipt, fetched=False)
    if damage:
        raise damage
    return None


def fetch(
    artifacts: Iterable[Artifact], *, arch: str, cache: Cache, report: Report, wait: float
) -> list[Held]:
    """Have all `artifacts` in the cache, verified.

    `wait` is how many seconds to wait for another command that fetches the same one. Raises
    Rejected, NoSpace, Busy, or Unavailable when every source of an artifact gave nothing.
    """
    with full_disk_named(cache.folder):
        cache.clean()
        found = [_one(a, arch=arch, cache=cache, report=report, wait=wait) for a in artifacts]
        if any(item.fetched for item in found):
            for drop in (golang.drop_caches, maven.drop_caches):
                with suppress(Busy):  # another fetch needs them and will drop them
                    drop(cache)
    return found


def _one(artifact: Artifact, *, arch: str, cache: Cache, report: Report, wait: float) -> Held:
    present = _held_or_none(artifact, arch=arch, cache=cache)
    if present:
        return present
    with exclusive(
        cache.lock(f"artifact-{artifact.name}"),
        purpose=f"holdfast artifacts fetch {artifact.name}",
        wait=wait,
        say=report.say,
    ):
        present = _held_or_none(artifact, arch=arch, cache=cache)  # made while we waited?
        if present:
            return present
        reasons = []
        for source in artifact.sources:
            entry = cache.entry(artifact, source, arch)
            if entry is None:
                reasons.append(f"{source.kind}: has no file for {arch}")
                continue
            if entry.exists():
                report.say(f"{artifact.name}: the copy in the cache is damaged; fetching it again")
            try:
                with full_disk_named(cache.folder):
                    receipt = _obtain(entry, cache=cache, report=report)
            except Unavailable as error:
                reasons.append(f"{source.kind}: {error}")
                report.say(f"{artifact.name}: {source.kind} gave nothing: {error}")
                continue
            report.say(f"{artifact.name} {artifact.version}: verified, from {source.kind}")
            return Held(path=entry.file, receipt=receipt, fetched=True)
    raise Unavailable(
        f"no source gave {artifact.name} {artifact.version}:\n  "
        + "\n  ".join(reasons)
        + "\nMake one of them reachable, or bring it with `holdfast artifacts import`."
    )


def _held_or_none(artifact: Artifact, *, arch: str, cache: Cache) -> Held | None:
    with suppress(Damaged):
        return held(artifact, arch=arch, cache=cache)
    return None


def _entries(artifact: Artifact, arch: str, cache: Cache) -> list[Entry]:
    entries = [cache.entry(artifact, source, arch) for source in artifact.sources]
    return [entry for entry in entries if entry]


def _obtain(entry: Entry, *, cache: Cache, report: Report) -> Receipt:
    """Get, verify and install one entry."""
    with cache.work_folder() as work:
        scratch, made = work / "scratch", work / "entry"
        scratch.mkdir()
        made.mkdir()
        gotten = scratch / DOWNLOAD
        _get(entry, gotten, scratch=scratch, cache=cache, report=report)
        return finish(gotten, entry, made=made, cache=cache, describe=_describe(entry.source))


def finish(gotten: Path, entry: Entry, *, made: Path, cache: Cache, describe: str) -> Receipt:
    """Hold `gotten` to the pin, take the member out of it, and install the entry.

    Raises Rejected.
    """
    artifact, source = entry.artifact, entry.source
    size = gotten.stat().st_size
    if size > artifact.max_bytes:
        raise Rejected(
            f"{describe} gave {size} bytes, more than the {artifact.max_bytes // 1024**2} MiB that "
            "the manifest allows; find out why, and raise max_mib only if it is right."
        )
    found = sha256(gotten)
    if found != entry.pin:
        raise Rejected(
            f"{describe} gave a file with SHA-256 {found}, and {entry.pin} is pinned; do not use "
            "it: find out which of the two is right, and correct the manifest only then."
        )
    file = made / artifact.file
    if source.member:
        gotten.rename(made / DOWNLOAD)
        with file.open("xb") as stream:
            for block in archive.read_member(
                made / DOWNLOAD, source.member, max_bytes=artifact.max_bytes
            ):
                stream.write(block)
    else:
        gotten.rename(file)
    receipt = Receipt(
        artifact=artifact.name,
        version=artifact.version,
        licence=artifact.licence,
        source=source.kind,
        arch=entry.arch,
        pin=entry.pin,
        member=source.member,
        file=artifact.file,
        size=file.stat().st_size,
        sha256=sha256(file),
        fetched=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    cache.install(made, entry, receipt)
    return receipt


def _get(entry: Entry, target: Path, *, scratch: Path, cache: Cache, report: Report) -> None:
    artifact, source = entry.artifact, entry.source
    match source:
        case Release():
            _get_release(entry, source, target, scratch=scratch, report=report)
        case Go():
            golang.build(
                artifact, source, arch=entry.arch, target=target, cache=cache, report=report
            )
        case Maven():
            maven.get(artifact, source, target=target, cache=cache, report=report)


def _get_release(
    entry: Entry, source: Release, target: Path, *, scratch: Path, report: Report
) -> None:
    """Signature first: nothing large is downloaded on the word of an unsigned list."""
    signature = source.signature
    url = source.address(source.url, entry.arch)
    report.say(f"{entry.artifact.name}: downloading {url}")
    signature_file = scratch / "signature"
    _save(source.address(signature.url, entry.arch), signature_file, _MAX_SIGNATURE_BYTES, report)
    if signature.checksums is None:
        _save(url, target, entry.artifact.max_bytes, report)
        signed = target
    else:
        signed = scratch / "checksums"
        address = source.address(signature.checksums, entry.arch)
        _save(address, signed, _MAX_CHECKSUMS_BYTES, report)
    verify(
        signed,
        signature_file,
        key=signature.key,
        fingerprint=signature.fingerprint,
        work=scratch,
    )
    if signature.checksums is not None:
        _require_listed(signed.read_text(errors="replace"), url.rsplit("/", 1)[-1], entry.pin)
        _save(url, target, entry.artifact.max_bytes, report)


def _save(url: str, path: Path, max_bytes: int, report: Report) -> None:
    with path.open("xb") as stream:
        download(url, stream, max_bytes=max_bytes, report=report)


def _require_listed(checksums: str, name: str, pin: str) -> None:
    """The signed list (sha256sum's format) must name the file once, with the pinned checksum."""
    found = re.findall(
        rf"^([0-9a-f]{{64}}) [ *](?:\./)?{re.escape(name)}$", checksums, re.MULTILINE
    )
    if found != [pin]:
        raise Rejected(
            f"the publisher's signed list gives {', '.join(found) or 'no checksum'} for {name}, "
            f"and {pin} is pinned; find out which is right, and correct the manifest only then."
        )


def _describe(source: Source) -> str:
    match source:
        case Release():
            return source.url
        case Go():
            return f"building {source.command} with Go {source.toolchain}"
        case Maven():
            return source.coordinates
