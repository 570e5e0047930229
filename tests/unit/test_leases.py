"""The login that an agent keeps for a service: read when it changes, asked for when it is over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast import paths
from holdfast.leases import login as logins
from holdfast.leases.login import REFUSED, Lease, NoLogin

_OVER = 'FATAL:  password authentication failed for user "v-1"'


def put(path: Path, user: str) -> None:
    """As the agent does: whole."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"user": user, "password": "canary", "host": "data1"}))
    new.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "gateway" / "database.json"
    found.parent.mkdir()
    put(found, "v-1")
    return found


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(logins.time, "monotonic", lambda: clock[0])
    return clock


def test_a_new_login_is_seen_at_once(path: Path) -> None:
    lease = Lease(path)
    first = lease.login()
    assert lease.is_current(first)
    put(path, "v-2")
    assert not lease.is_current(first)
    assert lease.login().user == "v-2"


def test_the_same_login_written_again_is_no_other(path: Path) -> None:
    lease = Lease(path)
    first = lease.login()
    put(path, "v-1")
    assert lease.is_current(first)


def test_a_password_is_not_shown(path: Path) -> None:
    assert "canary" not in repr(Lease(path).login())


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_what_is_no_login_is_told(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(NoLogin, match="holdfast-agent-gateway"):
        Lease(path).login()


def test_without_a_file_what_there_is_stays_in_use(path: Path) -> None:
    lease = Lease(path)
    first = lease.login()
    path.unlink()
    assert lease.is_current(first)
    with pytest.raises(NoLogin):
        lease.login()


def test_a_login_that_is_refused_is_asked_for_less_and_less(path: Path, now: list[float]) -> None:
    lease = Lease(path)
    asked = []
    for second in range(600):
        now[0] = 1000.0 + second
        lease.refused(lease.login(), _OVER)
        if (path.parent / REFUSED).exists():
            asked.append(second)
            (path.parent / REFUSED).unlink()
    assert asked == [0, 5, 15, 35, 75, 155, 315]


@pytest.mark.usefixtures("now")
def test_what_is_no_refusal_asks_for_nothing(path: Path) -> None:
    lease = Lease(path)
    lease.refused(lease.login(), "connection timeout expired")
    old = lease.login()
    put(path, "v-2")
    lease.refused(old, _OVER)
    assert not (path.parent / REFUSED).exists()


def test_it_needs_nothing_of_the_operators_side() -> None:
    seen = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, holdfast.leases.login\n"  # noqa: ISC004  (one program)
            "print([name for name in sys.modules if name.startswith('holdfast')])",
        ],
        cwd=paths.repository(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert seen.strip() == "['holdfast', 'holdfast.leases', 'holdfast.leases.login']"
