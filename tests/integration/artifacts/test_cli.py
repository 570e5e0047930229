"""The commands as an operator runs them: exit status, output, two at once, killed half-way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from holdfast import paths
from holdfast.artifacts import golang

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Workshop

CONTENT = bytes(range(256)) * 4096
HOLDFAST = Path(sys.executable).parent / "holdfast"


@pytest.fixture
def holdfast(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.Popen[str]]:
    """Start `holdfast artifacts …` on the workshop's manifest and cache."""
    monkeypatch.setenv("HOLDFAST_CACHE", str(workshop.cache.folder.parent))

    def start(*arguments: str) -> subprocess.Popen[str]:
        manifest = ["--manifest", str(workshop.folder / "manifest.yml")]
        argv = [str(HOLDFAST), "artifacts", *manifest, *arguments]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def run(holdfast: Callable[..., Any]) -> Callable[..., tuple[int, str, str]]:
    return lambda *arguments: finished(holdfast(*arguments))


def test_fetch_prints_the_path_and_list_and_verify_know_it(
    workshop: Workshop, run: Callable[..., tuple[int, str, str]]
) -> None:
    workshop.manifest(workshop.release(CONTENT))
    assert json.loads(run("list", "--json")[1])[0]["state"] == "not fetched"
    status, out, _ = run("fetch")
    assert status == 0
    assert Path(out.strip()).read_bytes() == CONTENT
    status, out, _ = run("verify", "--json")
    assert status == 0
    assert json.loads(out)[0] == {
        "name": "tool",
        "version": "1.0.0",
        "licence": "Apache-2.0",
        "purpose": "shows the way through the house",
        "sources": ["release"],
        "source": "release",
        "state": "verified",
        "size": len(CONTENT),
        "path": json.loads(out)[0]["path"],
        "problem": None,
    }
    assert "Apache-2.0" in run("list")[1]


def test_verify_finds_a_damaged_file_and_names_the_way_to_mend_it(
    workshop: Workshop, run: Callable[..., tuple[int, str, str]]
) -> None:
    workshop.manifest(workshop.release(CONTENT))
    path = Path(run("fetch")[1].strip())
    path.write_bytes(CONTENT[:-1])
    status, out, err = run("verify")
    assert status == 1
    assert "damaged" in out
    assert "holdfast artifacts fetch tool" in err
    assert run("fetch")[0] == 0
    assert run("verify")[0] == 0


def test_fetch_as_json_tells_where_it_came_from(
    workshop: Workshop, run: Callable[..., tuple[int, str, str]]
) -> None:
    workshop.manifest(workshop.release(CONTENT))
    [row] = json.loads(run("fetch", "tool", "--json")[1])
    assert row["source"] == "release"
    assert row["fetched_now"] is True
    [row] = json.loads(run("fetch", "tool", "--json")[1])
    assert row["fetched_now"] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fetch", "nothing"), "choose from: tool"),
        (("fetch",), "do not use it"),
    ],
)
def test_an_error_is_one_message_and_status_2(
    workshop: Workshop,
    run: Callable[..., tuple[int, str, str]],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    workshop.manifest(workshop.release(CONTENT))
    workshop.publisher.offer("/tool.bin", b"evil")
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_the_manifest_of_this_repository_is_readable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path))
    listed = subprocess.run(
        [str(HOLDFAST), "artifacts", "list", "--json"], capture_output=True, check=True
    )
    assert isinstance(json.loads(listed.stdout), list)
    assert (paths.repository() / "artifacts" / "manifest.yml").is_file()


def test_two_fetches_at_once_download_once(
    workshop: Workshop, holdfast: Callable[..., subprocess.Popen[str]]
) -> None:
    workshop.manifest(workshop.release(CONTENT))
    gate = threading.Event()
    offer = workshop.publisher.offer("/tool.bin", CONTENT, go_on=gate)
    first = holdfast("fetch")
    assert offer.sent_half.wait(30)
    leaves = holdfast("fetch")
    status, _, err = finished(leaves)
    assert status == 3
    assert "holdfast artifacts fetch tool" in err
    waits = holdfast("fetch", "--wait", "30")
    gate.set()
    assert [finished(process)[0] for process in (first, waits)] == [0, 0]
    assert workshop.publisher.asked.count("/tool.bin") == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_fetch_ended_half_way_leaves_nothing_that_looks_finished(
    workshop: Workshop, holdfast: Callable[..., subprocess.Popen[str]], how: signal.Signals
) -> None:
    workshop.manifest(workshop.release(CONTENT))
    gate = threading.Event()
    offer = workshop.publisher.offer("/tool.bin", CONTENT, go_on=gate)
    first = holdfast("fetch")
    assert offer.sent_half.wait(30)
    first.send_signal(how)
    status = finished(first)[0]
    gate.set()
    assert status == (-9 if how is signal.SIGKILL else 130)
    finished_ones = [p for p in workshop.entries() if ".work" not in p.parts]
    assert finished_ones == []
    if how is signal.SIGTERM:
        assert workshop.entries() == [], "who can still clean up, does"

    status, out, _ = finished(holdfast("fetch"))
    assert status == 0
    assert Path(out.strip()).read_bytes() == CONTENT
    assert list((workshop.cache.folder / ".work").iterdir()) == [], "leftovers are removed"


def _programs_using(folder: Path) -> list[str]:
    """The programs that run with `folder` in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (entry / "environ").read_bytes():
                found.append((entry / "exe").readlink().name)
    return found


def _within(seconds: float, condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_a_killed_build_goes_on_nowhere(
    cold_workshop: Workshop, holdfast: Callable[..., subprocess.Popen[str]]
) -> None:
    go = {"module": "go/wrapper", "command": "./greet", "toolchain": golang.locked_version()}
    cold_workshop.manifest({"go": {**go, "sha256": {"amd64": "0" * 64, "arm64": "0" * 64}}})
    modules = cold_workshop.cache.folder / "go"
    fetch = holdfast("fetch")
    assert _within(90, lambda: "compile" in _programs_using(modules)), finished(fetch)
    fetch.kill()
    finished(fetch)
    assert _within(2, lambda: "go" not in _programs_using(modules)), "cold, it takes much longer"
    assert _within(30, lambda: not _programs_using(modules))
    assert all(".work" in path.parts for path in cold_workshop.entries())
    cold_workshop.cache.clean()
    assert cold_workshop.entries() == []


def test_what_another_fetch_is_making_is_not_taken_for_a_leftover(
    workshop: Workshop, holdfast: Callable[..., subprocess.Popen[str]]
) -> None:
    workshop.manifest(workshop.release(CONTENT))
    gate = threading.Event()
    offer = workshop.publisher.offer("/tool.bin", CONTENT, go_on=gate)
    first = holdfast("fetch")
    assert offer.sent_half.wait(30)
    workshop.cache.clean()
    gate.set()
    assert finished(first)[0] == 0


def test_a_cache_that_may_not_be_written_is_an_error_with_the_way_out(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[int, str, str]]
) -> None:
    workshop.manifest(workshop.release(CONTENT))
    monkeypatch.setenv("HOLDFAST_CACHE", os.devnull)
    status, _, err = run("fetch")
    assert status == 2
    assert "HOLDFAST_CACHE" in err
