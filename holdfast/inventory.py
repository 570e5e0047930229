"""The inventory as Ansible resolves it: hosts, groups and variables, read once per command."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from holdfast import paths, process
from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Mapping


class BrokenInventory(Error):
    """An inventory that cannot be read, or that says something it must not."""


@dataclass(frozen=True)
class Host:
    """One host: how it is reached over ssh, where it belongs, what is wanted of it."""

    name: str
    address: str
    user: str
    port: int
    identity_file: Path | None
    ssh_arguments: tuple[str, ...]
    groups: frozenset[str]
    variables: Mapping[str, Any]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address the host is known by inside the installation (IPv4 and IPv6)."""
        return tuple(self.variables.get("addresses") or (self.address,))


@dataclass(frozen=True)
class Inventory:
    """All hosts by name, and the names of each group's hosts, children included."""

    path: Path
    hosts: Mapping[str, Host]
    groups: Mapping[str, tuple[str, ...]]

    def group(self, name: str) -> tuple[Host, ...]:
        """Return the hosts of a group, by name; an unknown group has none."""
        return tuple(self.hosts[host] for host in self.groups.get(name, ()))

    def listed(self) -> dict[str, Any]:
        """Return it as `ansible-inventory --list` would, groups flattened: see `parse`."""
        groups = {name: {"hosts": list(members)} for name, members in self.groups.items()}
        variables = {name: dict(host.variables) for name, host in self.hosts.items()}
        return {"_meta": {"hostvars": variables}, **groups}

    def variable(self, name: str, default: Any = None) -> Any:
        """Return a variable that is the same on every host of the installation.

        Raises BrokenInventory when two hosts disagree, or when the value is a template.
        """
        hosts = self.group("installation") or tuple(self.hosts.values())
        values = [host.variables[name] for host in hosts if name in host.variables]
        if not values:
            return default
        if len(values) != len(hosts) or any(value != values[0] for value in values):
            raise BrokenInventory(
                f"{name} is not the same on every host of {self.path}; "
                "set it once, in group_vars of the group installation."
            )
        if "{{" in json.dumps(values[0]):
            raise BrokenInventory(f"{name} in {self.path} is a template; write its value.")
        return values[0]


def load(path: Path, *, wanted: bool = False) -> Inventory:
    """Ask Ansible what is in the inventory at `path`. Raises BrokenInventory.

    With `wanted`, hosts that stand on this machine but are listed nowhere are left out.
    """
    if not path.exists():
        raise BrokenInventory(f"There is no inventory at {path}; name an existing one.")
    _require_yaml(path)
    ansible = Path(sys.executable).with_name("ansible-inventory")
    try:
        listed = process.run(
            [str(ansible), "-i", str(path), "--list"],
            cwd=paths.repository(),
            env={**os.environ, **({"HOLDFAST_WANTED": "1"} if wanted else {})},
            timeout=60,
        )
    except process.CommandFailed as error:
        raise BrokenInventory(f"Ansible cannot read {path}; mend it.\n{error}") from error
    return parse(json.loads(listed), path=path)


def _require_yaml(path: Path) -> None:
    """Ansible only warns of a broken file in a folder, and goes on without its hosts."""
    files = path.rglob("*") if path.is_dir() else [path]
    for file in sorted(file for file in files if file.suffix in {".yml", ".yaml", ".json"}):
        try:
            yaml.compose(file.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise BrokenInventory(f"{file} is not YAML; mend it.\n{error}") from error


def parse(listed: Mapping[str, Any], *, path: Path) -> Inventory:
    """Make an Inventory of what `ansible-inventory --list` prints."""
    groups = {name: _members(name, listed) for name in listed if name != "_meta"}
    hosts = {}
    for name, variables in listed.get("_meta", {}).get("hostvars", {}).items():
        try:
            hosts[name] = _host(name, variables, groups=groups)
        except (TypeError, ValueError) as error:
            raise BrokenInventory(
                f"How {name} is reached cannot be understood ({error}); mend its ansible_* "
                f"variables in {path}."
            ) from error
    if not hosts:
        raise BrokenInventory(f"{path} names no host; add one.")
    return Inventory(path=path, hosts=hosts, groups=groups)


def _members(group: str, listed: Mapping[str, Any]) -> tuple[str, ...]:
    names: set[str] = set()
    waiting, seen = [group], {group}
    while waiting:
        entry = listed.get(waiting.pop(), {})
        names.update(entry.get("hosts", ()))
        children = set(entry.get("children", ())) - seen
        seen |= children
        waiting += children
    return tuple(sorted(names))


def _host(
    name: str, variables: Mapping[str, Any], *, groups: Mapping[str, tuple[str, ...]]
) -> Host:
    identity = variables.get("ansible_ssh_private_key_file")
    arguments = " ".join(
        str(variables.get(key, "")) for key in ("ansible_ssh_common_args", "ansible_ssh_extra_args")
    )
    return Host(
        name=name,
        address=str(variables.get("ansible_host", name)),
        user=str(variables.get("ansible_user", "root")),
        port=int(variables.get("ansible_port", 22)),
        identity_file=Path(identity).expanduser() if identity else None,
        ssh_arguments=tuple(shlex.split(arguments)),
        groups=frozenset(group for group, members in groups.items() if name in members),
        variables=variables,
    )
