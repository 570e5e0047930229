"""The probe of role hardening finds what a look at files does not show."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import pytest

from tests.programs import loaded

probe = loaded("roles/hardening/files/probe.py")

_MODULES = ["auth requisite pam_faillock.so preauth", "session optional pam_umask.so"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder in place of the host's root."""
    monkeypatch.setattr(probe, "_ROOT", tmp_path)
    return tmp_path


def _write(root, name, text=""):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_files_that_systemd_has_not_read_are_named_whatever_time_they_claim(root):
    now = datetime.now(UTC).strftime("%a %Y-%m-%d %H:%M:%S.%f UTC")
    boot = "Mon 2024-01-01 00:00:00.000000 UTC"
    assert probe._unread(f"{boot}\n{now}\n") == []
    time.sleep(0.05)
    path = _write(root, "etc/systemd/system/x.service.d/10-hardening.conf")
    os.utime(path, (0, 0))
    _write(root, "etc/systemd/system/x.service.d/somebody.conf")
    for times in (f"{boot}\n{now}\n", f"{now}\n\n"):
        assert probe._unread(times) == [str(path)]
    time.sleep(0.05)
    later = datetime.now(UTC).strftime("%a %Y-%m-%d %H:%M:%S.%f UTC")
    assert probe._unread(f"{later}\n\n") == []


def test_record_is_old_when_it_is_gone_or_wishes_came_later(root):
    wishes = _write(root, probe._WISHES)
    _write(root, probe._PROGRAM)
    assert probe._record_is_old()
    time.sleep(0.05)
    _write(root, probe._RECORD)
    assert not probe._record_is_old()
    time.sleep(0.05)
    wishes.write_text("{}", encoding="utf-8")
    assert probe._record_is_old()


def test_program_is_named_that_is_setuid_or_would_be_after_an_upgrade(tmp_path):
    kept, tampered, forgotten = (_write(tmp_path, name) for name in ("kept", "tampered", "new"))
    tampered.chmod(0o4755)
    absent = tmp_path / "absent"
    overrides = "".join(f"root root 755 {path}\n" for path in (kept, tampered, absent))
    overrides += f"root messagebus 4754 {forgotten}\n"
    programs = [str(path) for path in (kept, tampered, forgotten, absent)]
    assert probe._setuid(programs, overrides) == [str(tampered), str(forgotten)]


def test_line_of_pam_is_missing_also_when_it_is_a_comment(root):
    _write(root, "etc/pam.d/common-auth", "auth\trequisite\tpam_faillock.so  preauth # first\n")
    _write(root, "etc/pam.d/common-session", "# session optional pam_umask.so\n")
    assert probe._missing_from_pam(_MODULES) == [_MODULES[1]]
    _write(root, "etc/pam.d/common-session", "session optional pam_umask.so\n")
    assert probe._missing_from_pam(_MODULES) == []
    _write(root, "etc/pam.d/common-auth", "auth optional pam_faillock.so preauth\n")
    assert probe._missing_from_pam(_MODULES) == [_MODULES[0]]


@pytest.mark.parametrize(
    ("text", "differs"),
    [
        ("UMASK\t\t027\n", False),
        ("# UMASK is prose\nUMASK\t\t022\n", True),
        ("UMASK\t\t027\nUMASK 022\n", True),
        ("  UMASK 022\nUMASK\t\t027\n", True),
        ("UMASK\t\t027\nUMASK\t\t027\n", True),
        ("UMASK\t\t027\n#UMASK 077\n", False),
        ("#UMASK\t\t027\n", True),
        ("", True),
    ],
)
def test_umask_stands_once(root, text, differs):
    _write(root, "etc/login.defs", text)
    assert probe._umask_differs("UMASK\t\t027") is differs
