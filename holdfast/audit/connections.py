"""One ssh connection per host for the whole audit; every check travels over it."""

from __future__ import annotations

import contextlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import process
from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.inventory import Host, Inventory

_IDLE_SECONDS = 120
_CONNECT_SECONDS = 10


class Unreachable(Error):
    """Hosts that the audit cannot look at; what cannot be seen is never judged."""


class UnsupportedArgument(Error):
    """An ssh argument of the inventory that has no line in an ssh configuration here."""


def ssh_config(inventory: Inventory, *, sockets: Path) -> str:
    """Return the OpenSSH client configuration that reaches every host by its name."""
    return "\n".join(_block(host, sockets=sockets) for host in inventory.hosts.values())


@contextlib.contextmanager
def connected(inventory: Inventory) -> Iterator[Path]:
    """Connect to every host at once and yield the ssh configuration that reuses it.

    The folder of the sockets is 0700 and its path is short: a socket's may not pass 104 bytes.
    Raises Unreachable, naming each host and the reason.
    """
    with tempfile.TemporaryDirectory(prefix="hf-") as name:
        folder = Path(name)
        config = folder / "ssh_config"
        config.write_text(ssh_config(inventory, sockets=folder))
        hosts = tuple(inventory.hosts)
        try:
            _open(hosts, config=config)
            yield config
        finally:
            _close(hosts, config=config)


def _open(hosts: Sequence[str], *, config: Path) -> None:
    def reach(host: str) -> str | None:
        try:
            process.run(["ssh", "-F", str(config), host, "sudo -n true"], timeout=30)
        except process.CommandFailed as error:
            said = error.output.strip().splitlines()
            return f"{host}: {said[-1] if said else error.reason}"
        return None

    with ThreadPoolExecutor(max_workers=16) as pool:
        failures = [failure for failure in pool.map(reach, hosts) if failure]
    if failures:
        raise Unreachable(
            "The audit cannot reach "
            + "; ".join(failures)
            + ". Every host of the inventory must answer over ssh, with sudo; "
            "`holdfast status` shows what runs."
        )


def _close(hosts: Sequence[str], *, config: Path) -> None:
    for host in hosts:
        with contextlib.suppress(process.CommandFailed):  # it may have ended by itself
            process.run(["ssh", "-F", str(config), "-O", "exit", host], timeout=10)


def _block(host: Host, *, sockets: Path) -> str:
    """Write one host's options. OpenSSH keeps the first value of each, so ours come first."""
    lines = [
        f"Host {host.name}",
        f"HostName {host.address}",
        f"User {host.user}",
        f"Port {host.port}",
        "IdentitiesOnly yes",
        "BatchMode yes",
        "StrictHostKeyChecking yes",
        f"ConnectTimeout {_CONNECT_SECONDS}",
        "ServerAliveInterval 10",
        "ServerAliveCountMax 3",
        "ControlMaster auto",
        f"ControlPersist {_IDLE_SECONDS}",
        f"ControlPath {sockets}/%C",
        "LogLevel ERROR",
    ]
    if host.identity_file:
        lines.append(f'IdentityFile "{host.identity_file}"')
    lines += _inventory_options(host)
    return "\n    ".join(lines) + "\n"


def _inventory_options(host: Host) -> Iterator[str]:
    """Turn `-o Key=Value` and `-J host` into configuration lines. Raises UnsupportedArgument."""
    arguments = iter(host.ssh_arguments)
    for argument in arguments:
        flag, value = argument[:2], argument[2:] or next(arguments, "")
        if flag == "-o" and "=" in value:
            key, _, setting = value.partition("=")
            if not key.lower().startswith("control"):
                yield f"{key} {setting}"
        elif flag == "-J" and value:
            yield f"ProxyJump {value}"
        else:
            raise UnsupportedArgument(
                f"{host.name}: the ssh argument {argument!r} is not understood here; "
                "write it as -o Key=Value."
            )
