"""One bridge per installation, with DNS, on addresses that nothing else on the machine uses."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.files import write_atomic
from holdfast.process import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.local.podman import Podman

# Outside of what podman (10.88.0.0 and up) and Docker (172.17.0.0 and up) give to others.
_POOL = ipaddress.IPv4Network("10.73.0.0/16")


class NoFreeNetwork(Error):
    """Every subnet of the pool overlaps something this machine already routes."""


@dataclass(frozen=True, kw_only=True)
class Subnets:
    """An installation's subnets; `v6` is None on a machine without IPv6."""

    v4: ipaddress.IPv4Network
    v6: ipaddress.IPv6Network | None

    def addresses(self, number: int) -> list[str]:
        """The addresses of the host with this number, IPv4 first."""
        v6 = [str(self.v6[number])] if self.v6 else []
        return [str(self.v4[number]), *v6]


def ensure_network(podman: Podman, *, name: str, ipv6: bool) -> Subnets:
    """Return the subnets of the network `name`, creating it when it is not there."""
    if not podman.succeeds("network", "exists", name):
        subnets: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = [_free_subnet(podman, name)]
        if ipv6:
            subnets.append(_ula(podman, name))
        _define(podman, name, subnets)
    described = json.loads(podman("network", "inspect", name))[0]["subnets"]
    nets = [ipaddress.ip_network(entry["subnet"]) for entry in described]
    v4s = [net for net in nets if isinstance(net, ipaddress.IPv4Network)]
    v6s = [net for net in nets if isinstance(net, ipaddress.IPv6Network)]
    return Subnets(v4=v4s[0], v6=v6s[0] if v6s else None)


def _define(
    podman: Podman,
    name: str,
    subnets: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> None:
    """Write what `podman network create` would write, with an interface name of our own.

    Its own names (podman1, podman2 …) are free only among the networks that it knows, and the
    user's podman knows none of ours; Debian 12's podman has no option for the name.
    """
    digest = _digest(podman, name)
    network = {
        "name": name,
        "id": digest,
        "driver": "bridge",
        "network_interface": f"hf-{digest[:8]}",
        "created": datetime.now(UTC).isoformat(),
        "subnets": [{"subnet": str(net), "gateway": str(net[1])} for net in subnets],
        "ipv6_enabled": any(net.version == 6 for net in subnets),  # noqa: PLR2004  (IPv6)
        "internal": False,
        "dns_enabled": True,
        "ipam_options": {"driver": "host-local"},
    }
    write_atomic(podman.networks / f"{name}.json", json.dumps(network, indent=2) + "\n")


def _free_subnet(podman: Podman, name: str) -> ipaddress.IPv4Network:
    routes = json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")
    taken = [
        ipaddress.IPv4Network(route["dst"], strict=False)
        for route in routes
        if route["dst"] != "default"
    ]
    for network in podman.json("network", "ls"):
        for entry in network.get("subnets", []):
            net = ipaddress.ip_network(entry["subnet"])
            if isinstance(net, ipaddress.IPv4Network):
                taken.append(net)
    candidates = list(_POOL.subnets(new_prefix=24))
    # Each begins elsewhere: networks that are down, of another state folder, show nowhere.
    first = int(_digest(podman, name), 16) % len(candidates)
    for candidate in candidates[first:] + candidates[:first]:
        if not any(candidate.overlaps(net) for net in taken):
            return candidate
    raise NoFreeNetwork(
        f"All of {_POOL} is in use on this machine; remove an installation with "
        "`holdfast --name NAME destroy`, or free a /24 of it."
    )


def _ula(podman: Podman, name: str) -> ipaddress.IPv6Network:
    """A unique local prefix (RFC 4193, section 3.2.2) that is the same for the same network."""
    prefix = b"\xfd" + bytes.fromhex(_digest(podman, name))[:5] + bytes(10)
    return ipaddress.IPv6Network((prefix, 64))


def _digest(podman: Podman, name: str) -> str:
    """What tells this network from all others on the machine, those of other state folders too."""
    return hashlib.sha256(f"{podman.networks}/{name}".encode()).hexdigest()
