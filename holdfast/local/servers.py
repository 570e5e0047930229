"""The hosts of a local installation: created, started, found, stopped and removed.

A host is finished when its container bears its final name: until then everything about it
can be thrown away and made again.
"""

from __future__ import annotations

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import paths
from holdfast.errors import Error
from holdfast.files import private_folder
from holdfast.local import keys, record
from holdfast.local.images import ensure_image
from holdfast.local.machine import CAPABILITIES, has_ipv6, require_watches
from holdfast.local.network import Subnets, ensure_network
from holdfast.local.podman import BELIEVED_ALIVE
from holdfast.locking import exclusive
from holdfast.process import CommandFailed, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.installation import Installation
    from holdfast.local.podman import Podman
    from holdfast.local.record import HostRecord, Record

    Say = Callable[[str], None]

_FIRST_NUMBER = 10
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VOLUME = re.compile(r"(?:/[A-Za-z0-9.-]+)+")
_BOOT_SECONDS = 60
_ENDING_SECONDS = 2
_SHARED_SECONDS = 900  # for another installation to make a base image or a network

_PORT_53 = (
    "A name server of this machine's own holds port 53 on every address "
    "(`ss -lunp sport = :53` names it): bind it to 127.0.0.1, or stop it, and run again."
)


class HostFailed(Error):
    """A host did not come up."""


class BadHost(Error):
    """The inventory wants a host that cannot stand on this machine."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A host as the inventory wants it. `names` are DNS names beside its own."""

    name: str
    release: str
    packages: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what does not fit into the names of containers and volumes.

        They are holdfast-INSTALLATION_HOST_PATH: no part may hold the `_` between them.
        """
        if not _HOST.fullmatch(self.name):
            raise BadHost(
                f"{self.name!r} cannot name a host on this machine; use 1 to 63 of a-z, 0-9 and -, "
                "neither beginning nor ending with -."
            )
        for path in self.volumes:
            if not _VOLUME.fullmatch(path):
                raise BadHost(
                    f"{self.name}: {path!r} cannot be a volume; list in local_volumes absolute "
                    "paths of letters, digits, . and -."
                )


@dataclass(frozen=True, kw_only=True)
class Server:
    """A host as it stands. `state` is podman's word: running, exited, created, absent."""

    name: str
    addresses: list[str]
    state: str


