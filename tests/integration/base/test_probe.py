"""What role base takes for a public key, and for a package source that nobody verifies."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

_PROBE = Path(__file__).parents[3] / "roles/base/files/probe.py"
_SPEC = importlib.util.spec_from_file_location("probe", _PROBE)
assert _SPEC is not None
assert _SPEC.loader is not None
probe = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(probe)


def _public_key(folder: Path, *kind: str) -> str:
    file = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", file, "-t", *kind], check=True, timeout=60)
    return file.with_suffix(".pub").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("kind", [("ed25519",), ("ecdsa", "-b", "256"), ("ecdsa", "-b", "521")])
def test_public_keys_are_taken(tmp_path, kind):
    assert probe._valid(_public_key(tmp_path, *kind))


def test_anything_else_is_refused(tmp_path):
    key = _public_key(tmp_path, "ed25519")
    name, blob, comment = key.split(" ", 2)
    private = (tmp_path / "key").read_text(encoding="utf-8")
    for wrong in (
        "",
        blob,
        f"{name} {blob[:-8]} {comment}",
        f"{name} {blob.replace('A', 'B', 3)}",
        f"ecdsa-sha2-nistp256 {blob}",
        f'command="/bin/sh" {key}',
        f"{key}\n{key}",
        private,
    ):
        assert not probe._valid(wrong), wrong


def test_key_of_an_old_kind_is_refused(tmp_path):
    assert not probe._valid(_public_key(tmp_path, "rsa", "-b", "4096"))


@pytest.mark.parametrize(
    ("text", "verified"),
    [
        ("deb http://x.test trixie main\n", True),
        ("deb [signed-by=/x.gpg] http://x.test trixie main\n", True),
        ("# deb [trusted=yes] http://x.test trixie main\n", True),
        ("deb [trusted=no] http://x.test trixie main\n", True),
        ("deb [trusted=yes] http://x.test trixie main\n", False),
        ("deb [arch=amd64 allow-insecure=true] http://x.test trixie main\n", False),
        ("Types: deb\nURIs: http://x.test\nTrusted: yes\n", False),
        ("Types: deb\nURIs: http://x.test\nallow-insecure: yes\n", False),
    ],
)
def test_source_without_verification_is_seen(text, verified):
    assert bool(probe._UNVERIFIED.search(text)) is not verified


@pytest.mark.parametrize(
    ("entry", "shell", "locked"),
    [
        ("jane:!*:20000:0:99999:7::1:", "/usr/sbin/nologin", True),
        ("jane:!*:20000:0:99999:7:::", "/usr/sbin/nologin", False),
        ("jane:!*:20000:0:99999:7:1::", "/usr/sbin/nologin", False),
        ("jane:!*:20000:0:99999:7::1:", "/bin/bash", False),
    ],
)
def test_account_is_locked_only_when_it_expired_and_has_no_shell(entry, shell, locked):
    account = SimpleNamespace(pw_name="jane", pw_shell=shell)
    assert probe._locked(account, {"jane": entry.split(":")}) is locked


_KEY = "ssh-ed25519 AAAA jane"
_RULE = "jane ALL=(ALL:ALL) NOPASSWD: ALL\n"


@pytest.fixture
def way_in(tmp_path):
    """A home and a folder of sudo rules, as the role leaves them."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/authorized_keys").write_text(f"{_KEY}\n", encoding="utf-8")
    (tmp_path / "holdfast-administrators").write_text(_RULE, encoding="utf-8")
    return tmp_path


def _differs(folder):
    return probe._access_differs([_KEY], _RULE, home=folder, folder=folder)


def test_way_in_as_wanted_is_no_change(way_in):
    assert not _differs(way_in)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".ssh/authorized_keys", f"{_KEY}\n{_KEY}2\n"),
        (".ssh/authorized_keys", None),
        (".ssh/authorized_keys2", ""),
        ("holdfast-administrators", ""),
        ("holdfast-administrators", None),
    ],
)
def test_change_of_the_way_in_is_seen(way_in, file, text):
    if text is None:
        (way_in / file).unlink()
    else:
        (way_in / file).write_text(text, encoding="utf-8")
    assert _differs(way_in)
