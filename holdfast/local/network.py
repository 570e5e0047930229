"""One bridge per installation, with DNS, on addresses that nothing else on the machine uses."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.process import run

if TYPE_CHECKING:
    from holdfast.local.podman import Podman

_POOL = ipaddress.IPv4Network("10.89.0.0/16")


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
        v4 = _free_subnet(podman)
        argv = ["network", "create", "--subnet", str(v4)]
        if ipv6:
            argv += ["--ipv6", "--subnet", str(_ula(name))]
        podman(*argv, name)
    described = json.loads(podman("network", "inspect", name))[0]["subnets"]
    nets = [ipaddress.ip_network(entry["subnet"]) for entry in described]
    v4s = [net for net in nets if isinstance(net, ipaddress.IPv4Network)]
    v6s = [net for net in nets if isinstance(net, ipaddress.IPv6Network)]
    return Subnets(v4=v4s[0], v6=v6s[0] if v6s else None)


def _free_subnet(podman: Podman) -> ipaddress.IPv4Network:
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
    for candidate in _POOL.subnets(new_prefix=24):
        if not any(candidate.overlaps(net) for net in taken):
            return candidate
    raise NoFreeNetwork(
        f"All of {_POOL} is in use on this machine; remove an installation with "
        "`holdfast --name NAME destroy`, or free a /24 of it."
    )


def _ula(name: str) -> ipaddress.IPv6Network:
    """A unique local prefix (RFC 4193, section 3.2.2) that is the same for the same name."""
    identifier = hashlib.sha256(name.encode()).digest()[:5]
    prefix = b"\xfd" + identifier + bytes(10)
    return ipaddress.IPv6Network((prefix, 64))