class Servers:
    """All hosts of one installation."""

    def __init__(self, installation: Installation, podman: Podman, *, say: Say) -> None:
        """`say` gets one line about each thing that takes time."""
        self._installation = installation
        self._podman = podman
        self._say = say
        self._prefix = f"holdfast-{installation.name}"

    def up(self, wanted: Sequence[Wanted]) -> list[Server]:
        """Make every wanted host stand and answer SSH; those that already do are left alone."""
        states = self._states()
        missing = [host for host in wanted if host.name not in states]
        stopped = [host for host in wanted if states.get(host.name) != "running"]
        if stopped:
            require_watches(hosts=len(stopped))
        folder = private_folder(self._installation.folder)
        for name in states.keys() - {host.name for host in wanted}:
            self._say(f"{name}: stopped, because the inventory does not list it any more")
            self._podman("stop", "--time", "30", self._container(name))
        with exclusive(
            paths.state_folder() / "locks" / "machine.lock",
            purpose=f"holdfast --name {self._installation.name} up",
            wait=_SHARED_SECONDS,
            say=self._say,
        ):
            images = {
                host.name: ensure_image(
                    self._podman, release=host.release, packages=host.packages, say=self._say
                )
                for host in missing
            }
            subnets = ensure_network(self._podman, name=self._prefix, ipv6=has_ipv6())
        hosts = self._register(subnets, wanted)["hosts"]
        key = keys.ensure_operator_key(folder, comment=f"operator of {self._installation.name}")
        for host in missing:
            self._say(f"{host.name}: starting a new {host.release} host")
            self._create(
                host,
                image=images[host.name],
                addresses=hosts[host.name]["addresses"],
                operator_key=key,
            )
        for host in stopped:
            self._start(host.name)
        names = [host.name for host in wanted]
        with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
            named = list(pool.map(self._wait, names))
        for name in (name for name, found in zip(names, named, strict=True) if not found):
            self._mend_names(name)
        return self.status()

    def status(self) -> list[Server]:
        """Every host on record with its state."""
        states = self._states()
        return [
            Server(name=name, addresses=entry["addresses"], state=states.get(name, "absent"))
            for name, entry in self._record()["hosts"].items()
        ]

    def down(self) -> None:
        """Stop every host in order; its container and data stay."""
        for name, state in self._states().items():
            if state == "running":
                self._say(f"{name}: stopping")
                self._podman("stop", "--time", "30", self._container(name))

    def destroy(self) -> None:
        """Remove hosts, volumes, network and the installation's folder."""
        mine = ("--filter", f"label=holdfast.installation={self._installation.name}")
        for container in self._podman("ps", "--all", "--quiet", *mine).split():
            self._remove(container)
        for volume in self._podman("volume", "ls", "--quiet", *mine).split():
            self._podman("volume", "rm", volume)
        if self._podman.succeeds("network", "exists", self._prefix):
            self._podman("network", "rm", self._prefix)
        # Renamed first: half a folder must not look like an installation.
        doomed = self._installation.folder.with_name(f".{self._installation.name}.removed")
        if self._installation.folder.exists():
            if doomed.exists():
                shutil.rmtree(doomed)
            self._installation.folder.rename(doomed)
        if doomed.exists():
            shutil.rmtree(doomed)

    def _remove(self, container: str) -> None:
        argv = ("rm", "--force", "--ignore", "--time", "5", "--volumes", container)
        try:
            self._podman(*argv)
        except CommandFailed:
            # podman 4 gives up on a container that ends by itself at the very moment.
            time.sleep(_ENDING_SECONDS)
            self._podman(*argv)

    def logs(self, name: str) -> str:
        """The newest lines of a host's journal; of one that does not run, from its file system."""
        self._known(name)
        container = self._container(name)
        journal = ["journalctl", "--no-pager", "--lines=200"]
        if self._states().get(name) == "running":
            return self._podman("exec", container, *journal)
        root = self._podman("mount", container).strip()
        try:
            return run([*journal, f"--directory={root}/var/log/journal"])
        finally:
            self._podman("unmount", container)

    def ssh_argv(self, name: str) -> list[str]:
        """The command that logs in to a host as the operator."""
        address = self._known(name)["addresses"][0]
        return keys.ssh_argv(self._installation.folder, address)

    def _known(self, name: str) -> HostRecord:
        hosts = self._record()["hosts"]
        if name not in hosts:
            known = ", ".join(hosts) or "none yet: run `holdfast up`"
            raise HostFailed(f"There is no host {name!r}; the hosts are {known}.")
        return hosts[name]

    def _record(self) -> Record:
        return record.load(self._installation.folder)

    def _container(self, name: str) -> str:
        return f"{self._prefix}_{name}"

    def _states(self) -> dict[str, str]:
        listed = self._podman.json(
            "ps", "--all", "--filter", f"label=holdfast.installation={self._installation.name}"
        )
        processes = self._podman.processes()
        return {
            entry["Labels"]["holdfast.host"]: (
                "exited"
                if entry["State"] in BELIEVED_ALIVE and entry["Id"] not in processes
                else entry["State"]
            )
            for entry in listed
            if entry["Names"][0] == self._container(entry["Labels"]["holdfast.host"])
        }

    def _register(self, subnets: Subnets, wanted: Sequence[Wanted]) -> Record:
        """Write down who is where; a host keeps its number, so that addresses are stable."""
        names = {host.name for host in wanted}
        numbers = {
            name: host["number"] for name, host in self._record()["hosts"].items() if name in names
        }
        for host in wanted:
            numbers.setdefault(host.name, max([_FIRST_NUMBER - 1, *numbers.values()]) + 1)
        fresh: Record = {
            "domain": self._installation.domain,
            "operator_addresses": subnets.addresses(1),
            "hosts": {
                name: {"number": number, "addresses": subnets.addresses(number)}
                for name, number in numbers.items()
            },
        }
        record.save(self._installation.folder, fresh)
        return fresh

    def _create(self, host: Wanted, *, image: str, addresses: list[str], operator_key: str) -> None:
        final = self._container(host.name)
        unfinished = f"{final}_unfinished"
        self._podman("rm", "--force", "--ignore", "--time", "0", unfinished)
        labels = [
            f"--label=holdfast.installation={self._installation.name}",
            f"--label=holdfast.host={host.name}",
        ]
        argv = ["create", "--name", unfinished, "--hostname", host.name, *labels]
        argv += ["--network", self._prefix, "--ip", addresses[0]]
        argv += [part for address in addresses[1:] for part in ("--ip6", address)]
        argv += [f"--network-alias={name}" for name in (host.name, *host.names)]
        argv += [f"--cap-add={','.join(CAPABILITIES)}", "--security-opt=seccomp=unconfined"]
        argv += ["--systemd=always", "--pids-limit=4096", "--restart=on-failure"]
        for path in host.volumes:
            volume = f"{final}{path.replace('/', '_')}"
            if not self._podman.succeeds("volume", "exists", volume):
                self._podman("volume", "create", labels[0], volume)
            argv += ["--volume", f"{volume}:{path}"]
        self._podman(*argv, image, "/sbin/init")
        public_key = keys.hand_over(
            self._podman, unfinished, host=host.name, operator_key=operator_key
        )
        keys.pin(
            self._installation.folder,
            host=host.name,
            addresses=addresses,
            public_key=public_key,
        )
        self._podman("rename", unfinished, final)

    def _start(self, name: str) -> None:
        container = self._container(name)
        try:
            self._podman.notice_end(container)
            try:
                self._podman("start", container)
            except CommandFailed as error:
                if "already exists" not in error.output:
                    raise
                # A start that was killed: runc had begun, and podman does not know.
                identifier = self._podman("inspect", "--format", "{{.Id}}", container).strip()
                run(["runc", "delete", "--force", identifier])
                self._podman("start", container)
        except CommandFailed as error:
            fix = _PORT_53 if "aardvark" in error.output else f"See `holdfast logs {name}`."
            raise HostFailed(f"{name} does not start: {error.output.strip()}\n{fix}") from error

    def _wait(self, name: str) -> bool:
        """Until the host lets the operator in: boot and pinned host key are proven by that.

        Returns whether the host finds names.
        """
        deadline = time.monotonic() + _BOOT_SECONDS
        while True:
            try:
                return self._finds_names(name)
            except CommandFailed as error:
                if time.monotonic() > deadline:
                    raise HostFailed(
                        f"{name} does not let the operator in by SSH after {_BOOT_SECONDS} s "
                        f"({error.output.strip() or error.reason}); see `holdfast logs {name}`."
                    ) from error
                time.sleep(0.3)

    def _finds_names(self, name: str) -> bool:
        """Whether the host finds its own name, as only podman's name server knows it."""
        argv = self.ssh_argv(name)
        argv[1:1] = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=3"]
        try:
            run([*argv, "timeout", "4", "getent", "hosts", f"{name}.dns.podman"], timeout=30)
        except CommandFailed as error:
            if error.reason in {"ended with status 2", "ended with status 124"}:
                return False  # getent found nothing, or nobody answered
            raise
        return True

    def _mend_names(self, name: str) -> None:
        """Offer the network to podman's name server again.

        Where its port was taken it only wrote so to the journal, and never tries again by itself.
        """
        self._podman("network", "reload", self._container(name))
        if not self._finds_names(name):
            raise HostFailed(
                f"{name} finds no names: podman's name server does not answer it. {_PORT_53}"
            )
