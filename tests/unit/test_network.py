"""Subnets that collide with nothing."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest

from holdfast.local import network
from holdfast.local.network import NoFreeNetwork, Subnets


class FakePodman:
    """Answers what podman would say about networks (a stand-in: nothing is created)."""

    def __init__(self, subnets: list[str]) -> None:
        self._subnets = subnets

    def json(self, *_: str) -> Any:
        return [{"subnets": [{"subnet": subnet} for subnet in self._subnets]}, {"name": "host"}]


def free(monkeypatch: pytest.MonkeyPatch, *, routes: list[str], networks: list[str]) -> str:
    listed = json.dumps([{"dst": "default"}, *({"dst": route} for route in routes)])
    monkeypatch.setattr(network, "run", lambda _: listed)
    return str(network._free_subnet(FakePodman(networks)))  # type: ignore[arg-type]


def test_takes_the_first_that_nothing_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = ["10.89.0.0/24", "192.0.2.0/24", "10.89.1.7"]
    assert free(monkeypatch, routes=routes, networks=["10.89.2.0/23"]) == "10.89.4.0/24"


def test_a_full_pool_is_refused_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoFreeNetwork, match="holdfast --name NAME destroy"):
        free(monkeypatch, routes=["10.0.0.0/8"], networks=[])


def test_ula_prefixes_differ_by_name_and_stay_the_same() -> None:
    one, other = network._ula("holdfast-a"), network._ula("holdfast-b")
    assert one == network._ula("holdfast-a") != other
    assert one.subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert one.prefixlen == 64


def test_addresses_come_in_both_families_or_in_one() -> None:
    v4 = ipaddress.IPv4Network("10.89.7.0/24")
    v6 = ipaddress.IPv6Network("fd00:1::/64")
    assert Subnets(v4=v4, v6=v6).addresses(10) == ["10.89.7.10", "fd00:1::a"]
    assert Subnets(v4=v4, v6=None).addresses(1) == ["10.89.7.1"]
