"""Who may reach which port where: one list of flows, read by everything that needs to know.

The firewall role makes each host's rules from it, the audit its expected matrix of reachable
ports. A flow opens its ports inbound on the hosts of `to`, for the addresses of `from`, and
outbound on the hosts of the groups in `from`. `anywhere`, `operators` and networks speak of
machines outside the installation: they open nothing outbound, even where they hold an address of
ours.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from holdfast.errors import Error

Protocol = Literal["tcp", "udp"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANYWHERE = "anywhere"
OPERATORS = "operators"
ALL = "all"

_EVERYTHING: tuple[Network, ...] = (
    ipaddress.IPv4Network("0.0.0.0/0"),
    ipaddress.IPv6Network("::/0"),
)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_LAST_PORT = 65535


class FlowError(Error):
    """A flow, or the inventory it refers to, does not make sense; the message names the fix."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One line of the list `firewall_flows`, syntactically right."""

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    protocol: Protocol
    ports: tuple[int, ...]
    purpose: str
    user: str | None


@dataclass(frozen=True, kw_only=True)
class Installation:
    """The hosts a plan is made for: groups, each host's addresses, the operators' networks."""

    groups: Mapping[str, Sequence[str]]
    addresses: Mapping[str, Sequence[str]]
    operators: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Ports that one host opens to `networks` (inbound) or reaches there (outbound)."""

    name: str
    purpose: str
    protocol: Protocol
    ports: tuple[int, ...]
    networks: tuple[Network, ...]
    user: str | None = None

    def covers(self, address: str, protocol: str, port: int) -> bool:
        """Say whether the rule lets this one through."""
        return (
            protocol == self.protocol
            and port in self.ports
            and any(ipaddress.ip_address(address) in network for network in self.networks)
        )


@dataclass(frozen=True, kw_only=True)
class HostPlan:
    """Everything one host lets in and lets out, besides ICMP, loopback and answers."""

    inbound: tuple[Rule, ...]
    outbound: tuple[Rule, ...]


SSH = Flow(
    name="ssh",
    sources=(OPERATORS,),
    targets=(ALL,),
    protocol="tcp",
    ports=(22,),
    purpose="the operators' way in",
    user=None,
)


def parse_flows(data: object) -> tuple[Flow, ...]:
    """Check the shape of `firewall_flows` and return it with the flow of ssh in front."""
    flows = [SSH]
    for entry in _entries(data, what="firewall_flows"):
        name = _name(entry, what="flow", taken=[flow.name for flow in flows])
        what = f"Flow {name}"
        _check_keys(entry, what, required=("from", "to", "port", "protocol", "purpose"))
        flows.append(
            Flow(
                name=name,
                sources=_words(entry["from"], f"{what}: from"),
                targets=_words(entry["to"], f"{what}: to"),
                protocol=_protocol(entry["protocol"], what),
                ports=_ports(entry["port"], what),
                purpose=_purpose(entry["purpose"], what),
                user=_user(entry.get("user"), what),
            )
        )
    return tuple(flows)


def parse_outbound(data: object) -> tuple[Rule, ...]:
    """Check `firewall_outbound`: what one host's accounts may reach outside the installation."""
    rules: list[Rule] = []
    for entry in _entries(data, what="firewall_outbound"):
        name = _name(entry, what="outbound rule", taken=[rule.name for rule in rules])
        what = f"Outbound rule {name}"
        _check_keys(entry, what, required=("to", "port", "protocol"), optional=("purpose",))
        networks: list[Network] = []
        for word in _words(entry["to"], f"{what}: to"):
            networks += _EVERYTHING if word == ANYWHERE else [parse_network(word, what=what)]
        rules.append(
            Rule(
                name=name,
                purpose=_purpose(entry.get("purpose", name), what),
                protocol=_protocol(entry["protocol"], what),
                ports=_ports(entry["port"], what),
                networks=collapse(networks),
                user=_user(entry.get("user"), what),
            )
        )
    return tuple(rules)


