"""The plan of flows (holdfast.flows) for templates and asserts."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

from holdfast import flows as plan
from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


class FilterModule:
    """Filters of the roles firewall, ssh and egress_proxy."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return each filter by its name."""
        return {
            "firewall_rules": firewall_rules,
            "firewall_outbound": firewall_outbound,
            "firewall_networks": firewall_networks,
            "within_networks": within_networks,
            "by_family": by_family,
        }


def firewall_rules(
    data: object,
    *,
    host: str,
    groups: Mapping[str, Sequence[str]],
    addresses: Mapping[str, Sequence[str]],
    operators: Sequence[str],
) -> dict[str, list[dict[str, Any]]]:
    """Turn the list of flows into one host's rules: {inbound: [...], outbound: [...]}."""
    with _as_filter_error():
        made = plan.host_plan(
            host,
            flows=plan.parse_flows(data),
            installation=plan.Installation(groups=groups, addresses=addresses, operators=operators),
        )
    return {
        "inbound": [_rule(rule) for rule in made.inbound],
        "outbound": [_rule(rule) for rule in made.outbound],
    }


def firewall_outbound(data: object) -> list[dict[str, Any]]:
    """Turn a list of outbound permissions into rules."""
    with _as_filter_error():
        return [_rule(rule) for rule in plan.parse_outbound(data)]


def firewall_networks(
    words: Sequence[str],
    *,
    groups: Mapping[str, Sequence[str]],
    addresses: Mapping[str, Sequence[str]],
    operators: Sequence[str] = (),
) -> list[str]:
    """Turn group names and networks into a list of networks; nothing into nothing."""
    with _as_filter_error():
        installation = plan.Installation(groups=groups, addresses=addresses, operators=operators)
        networks = plan.word_networks(words, installation=installation)
    return [str(network) for network in networks]


def within_networks(address: str, networks: Sequence[str]) -> bool:
    """Say whether an address lies in one of the networks."""
    with _as_filter_error():
        return plan.contains(networks, address)


def by_family(networks: Sequence[str]) -> dict[str, list[str]]:
    """Split addresses and networks into {ip: IPv4, ip6: IPv6}, named as nftables names them."""
    with _as_filter_error():
        parsed = plan.collapse(
            [plan.parse_network(str(each).partition("%")[0], what="The list") for each in networks]
        )
    return {
        "ip": [str(each) for each in parsed if isinstance(each, ipaddress.IPv4Network)],
        "ip6": [str(each) for each in parsed if isinstance(each, ipaddress.IPv6Network)],
    }


def _rule(rule: plan.Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "purpose": rule.purpose,
        "protocol": rule.protocol,
        "ports": list(rule.ports),
        "networks": by_family([str(network) for network in rule.networks]),
        "user": rule.user,
    }


@contextlib.contextmanager
def _as_filter_error() -> Iterator[None]:
    try:
        yield
    except Error as error:
        raise AnsibleFilterError(str(error)) from error
