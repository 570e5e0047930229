"""The second command says who is first, and waits or leaves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.errors import Busy
from holdfast.locking import exclusive

_HOLD = """
import pathlib, sys, time
from holdfast.locking import exclusive
with exclusive(pathlib.Path(sys.argv[1]), purpose="holdfast up"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""

Holder = Callable[[float], "subprocess.Popen[str]"]


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    """Start another process that holds the lock for some seconds."""
    started = []

    def start(seconds: float) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", _HOLD, str(tmp_path / "lock"), str(seconds)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_second_is_told_who_is_first(tmp_path: Path, holder: Holder) -> None:
    process = holder(60)
    with (
        pytest.raises(Busy, match=rf"`holdfast up` \(process {process.pid}\) is at work"),
        exclusive(tmp_path / "lock", purpose="holdfast down"),
    ):
        pass


def test_the_second_waits_when_told_to(tmp_path: Path, holder: Holder) -> None:
    holder(1)
    said: list[str] = []
    with exclusive(tmp_path / "lock", purpose="holdfast down", wait=20, say=said.append):
        pass
    assert len(said) == 1
    assert "holdfast up" in said[0]


def test_a_killed_holder_leaves_no_lock(tmp_path: Path, holder: Holder) -> None:
    process = holder(60)
    process.kill()
    process.wait()
    with exclusive(tmp_path / "lock", purpose="holdfast down"):
        pass
