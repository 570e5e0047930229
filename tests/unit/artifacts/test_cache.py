"""The cache: whole entries or none, and no entry that is not what the manifest pins."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from holdfast.artifacts.cache import DOWNLOAD, RECEIPT, Cache, Damaged, Entry, Receipt
from holdfast.artifacts.fetching import finish
from holdfast.artifacts.manifest import Artifact, Maven

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENT = b"#!/bin/sh\n"


def artifact(content: bytes = CONTENT) -> Artifact:
    pin = hashlib.sha256(content).hexdigest()
    return Artifact(
        name="tool",
        version="1",
        licence="MIT",
        purpose="a test",
        file="tool",
        executable=True,
        max_bytes=1000,
        sources=(Maven(coordinates="a:b:1:jar", sha256={"any": pin}),),
    )


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def entry_of(cache: Cache, content: bytes = CONTENT) -> Entry:
    wanted = artifact(content)
    entry = cache.entry(wanted, wanted.sources[0], "amd64")
    assert entry
    return entry


def installed(cache: Cache) -> Entry:
    entry = entry_of(cache)
    with cache.work_folder() as work:
        (work / "new").mkdir()
        (work / DOWNLOAD).write_bytes(CONTENT)
        finish(work / DOWNLOAD, entry, made=work / "new", cache=cache, describe="the test")
    return entry


def test_an_installed_entry_is_sound(cache: Cache) -> None:
    receipt = installed(cache).check(thorough=True)
    assert (receipt.artifact, receipt.size, receipt.arch) == ("tool", len(CONTENT), "any")
    assert list((cache.folder / ".work").iterdir()) == []


def rewrite_receipt(entry: Entry, **changes: object) -> None:
    path = entry.folder / RECEIPT
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def link_to_a_copy(entry: Entry) -> None:
    copy = entry.file.rename(entry.folder.parent / "copy")
    entry.file.symlink_to(copy)


DAMAGE: dict[str, Callable[[Entry], object]] = {
    "other content": lambda e: e.file.write_bytes(b"#!/bin/rm"),
    "no content": lambda e: e.file.write_bytes(b""),
    "no file": lambda e: e.file.unlink(),
    "no receipt": lambda e: (e.folder / RECEIPT).unlink(),
    "half a receipt": lambda e: (e.folder / RECEIPT).write_text('{"artifact": "to'),
    "another receipt": lambda e: rewrite_receipt(e, pin="0" * 64),
    "an unknown word in the receipt": lambda e: rewrite_receipt(e, note="hello"),
    "another file beside it": lambda e: (e.folder / "more").touch(),
    "a link": link_to_a_copy,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_seen(cache: Cache, what: str) -> None:
    entry = installed(cache)
    DAMAGE[what](entry)
    with pytest.raises(Damaged, match="holdfast artifacts fetch tool"):
        entry.check(thorough=False)


def test_other_content_with_a_receipt_to_match_is_still_not_what_is_pinned(cache: Cache) -> None:
    entry = installed(cache)
    entry.file.write_bytes(b"evil")
    rewrite_receipt(entry, sha256=hashlib.sha256(b"evil").hexdigest(), size=4)
    with pytest.raises(Damaged, match="not " + entry.pin):
        entry.check(thorough=False)


def member_entry(cache: Cache, folder: Path) -> Entry:
    with zipfile.ZipFile(folder / "tool.zip", "w") as package:
        package.writestr("bin/tool", CONTENT)
    content = (folder / "tool.zip").read_bytes()
    pin = {"any": hashlib.sha256(content).hexdigest()}
    source = Maven(coordinates="a:b:1:zip", sha256=pin, member="bin/tool")
    wanted = replace(artifact(), sources=(source,))
    entry = cache.entry(wanted, source, "amd64")
    assert entry
    with cache.work_folder() as work:
        (work / "new").mkdir()
        (work / DOWNLOAD).write_bytes(content)
        finish(work / DOWNLOAD, entry, made=work / "new", cache=cache, describe="the test")
    entry.check(thorough=True)
    return entry


def test_a_forged_member_is_seen_by_reading_it_from_its_download_again(
    cache: Cache, tmp_path: Path
) -> None:
    entry = member_entry(cache, tmp_path)
    entry.file.write_bytes(b"evil")
    with pytest.raises(Damaged):
        entry.check(thorough=False)
    rewrite_receipt(entry, sha256=hashlib.sha256(b"evil").hexdigest(), size=4)
    with pytest.raises(Damaged, match="not the bin/tool of its download"):
        entry.check(thorough=True)


def test_a_rotten_download_is_seen(cache: Cache, tmp_path: Path) -> None:
    entry = member_entry(cache, tmp_path)
    (entry.folder / DOWNLOAD).write_bytes(b"rotten")
    with pytest.raises(Damaged, match="the download's SHA-256"):
        entry.check(thorough=True)


def test_each_pin_has_a_place_of_its_own(cache: Cache) -> None:
    assert entry_of(cache, b"one").folder != entry_of(cache, b"two").folder


def test_a_damaged_entry_is_replaced_as_a_whole(cache: Cache) -> None:
    entry = installed(cache)
    (entry.folder / "more").touch()
    installed(cache)
    assert isinstance(entry.check(thorough=True), Receipt)


def test_a_leftover_is_removed_and_work_in_hand_is_not(cache: Cache) -> None:
    with cache.work_folder() as work:
        leftover = work.parent / "leftover"
        leftover.mkdir()
        (leftover / "half").touch()
        cache.clean()
        assert not leftover.exists()
        assert work.exists()
    assert not work.exists()


def test_cleaning_a_cache_that_is_not_there_makes_nothing(cache: Cache) -> None:
    cache.clean()
    assert not cache.folder.exists()
