"""What Ansible's variables say of Vault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Mapping


def installation_and_nodes(variables: Mapping[str, Any]) -> tuple[Installation, dict[str, str]]:
    """Return the installation, and the addresses of Vault's hosts by name."""
    hostvars = variables["hostvars"]
    installation = Installation(str(hostvars[variables["inventory_hostname"]]["installation_name"]))
    nodes = variables["groups"].get("vault", ())
    return installation, {name: str(hostvars[name]["ansible_host"]) for name in nodes}
