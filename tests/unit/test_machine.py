"""A machine that cannot carry hosts is told so at once, with every finding and its fix."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from holdfast.local import machine


@pytest.fixture(autouse=True)
def fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without fault; each test takes one thing away."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine, "_own_status", lambda: {"CapBnd": "000001ffffffffff"})
    monkeypatch.setattr(machine, "_own_user_namespace", lambda: False)
    monkeypatch.setattr(machine, "run", lambda _: "ext2/ext3\n")
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(machine, "_HELPERS", ())
    monkeypatch.setattr(machine, "_release", lambda: {"ID": "debian", "VERSION_ID": "12"})
    free = machine.shutil.disk_usage("/")._replace(free=100 * 2**30)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: free)


def test_limits_never_exceed_those_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 1234))
    found = machine.inspect(storage=tmp_path / "not" / "there")
    assert (found.open_files, found.processes) == (1234, 1234)


def test_no_limit_becomes_the_most_the_kernel_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, resource.RLIM_INFINITY))
    monkeypatch.setattr(machine, "_pid_max", lambda: 4_194_304)
    found = machine.inspect(storage=tmp_path)
    assert (found.open_files, found.processes) == (1_048_576, 4_194_304)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("_release", lambda: {"ID": "ubuntu", "PRETTY_NAME": '"Ubuntu 24.04"'}, "this is Ubuntu"),
        ("_release", lambda: {"ID": "debian", "VERSION_ID": "11"}, "use Debian 12 or 13"),
        (
            "_own_status",
            lambda: {"CapBnd": "00000000a80425fb"},  # podman's and Docker's default
            "root has no AUDIT_CONTROL, IPC_LOCK, NET_ADMIN, SYS_ADMIN, SYS_PTRACE here",
        ),
        ("_own_user_namespace", lambda: True, "root of a user namespace only; run on the machine"),
        ("run", lambda _: "overlayfs\n", "is on overlayfs, .* set HOLDFAST_STATE to a folder on"),
        ("_HELPERS", (Path("/nowhere/netavark"),), "missing: netavark; run `make setup`"),
    ],
)
def test_each_fault_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attribute: str, value: object, message: str
) -> None:
    monkeypatch.setattr(machine, attribute, value)
    with pytest.raises(machine.MachineUnfit, match=message):
        machine.inspect(storage=tmp_path)


def test_all_faults_are_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    full = machine.shutil.disk_usage("/")._replace(free=2**30)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: full)
    with pytest.raises(machine.MachineUnfit) as raised:
        machine.inspect(storage=tmp_path)
    message = str(raised.value)
    for part in ("run again with sudo", "podman, runc", "1.0 GiB free and 6 GiB are needed"):
        assert part in message


def test_inotify_instances_of_a_process_are_counted(tmp_path: Path) -> None:
    (tmp_path / "fd").mkdir()
    for number, target in enumerate(("/dev/null", "anon_inode:inotify", "anon_inode:[eventfd]")):
        (tmp_path / "fd" / str(number)).symlink_to(target)
    assert machine._instances(tmp_path) == (1 if tmp_path.stat().st_uid == 0 else 0)
    assert machine._instances(tmp_path / "ended") == 0


def test_more_hosts_than_the_kernel_watches_files_for_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    monkeypatch.setattr(machine, "_instances_in_use", lambda: limit - 12)
    machine.require_watches(hosts=2)
    with pytest.raises(machine.MachineUnfit, match=f"at {limit + 6} or more, and it is {limit}; "):
        machine.require_watches(hosts=3)
