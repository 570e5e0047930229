"""The publishers' keys in this repository: each is the pinned one, and can still sign."""

from __future__ import annotations

import subprocess
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from holdfast.artifacts import default_path, load
from holdfast.artifacts.manifest import Release

if TYPE_CHECKING:
    from pathlib import Path

RELEASES = [
    pytest.param(source, id=artifact.name)
    for artifact in load(default_path()).artifacts.values()
    for source in artifact.sources
    if isinstance(source, Release)
]


@pytest.mark.parametrize("release", RELEASES)
def test_a_publishers_key_is_the_pinned_one_and_has_not_expired(
    release: Release, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    gpg = ["gpg", "--homedir", str(tmp_path), "--batch", "--no-autostart", "--with-colons"]
    subprocess.run([*gpg, "--import", release.signature.key], capture_output=True, check=True)
    listing = subprocess.run([*gpg, "--list-keys"], capture_output=True, text=True, check=True)
    records = [line.split(":") for line in listing.stdout.splitlines()]
    primary = [after[9] for key, after in pairwise(records) if key[0] == "pub"]
    assert primary == [release.signature.fingerprint]
    signing = [key for key in records if key[0] in {"pub", "sub"} and "s" in key[11]]
    assert [key for key in signing if not key[6] or int(key[6]) > time.time()]
