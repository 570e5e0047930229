"""What Ansible's variables say of Vault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.installation import Installation
from holdfast.vault import desired
from holdfast.vault.databases import Server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def installation_and_nodes(variables: Mapping[str, Any]) -> tuple[Installation, dict[str, str]]:
    """Return the installation, and the addresses of Vault's hosts by name."""
    hostvars = variables["hostvars"]
    installation = Installation(str(hostvars[variables["inventory_hostname"]]["installation_name"]))
    nodes = variables["groups"].get("vault", ())
    return installation, {name: str(hostvars[name]["ansible_host"]) for name in nodes}


def database_servers(variables: Mapping[str, Any]) -> list[Server]:
    """Return the hosts with PostgreSQL, and what each has."""
    hostvars = variables["hostvars"]
    return [
        Server(
            host=name,
            name=f"{name}.{hostvars[name]['installation_domain']}",
            databases=tuple(
                str(one["name"]) for one in hostvars[name].get("postgresql_databases") or ()
            ),
        )
        for name in variables["groups"].get("database", ())
    ]


def vault_services(
    hostvars: Mapping[str, Mapping[str, Any]], hosts: Sequence[str]
) -> list[desired.Service]:
    """Return every service on `hosts` that has something from Vault."""
    return [
        desired.Service(
            host=host,
            name=entry["service"],
            addresses=tuple(hostvars[host]["addresses"]),
            names=tuple(entry.get("names") or ()),
            database=entry.get("database"),
        )
        for host in hosts
        for entry in hostvars[host].get("vault_agent_services") or ()
        if entry["on"] in hostvars[host]["group_names"]
    ]