def host_plan(host: str, *, flows: Sequence[Flow], installation: Installation) -> HostPlan:
    """Return what the flows mean for one host. Raises FlowError, whichever host is at fault."""
    if host not in installation.addresses:
        raise FlowError(f"Host {host} is not one that flows are planned for.")
    own = _addresses(host, installation)
    inbound = []
    outbound = []
    for flow in flows:
        targets = _targets(flow, installation)
        networks, hosts = _sources(flow, installation)
        if host in targets:
            allowed = [*networks, *_networks(hosts - {host}, installation)]
            if allowed:
                inbound.append(_rule(flow, allowed, user=None))
        if host in hosts and targets - {host}:
            destinations = [
                network
                for network in _networks(targets - {host}, installation)
                if network not in own
            ]
            outbound.append(_rule(flow, destinations, user=flow.user))
    return HostPlan(inbound=tuple(inbound), outbound=tuple(outbound))


def reachable(
    *, source: str, target: str, flows: Sequence[Flow], installation: Installation
) -> frozenset[tuple[Protocol, int]]:
    """Return the ports of host `target` that answer to `source`.

    `source` is a host of the installation (both firewalls must agree, for some account) or the
    address of a machine that is none of ours (then only the target's firewall speaks).
    """
    inbound = host_plan(target, flows=flows, installation=installation).inbound
    ours = source in installation.addresses
    addresses = installation.addresses[source] if ours else [source]
    outbound = host_plan(source, flows=flows, installation=installation).outbound if ours else ()
    return frozenset(
        (rule.protocol, port)
        for rule in inbound
        for port in rule.ports
        if any(rule.covers(address, rule.protocol, port) for address in addresses)
        and (
            not ours
            or any(
                leaving.covers(address, rule.protocol, port)
                for leaving in outbound
                for address in installation.addresses[target]
            )
        )
    )


def source_networks(flow: Flow, *, installation: Installation) -> tuple[Network, ...]:
    """Return every address that a flow comes from, outside and inside the installation."""
    networks, hosts = _sources(flow, installation)
    return collapse([*networks, *_networks(hosts, installation)])


def word_networks(words: Sequence[str], *, installation: Installation) -> tuple[Network, ...]:
    """Return every address that group names and networks stand for; of none, none."""
    if not words:
        return ()
    flow = {"name": "clients", "from": words, "to": "all", "port": 1, "protocol": "tcp",
            "purpose": "list of clients"}  # fmt: skip
    return source_networks(parse_flows([flow])[-1], installation=installation)


