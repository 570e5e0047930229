"""Subnets that collide with nothing."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.local import network
from holdfast.local.network import NoFreeNetwork, Subnets


class FakePodman:
    """Answers what podman would say about networks (a stand-in: nothing is created)."""

    def __init__(self, subnets: list[str], folder: str = "/nowhere") -> None:
        self._subnets = subnets
        self.networks = Path(folder)

    def json(self, *_: str) -> Any:
        return [{"subnets": [{"subnet": subnet} for subnet in self._subnets]}, {"name": "host"}]


def free(monkeypatch: pytest.MonkeyPatch, *, routes: list[str], networks: list[str]) -> str:
    listed = json.dumps([{"dst": "default"}, *({"dst": route} for route in routes)])
    monkeypatch.setattr(network, "run", lambda _: listed)
    return str(network._free_subnet(FakePodman(networks), "holdfast-a"))  # type: ignore[arg-type]


def test_takes_what_nothing_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ipaddress.IPv4Network("10.73.4.0/23")
    routes = [str(net) for net in network._POOL.address_exclude(kept)]
    routes += ["192.0.2.0/24", "10.73.5.7"]
    assert free(monkeypatch, routes=routes, networks=[]) == "10.73.4.0/24"
    with pytest.raises(NoFreeNetwork):
        free(monkeypatch, routes=routes, networks=["10.73.4.128/25"])


def test_other_networks_begin_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one which is down, in another state folder, is not met."""
    monkeypatch.setattr(network, "run", lambda _: "[]")
    podmans = [FakePodman([], folder) for folder in ("/one", "/two")]
    found = {network._free_subnet(podman, "holdfast-a") for podman in podmans}  # type: ignore[arg-type]
    assert len(found) == 2


def test_takes_nothing_of_what_podman_and_docker_give_to_others() -> None:
    for pool in ("10.88.0.0/13", "10.96.0.0/11", "10.128.0.0/9", "172.16.0.0/12"):
        assert not network._POOL.overlaps(ipaddress.IPv4Network(pool))


def test_a_full_pool_is_refused_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoFreeNetwork, match="holdfast --name NAME destroy"):
        free(monkeypatch, routes=["10.0.0.0/8"], networks=[])


def test_ula_prefixes_differ_by_network_and_stay_the_same() -> None:
    def ula(name: str, folder: str = "/nowhere") -> ipaddress.IPv6Network:
        return network._ula(FakePodman([], folder), name)  # type: ignore[arg-type]

    assert ula("holdfast-a") == ula("holdfast-a")
    assert len({ula("holdfast-a"), ula("holdfast-b"), ula("holdfast-a", "/other")}) == 3
    assert ula("holdfast-a").subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert ula("holdfast-a").prefixlen == 64


def test_addresses_come_in_both_families_or_in_one() -> None:
    v4 = ipaddress.IPv4Network("10.73.7.0/24")
    v6 = ipaddress.IPv6Network("fd00:1::/64")
    assert Subnets(v4=v4, v6=v6).addresses(10) == ["10.73.7.10", "fd00:1::a"]
    assert Subnets(v4=v4, v6=None).addresses(1) == ["10.73.7.1"]
