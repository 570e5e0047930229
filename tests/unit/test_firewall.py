"""The plan of flows, and the filters that hand it to templates."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from holdfast.flows import (
    FlowError,
    Installation,
    contains,
    host_plan,
    parse_flows,
    parse_outbound,
    reachable,
)
from tests.programs import loaded

PLACE = Installation(
    groups={
        "web": ["web1"],
        "app": ["app1", "app2"],
        "egress": ["web1"],
        "outside": ["stranger"],
        "drill": [],
    },
    addresses={
        "web1": ["192.0.2.1", "2001:db8::1"],
        "app1": ["192.0.2.2", "2001:db8::2"],
        "app2": ["192.0.2.3", "2001:db8::3"],
    },
    operators=["198.51.100.0/28", "2001:db8:ff::/64"],
)
WEB = {"name": "web", "from": ["anywhere"], "to": ["web"], "port": [443, 80], "protocol": "tcp",
       "purpose": "names"}  # fmt: skip
GATEWAY = {"name": "gateway", "from": ["web"], "to": ["app"], "port": 8443, "protocol": "tcp",
           "purpose": "edge to gateway", "user": "www-data"}  # fmt: skip
PEERS = {"name": "peers", "from": ["app"], "to": ["app"], "port": 9000, "protocol": "udp",
         "purpose": "cluster"}  # fmt: skip
FLOWS = [WEB, GATEWAY, PEERS]


def _plan(host: str, flows: list[dict[str, Any]] | None = None) -> Any:
    return host_plan(host, flows=parse_flows(flows or FLOWS), installation=PLACE)


def _table(rules: Any) -> set[tuple[str, str, tuple[int, ...], str | None, tuple[str, ...]]]:
    return {
        (rule.name, rule.protocol, rule.ports, rule.user, tuple(map(str, rule.networks)))
        for rule in rules
    }


def test_each_host_opens_exactly_what_flows_say() -> None:
    ssh = ("ssh", "tcp", (22,), None, ("198.51.100.0/28", "2001:db8:ff::/64"))
    assert _table(_plan("web1").inbound) == {
        ssh,
        ("web", "tcp", (80, 443), None, ("0.0.0.0/0", "::/0")),
    }
    assert _table(_plan("app1").inbound) == {
        ssh,
        ("gateway", "tcp", (8443,), None, ("192.0.2.1/32", "2001:db8::1/128")),
        ("peers", "udp", (9000,), None, ("192.0.2.3/32", "2001:db8::3/128")),
    }


def test_the_other_end_of_a_flow_may_leave_by_its_account_only() -> None:
    both_apps = ("192.0.2.2/31", "2001:db8::2/127")
    assert _table(_plan("web1").outbound) == {
        ("gateway", "tcp", (8443,), "www-data", both_apps),
    }
    assert _table(_plan("app2").outbound) == {
        ("peers", "udp", (9000,), None, ("192.0.2.2/32", "2001:db8::2/128")),
    }


def test_a_host_needs_no_rule_to_reach_itself() -> None:
    flow = {**GATEWAY, "to": ["egress"]}
    plan = _plan("web1", [flow])
    assert {rule.name for rule in plan.inbound} == {"ssh"}
    assert plan.outbound == ()


@pytest.mark.parametrize(
    ("source", "target", "ports"),
    [
        pytest.param("203.0.113.9", "web1", {("tcp", 80), ("tcp", 443)}, id="stranger"),
        pytest.param("203.0.113.9", "app1", set(), id="stranger-inside"),
        pytest.param("198.51.100.3", "app1", {("tcp", 22)}, id="operator"),
        pytest.param("2001:db8:ff::3", "app1", {("tcp", 22)}, id="operator-ipv6"),
        pytest.param("web1", "app1", {("tcp", 8443)}, id="flow"),
        pytest.param("app1", "app2", {("udp", 9000)}, id="peers"),
        pytest.param("app1", "web1", set(), id="anywhere-opens-nothing-outbound"),
    ],
)
def test_the_matrix_of_reachable_ports(
    source: str, target: str, ports: set[tuple[str, int]]
) -> None:
    found = reachable(source=source, target=target, flows=parse_flows(FLOWS), installation=PLACE)
    assert found == ports


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"to": ["wbe"]}, "there is no group wbe", id="unknown-target"),
        pytest.param({"from": ["wbe"]}, "there is no group wbe", id="unknown-source"),
        pytest.param({"to": ["drill"]}, "goes to nobody", id="to-nobody"),
        pytest.param({"from": ["drill"]}, "comes from nobody", id="from-nobody"),
        pytest.param({"to": ["outside"]}, "goes to nobody", id="to-a-host-that-is-not-ours"),
        pytest.param({"to": ["anywhere"]}, "takes groups", id="to-anywhere"),
        pytest.param({"from": []}, "at least one", id="empty-from"),
        pytest.param({"from": ["192.0.2.7/24"]}, "neither an address", id="host-bits"),
        pytest.param({"port": 0}, "from 1 to 65535", id="port-zero"),
        pytest.param({"port": 65536}, "from 1 to 65535", id="port-too-high"),
        pytest.param({"port": "https"}, "from 1 to 65535", id="port-name"),
        pytest.param({"port": True}, "from 1 to 65535", id="port-bool"),
        pytest.param({"port": []}, "at least one port", id="no-port"),
        pytest.param({"protocol": "icmp"}, "tcp or udp", id="protocol"),
        pytest.param({"purpose": " "}, "purpose", id="no-purpose"),
        pytest.param({"purpose": "a\nb"}, "purpose", id="two-lines"),
        pytest.param({"user": "a b"}, "account", id="user"),
        pytest.param({"ports": 1}, "unknown keys: ports", id="unknown-key"),
        pytest.param({"name": "ssh"}, "two flows named ssh", id="name-taken"),
        pytest.param({"name": "A"}, "cannot name", id="name"),
    ],
)
def test_a_wrong_flow_is_refused_with_the_reason(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FlowError, match=message):
        _plan("app1", [{**GATEWAY, **change}])


def test_a_missing_key_is_named() -> None:
    flow = {key: value for key, value in GATEWAY.items() if key != "protocol"}
    with pytest.raises(FlowError, match="Flow gateway lacks protocol"):
        parse_flows([flow])


@pytest.mark.parametrize("data", ["web", {"name": "web"}, [["web"]]])
def test_what_is_no_list_of_flows_is_refused(data: object) -> None:
    with pytest.raises(FlowError, match="must be a"):
        parse_flows(data)


@pytest.mark.parametrize(
    ("addresses", "message"),
    [([], "has no addresses"), ("192.0.2.2", "has no addresses"), (["192.0.2.0/24"], "network")],
)
def test_a_host_whose_address_is_unknown_is_named(addresses: Any, message: str) -> None:
    place = Installation(
        groups=PLACE.groups,
        addresses={**PLACE.addresses, "app2": addresses},
        operators=PLACE.operators,
    )
    with pytest.raises(FlowError, match=f"Host app2.*{message}"):
        host_plan("web1", flows=parse_flows(FLOWS), installation=place)


def test_outbound_permissions() -> None:
    mail = {"name": "mail", "user": "holdfast-notify", "to": ["192.0.2.25"], "port": 587,
            "protocol": "tcp"}  # fmt: skip
    time = {"name": "time", "to": ["anywhere"], "port": 123, "protocol": "udp"}
    assert _table(parse_outbound([mail, time])) == {
        ("mail", "tcp", (587,), "holdfast-notify", ("192.0.2.25/32",)),
        ("time", "udp", (123,), None, ("0.0.0.0/0", "::/0")),
    }
    with pytest.raises(FlowError, match="neither an address"):
        parse_outbound([{**mail, "to": ["mail.example"]}])


def test_an_ipv4_address_in_ipv6_clothes_is_the_ipv4_address() -> None:
    assert contains(["192.0.2.0/24"], "::ffff:192.0.2.9")
    assert contains(["fe80::/10"], "fe80::1%eth0")
    assert not contains(["192.0.2.0/24"], "198.51.100.1")


def _filters() -> Any:
    return loaded("ansible_plugins/filter/firewall.py").FilterModule().filters()


def test_the_filters_speak_nftables_and_say_what_is_wrong() -> None:
    given = {
        "groups": PLACE.groups,
        "addresses": PLACE.addresses,
        "operators": PLACE.operators,
    }
    rules = _filters()["firewall_rules"](FLOWS, host="app1", **given)
    assert rules["inbound"][1] == {
        "name": "gateway",
        "purpose": "edge to gateway",
        "protocol": "tcp",
        "ports": [8443],
        "networks": {"ip": ["192.0.2.1/32"], "ip6": ["2001:db8::1/128"]},
        "user": None,
    }
    with pytest.raises(AnsibleFilterError, match="there is no group wbe"):
        _filters()["firewall_rules"]([{**WEB, "to": ["wbe"]}], host="app1", **given)


def test_clients_of_the_proxy_are_networks() -> None:
    networks = _filters()["firewall_networks"]
    given = {"groups": PLACE.groups, "addresses": PLACE.addresses}
    assert networks(["egress", "198.51.100.7"], **given) == [
        "192.0.2.1/32", "198.51.100.7/32", "2001:db8::1/128",
    ]  # fmt: skip
    assert networks([], **given) == []
