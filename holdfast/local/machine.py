"""What this machine can do, found out before anything is changed."""

from __future__ import annotations

import os
import resource
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import Error
from holdfast.process import run

_COMMANDS = ("podman", "runc", "mmdebstrap", "ssh", "ssh-keygen", "nft", "iptables", "ip")
_HELPERS = (Path("/usr/lib/podman/netavark"), Path("/usr/lib/podman/aardvark-dns"))
_SUPPORTED = {"12": "bookworm", "13": "trixie"}
_NEEDED_BYTES = 6 * 2**30
# What a host gets beside podman's defaults, with the bit of each (linux/capability.h).
CAPABILITIES = {
    "AUDIT_CONTROL": 30,
    "AUDIT_WRITE": 29,
    "IPC_LOCK": 14,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "SYS_ADMIN": 21,
    "SYS_PTRACE": 19,
}
# As `stat --file-system` names them; the kernel puts no overlay on top of these.
_UNFIT_FILE_SYSTEMS = ("aufs", "ecryptfs", "nfs", "overlayfs")
_INSTANCES_PER_HOST = 6  # systemd takes 5, and one more once units wait for paths


class MachineUnfit(Error):
    """This machine cannot carry hosts as it is; the message names the fix."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The limits that containers on this machine must keep to."""

    open_files: int
    processes: int


def inspect(*, storage: Path) -> Machine:
    """Look at the machine; `storage` is the folder whose file system will hold the containers.

    Raises MachineUnfit with every finding at once.
    """
    findings = [
        *_identity(),
        *_missing_capabilities(),
        *_missing_programs(),
        *_storage(storage),
    ]
    if findings:
        raise MachineUnfit("This machine is not ready:\n" + "\n".join(f"- {f}" for f in findings))
    return Machine(
        open_files=_hard_limit(resource.RLIMIT_NOFILE, ceiling=1_048_576),
        # runc raises the limit inside the container, and the kernel grants at most pid_max there.
        processes=_hard_limit(resource.RLIMIT_NPROC, ceiling=_pid_max()),
    )


def _identity() -> list[str]:
    findings = []
    if os.geteuid() != 0:
        findings.append("it takes root to start hosts with systemd; run again with sudo.")
    release = _release()
    version = release.get("VERSION_ID", "").strip('"')
    if release.get("ID") != "debian" or version not in _SUPPORTED:
        name = release.get("PRETTY_NAME", "an unknown system").strip('"')
        findings.append(f"this is {name}; use Debian 12 or 13.")
    return findings


def _release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _missing_capabilities() -> list[str]:
    bounding = int(_own_status()["CapBnd"], 16)
    missing = [name for name, bit in CAPABILITIES.items() if not bounding >> bit & 1]
    what = f"root has no {', '.join(missing)} here" if missing else ""
    if _own_user_namespace():
        what = "root here is root of a user namespace only"
    return [f"{what}; run on the machine itself, not inside a container."] if what else []


def _own_status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def _own_user_namespace() -> bool:
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", str(2**32 - 1)]


def _missing_programs() -> list[str]:
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    missing += [path.name for path in _HELPERS if not path.exists()]
    return [f"missing: {', '.join(missing)}; run `make setup`."] if missing else []


def _storage(folder: Path) -> list[str]:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    findings = []
    kind = run(["stat", "--file-system", "--format=%T", str(existing)]).strip()
    if kind in _UNFIT_FILE_SYSTEMS:
        findings.append(
            f"{existing} is on {kind}, which cannot carry containers; set HOLDFAST_STATE to a "
            "folder on a disk (ext4, xfs, btrfs)."
        )
    free = shutil.disk_usage(existing).free
    if free < _NEEDED_BYTES:
        needed = f"{_NEEDED_BYTES / 2**30:.0f} GiB are needed"
        room = "make room, or set HOLDFAST_STATE to a folder on a larger disk"
        findings.append(f"{existing} has {free / 2**30:.1f} GiB free and {needed}; {room}.")
    return findings


def require_watches(*, hosts: int) -> None:
    """Raise MachineUnfit when the kernel lets root watch too few files for `hosts` more hosts.

    Past that limit hosts start, and units of theirs fail.
    """
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    needed = _instances_in_use() + hosts * _INSTANCES_PER_HOST
    if needed > limit:
        setting = f"fs.inotify.max_user_instances={max(1024, needed)}"
        raise MachineUnfit(
            f"{hosts} more hosts need fs.inotify.max_user_instances at {needed} or more, and it "
            f"is {limit}; run `sysctl {setting}`, and write that setting to "
            "/etc/sysctl.d/60-holdfast.conf for the next boot."
        )


def _instances_in_use() -> int:
    """How many inotify instances root holds, those of containers' roots included."""
    return sum(_instances(process) for process in Path("/proc").glob("[0-9]*"))


def _instances(process: Path) -> int:
    try:
        if process.stat().st_uid != 0:
            return 0
        held = [str(entry.readlink()) for entry in (process / "fd").iterdir()]
    except OSError:  # it has ended
        return 0
    return held.count("anon_inode:inotify")


def _hard_limit(kind: int, *, ceiling: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return ceiling if hard == resource.RLIM_INFINITY else min(hard, ceiling)


def _pid_max() -> int:
    return int(Path("/proc/sys/kernel/pid_max").read_text())


def has_ipv6() -> bool:
    """Whether bridges on this machine can carry IPv6."""
    switch = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    return socket.has_ipv6 and switch.exists() and switch.read_text().strip() == "0"
