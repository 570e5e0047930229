"""Podman with a configuration and a storage of our own: the user's own podman is never touched."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import paths
from holdfast.files import private_folder, write_atomic
from holdfast.process import CommandFailed, run

if TYPE_CHECKING:
    from holdfast.local.machine import Machine

_CONTAINERS = """\
[containers]
default_ulimits = ["nofile={machine.open_files}:{machine.open_files}", \
"nproc={machine.processes}:{machine.processes}"]
log_driver = "k8s-file"
log_size_max = 1048576

[engine]
# Works on every cgroup layout, the hybrid one included, which crun and the systemd manager refuse.
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"

[network]
network_backend = "netavark"
network_config_dir = "{networks}"
"""

_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "/run/holdfast-podman-{digest}"
"""

_EXITS = Path("/run/libpod/exits")  # where a container's monitor leaves its exit status
_KILLED = "137"
BELIEVED_ALIVE = ("running", "stopping")  # states in which podman waits for the monitor's word


def folder() -> Path:
    """Configuration, images and containers of every installation on this machine."""
    return paths.state_folder() / "podman"


def configured() -> bool:
    """Whether a configuration stands; storage.conf is written last."""
    return (folder() / "storage.conf").exists()


class Podman:
    """The podman command under our configuration."""

    def __init__(self, machine: Machine | None = None) -> None:
        """Write the configuration for `machine`; without it, use the one that stands."""
        home = folder()
        self.networks = home / "networks"  # definitions, one file each
        if machine is not None:
            private_folder(home)
            private_folder(self.networks)
            # Two state folders must not share one runtime folder.
            digest = hashlib.sha256(str(home).encode()).hexdigest()[:8]
            write_atomic(
                home / "containers.conf",
                _CONTAINERS.format(machine=machine, networks=self.networks),
            )
            write_atomic(home / "storage.conf", _STORAGE.format(folder=home, digest=digest))
        self._env = {
            **os.environ,
            "CONTAINERS_CONF": str(home / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
        }

    def __call__(self, *argv: str, stdin: str | None = None, timeout: float = 300) -> str:
        """Run `podman ARGV` and return its standard output; raises CommandFailed."""
        return run(["podman", *argv], stdin=stdin, env=self._env, timeout=timeout)

    def succeeds(self, *argv: str) -> bool:
        """Whether `podman ARGV` (an `exists` question) ends with status 0."""
        try:
            self(*argv)
        except CommandFailed as error:
            if error.reason == "ended with status 1":
                return False
            raise
        return True

    def processes(self) -> set[str]:
        """Identifiers of the containers that have a process, by the word of the runtime.

        Podman's own word is what its monitor told it, and a monitor that was killed tells nothing.
        """
        listed = json.loads(run(["runc", "list", "--format", "json"], env=self._env)) or []
        return {entry["id"] for entry in listed if entry["status"] != "stopped"}

    def notice_end(self, container: str) -> None:
        """Tell podman of an end that the container's monitor did not live to tell."""
        found = self.json("inspect", container)[0]
        if found["State"]["Status"] in BELIEVED_ALIVE and found["Id"] not in self.processes():
            write_atomic(_EXITS / found["Id"], _KILLED)

    def json(self, *argv: str) -> Any:
        """Run `podman ARGV --format json` and return what it printed, parsed."""
        return json.loads(self(*argv, "--format", "json") or "[]")
