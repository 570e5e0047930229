"""What role base takes for a public key, and for a package source that nobody verifies."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.programs import loaded

probe = loaded("roles/base/files/probe.py")
remove_keys = loaded("roles/base/files/remove_keys.py")


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


_OPEN = ("jane:*:20000:0:99999:7:::", "/bin/bash")


@pytest.mark.parametrize(
    ("entry", "shell", "unlike"),
    [
        (*_OPEN, False),
        ("jane:$y$j9T$x:20000:0:99999:7:::", "/bin/bash", True),
        ("jane:*:20000:0:99999:7::1:", "/bin/bash", True),
        ("jane:*:20000:0:99999:7:::", "/bin/sh", True),
    ],
)
def test_account_of_an_administrator_is_open_and_has_no_password(entry, shell, unlike):
    accounts = {"jane": SimpleNamespace(pw_name="jane", pw_shell=shell)}
    assert probe._unlike("jane", accounts, {"jane": entry.split(":")}) is unlike


def test_missing_account_is_unlike():
    assert probe._unlike("jane", {}, {})


@pytest.mark.parametrize("file", ["authorized_keys", "authorized_keys2"])
def test_keys_of_an_account_are_found_wherever_sshd_may_look(tmp_path, file):
    account = SimpleNamespace(pw_name="jane", pw_dir=str(tmp_path))
    assert not probe._has_keys(account)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / file).symlink_to("nowhere")
    assert probe._has_keys(account)


@pytest.fixture
def removed(tmp_path, monkeypatch):
    """What is left in a home, and beside it, after its keys were removed."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setattr(remove_keys.pwd, "getpwnam", lambda _: SimpleNamespace(pw_dir=str(home)))
    return home


def test_keys_of_an_account_are_removed_and_nothing_else(removed):
    for name in ("authorized_keys", "authorized_keys2", "known_hosts"):
        (removed / ".ssh" / name).write_text("", encoding="utf-8")
    remove_keys.main("jane")
    assert [path.name for path in (removed / ".ssh").iterdir()] == ["known_hosts"]


def test_nobody_leads_root_to_the_keys_of_others(removed):
    others = removed.parent / "others"
    others.mkdir()
    (others / "authorized_keys").write_text("", encoding="utf-8")
    (removed / ".ssh").rmdir()
    (removed / ".ssh").symlink_to(others)
    remove_keys.main("jane")
    assert (others / "authorized_keys").exists()
    assert not (removed / ".ssh").is_symlink()


@pytest.mark.parametrize(
    ("home", "shell", "unlike"),
    [
        ("/nonexistent", "/usr/sbin/nologin", False),
        ("/nonexistent", "/bin/bash", True),
        ("/home/notify", "/usr/sbin/nologin", True),
    ],
)
def test_notifier_can_log_in_nowhere(home, shell, unlike):
    assert probe._notifier_unlike(SimpleNamespace(pw_dir=home, pw_shell=shell)) is unlike


def test_missing_notifier_is_unlike():
    assert probe._notifier_unlike(None)


@pytest.mark.parametrize(
    ("group", "administrators", "found"),
    [
        (("sudo", ["jane"]), {"jane": []}, []),
        (("sudo", ["jane"]), {}, [{"account": "jane", "group": "sudo"}]),
        (("adm", ["root", "jane"]), {}, [{"account": "jane", "group": "adm"}]),
        (("users", ["jane"]), {}, []),
    ],
)
def test_members_of_powerful_groups_are_found(monkeypatch, group, administrators, found):
    entry = SimpleNamespace(gr_name=group[0], gr_mem=group[1])
    monkeypatch.setattr(probe.grp, "getgrall", lambda: [entry])
    assert probe._members(administrators) == found
