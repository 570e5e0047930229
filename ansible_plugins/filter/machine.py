"""What a host is, by its facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CONTAINERS = {"container", "containerd", "docker", "lxc", "podman", "systemd-nspawn"}


class FilterModule:
    """Filters of every role."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return each filter by its name."""
        return {"is_container": is_container}


def is_container(facts: Mapping[str, Any]) -> bool:
    """Whether the host shares its machine's kernel and clock, by `ansible_facts`."""
    return facts["virtualization_type"] in _CONTAINERS
