"""What this machine can do, found out before anything is changed."""

from __future__ import annotations

import os
import resource
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import Error

_COMMANDS = ("podman", "runc", "mmdebstrap", "ssh", "ssh-keygen", "nft", "iptables", "ip")
_HELPERS = (Path("/usr/lib/podman/netavark"), Path("/usr/lib/podman/aardvark-dns"))
_SUPPORTED = {"12": "bookworm", "13": "trixie"}
_NEEDED_BYTES = 6 * 2**30


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
    findings = [*_identity(), *_missing_programs(), *_storage(storage)]
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


def _missing_programs() -> list[str]:
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    missing += [path.name for path in _HELPERS if not path.exists()]
    return [f"missing: {', '.join(missing)}; run `make setup`."] if missing else []


def _storage(folder: Path) -> list[str]:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free >= _NEEDED_BYTES:
        return []
    needed = f"{_NEEDED_BYTES / 2**30:.0f} GiB are needed"
    room = "make room, or set HOLDFAST_STATE to a folder on a larger disk"
    return [f"{existing} has {free / 2**30:.1f} GiB free and {needed}; {room}."]


def _hard_limit(kind: int, *, ceiling: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return ceiling if hard == resource.RLIM_INFINITY else min(hard, ceiling)


def _pid_max() -> int:
    return int(Path("/proc/sys/kernel/pid_max").read_text())


def has_ipv6() -> bool:
    """Whether bridges on this machine can carry IPv6."""
    switch = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    return socket.has_ipv6 and switch.exists() and switch.read_text().strip() == "0"