def contains(networks: Sequence[str], address: str) -> bool:
    """Say whether an address, IPv4-mapped or not, lies in one of the networks."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in parse_network(network, what="The list") for network in networks)


def parse_network(text: object, *, what: str) -> Network:
    """Read an address or a network in CIDR notation."""
    try:
        return ipaddress.ip_network(str(text))
    except ValueError as error:
        raise FlowError(
            f"{what}: {text!r} is neither an address nor a network such as 192.0.2.0/24 or"
            f" 2001:db8::/32 ({error})."
        ) from error


def collapse(networks: Sequence[Network]) -> tuple[Network, ...]:
    """Return the same addresses in as few networks as possible, IPv4 first, in order."""
    four = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))


def _rule(flow: Flow, networks: Sequence[Network], *, user: str | None) -> Rule:
    return Rule(
        name=flow.name,
        purpose=flow.purpose,
        protocol=flow.protocol,
        ports=flow.ports,
        networks=collapse(networks),
        user=user,
    )


def _targets(flow: Flow, installation: Installation) -> set[str]:
    hosts: set[str] = set()
    for word in flow.targets:
        if word in (ANYWHERE, OPERATORS):
            raise FlowError(f"Flow {flow.name}: `to` takes groups of the installation, not {word}.")
        hosts |= _group(word, flow, installation)
    if not hosts:
        raise FlowError(
            f"Flow {flow.name} goes to nobody: {' and '.join(flow.targets)} has no host. Put a"
            " host into the group, or take the flow out."
        )
    return hosts


def _sources(flow: Flow, installation: Installation) -> tuple[list[Network], set[str]]:
    """Return the networks outside and the hosts of ours that a flow comes from."""
    networks: list[Network] = []
    hosts: set[str] = set()
    what = f"Flow {flow.name}: from"
    for word in flow.sources:
        if word == ANYWHERE:
            networks += _EVERYTHING
        elif word == OPERATORS:
            networks += [parse_network(each, what="Operators") for each in installation.operators]
        elif word[0].isdigit() or ":" in word:
            networks.append(parse_network(word, what=what))
        else:
            hosts |= _group(word, flow, installation)
    if not networks and not hosts:
        raise FlowError(
            f"Flow {flow.name} comes from nobody: {' and '.join(flow.sources)} has no host or"
            " address. Fill it, or take the flow out."
        )
    return networks, hosts


def _group(word: str, flow: Flow, installation: Installation) -> set[str]:
    if word == ALL:
        return set(installation.addresses)
    if word not in installation.groups:
        known = ", ".join(sorted(installation.groups))
        raise FlowError(f"Flow {flow.name}: there is no group {word}. Groups are: {known}, all.")
    return set(installation.groups[word]) & set(installation.addresses)


def _addresses(host: str, installation: Installation) -> list[Network]:
    given = installation.addresses[host]
    if not given or isinstance(given, str):
        raise FlowError(
            f"Host {host} has no addresses: set `addresses`, a list of its IPv4 and IPv6"
            " addresses, in the inventory."
        )
    networks = [parse_network(each, what=f"Host {host}: addresses") for each in given]
    for network in networks:
        if network.num_addresses != 1:
            raise FlowError(f"Host {host}: addresses: {network} is a network; give the address.")
    return networks


def _networks(hosts: set[str], installation: Installation) -> list[Network]:
    return [network for host in sorted(hosts) for network in _addresses(host, installation)]


def _entries(data: object, *, what: str) -> list[Mapping[str, object]]:
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise FlowError(f"{what} must be a list.")
    for entry in data:
        if not isinstance(entry, Mapping):
            raise FlowError(f"{what}: {entry!r} must be a mapping with name, to, port, protocol.")
    return cast("list[Mapping[str, object]]", list(data))


def _check_keys(
    entry: Mapping[str, object],
    what: str,
    *,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
) -> None:
    missing = [key for key in required if key not in entry]
    if missing:
        raise FlowError(f"{what} lacks {', '.join(missing)}.")
    unknown = sorted(set(entry) - {"name", "user", *required, *optional})
    if unknown:
        raise FlowError(
            f"{what} has unknown keys: {', '.join(unknown)}. Known are: name, user,"
            f" {', '.join((*required, *optional))}."
        )


def _name(entry: Mapping[str, object], *, what: str, taken: Sequence[str]) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise FlowError(f"{name!r} cannot name a {what}: small letters, digits and - only.")
    if name in taken:
        raise FlowError(f"There are two {what}s named {name}: rename one (ssh is always there).")
    return name


def _words(value: object, what: str) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not words:
        raise FlowError(f"{what} must be a list with at least one entry.")
    for word in words:
        if not isinstance(word, str) or not word:
            raise FlowError(f"{what}: {word!r} must be a word.")
    return tuple(words)


def _protocol(value: object, what: str) -> Protocol:
    if value not in ("tcp", "udp"):
        raise FlowError(f"{what}: protocol {value!r} is unknown; it is tcp or udp.")
    return cast("Protocol", str(value))


def _ports(value: object, what: str) -> tuple[int, ...]:
    ports = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    numbers = set()
    for port in ports:
        text = str(port)
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= _LAST_PORT:
            raise FlowError(f"{what}: port {port!r} must be a number from 1 to {_LAST_PORT}.")
        numbers.add(int(text))
    if not numbers:
        raise FlowError(f"{what}: port must name at least one port.")
    return tuple(sorted(numbers))


def _purpose(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise FlowError(f"{what}: purpose must be one line that says what it is for.")
    return value.strip()


def _user(value: object, what: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _USER.fullmatch(value):
        raise FlowError(f"{what}: {value!r} is no account's name.")
    return value
