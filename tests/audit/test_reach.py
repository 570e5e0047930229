"""T1, H2, H3: who reaches which port, from outside and from host to host, and what it speaks."""

import ipaddress
import re
from collections import defaultdict

import pytest

from holdfast import flows as planning
from holdfast.audit.outcomes import NotEvaluated

_CONNECT_SECONDS = 1.0
_EPHEMERAL = range(32_768, 61_000)  # the kernel's net.ipv4.ip_local_port_range
# Ports that somebody would use to carry data off, or that a service often stands on.
_LURES = (22, 25, 53, 80, 123, 443, 3128, 5432, 8080, 8200, 9200)
# What accounts try to send out; an echo request has no port.
_PACKETS = (
    *(("tcp", port) for port in _LURES),
    *(("udp", port) for port in (53, 123, 443, 51820)),
    ("icmp", 0),
)
_NOWHERE = ("192.0.2.1", "2001:db8::1")  # RFC 5737, RFC 3849: nobody is there
_METADATA = ("169.254.169.254", "fd00:ec2::254")


def _loopback(address):
    return address not in {"*", "0.0.0.0", "::"} and ipaddress.ip_address(address).is_loopback  # noqa: S104 - compared, not bound


def _asks(target, protocol, port, program):
    """Whether a socket listens for nobody: squid asks name servers from one."""
    return (
        "egress" in target.groups and (protocol, program) == ("udp", "squid") and port in _EPHEMERAL
    )


def _lines(problems):
    return "\n".join(sorted(problems)[:20])


@pytest.fixture(scope="session")
def spoken(probes, outside, scan, domain):
    """What every port that answers an outsider speaks: by (address, port)."""
    ports = [
        {"address": address, "port": port, "name": f"api.{domain}"}
        for address, found in scan.items()
        for port in found["open"]
    ]
    answers = probes.run(outside, "speaks", ports=ports)
    return {
        (entry["address"], entry["port"]): answer
        for entry, answer in zip(ports, answers, strict=True)
    }


@pytest.fixture(scope="session")
def matrix(each, probes, plan, listening, installation_hosts):
    """Tries from every host to every other: by source, a list of (try, what came, expected)."""
    flows, installation = plan
    planned = {(flow.protocol, port) for flow in flows for port in flow.ports}
    ports = {port for protocol, port in planned if protocol == "tcp"} | set(_LURES)
    ports |= {
        port
        for sockets in listening.values()
        for protocol, address, port, _ in sockets
        if protocol == "tcp" and not _loopback(address)
    }

    def allowed(outbound, source, entry):
        address, port, user = entry["address"], entry["port"], entry["user"]
        inbound = planning.host_plan(
            entry["target"], flows=flows, installation=installation
        ).inbound
        return any(
            rule.covers(address, "tcp", port) and rule.user in (None, user) for rule in outbound
        ) and any(
            rule.covers(own, "tcp", port)
            for rule in inbound
            for own in installation_hosts[source].addresses
            if ipaddress.ip_address(own).version == ipaddress.ip_address(address).version
        )

    def work(view, source):
        outbound = planning.host_plan(source, flows=flows, installation=installation).outbound
        tries = [
            {"user": user, "address": address, "port": port, "protocol": "tcp", "target": target}
            for target, host in installation_hosts.items()
            if target != source
            for address in host.addresses
            for user, port in sorted(
                {("root", port) for port in ports}
                | {
                    (rule.user, port)
                    for rule in outbound
                    for port in rule.ports
                    if rule.user and rule.covers(address, "tcp", port)
                }
            )
        ]
        came = probes.run(view, "reach", tries=tries, seconds=_CONNECT_SECONDS)
        return [(t, c, allowed(outbound, source, t)) for t, c in zip(tries, came, strict=True)]

    return each(installation_hosts, work)


@pytest.mark.control("T1", kind="behavioural")
def test_every_port_that_answers_an_outsider_is_encrypted(scanned, spoken):
    """Each port speaks TLS, or redirects to it and does nothing else, or is ssh"""
    expected = {22: "ssh", 80: "redirect"}
    problems = []
    for address, ports in scanned.items():
        for port in sorted(ports):
            answer = spoken[address, port]
            if answer["speaks"] != expected.get(port, "tls"):
                problems.append(
                    f"{address} port {port} is {answer['speaks']}, not "
                    f"{expected.get(port, 'tls')}: {answer['detail']}"
                )
    assert not problems, _lines(problems)


@pytest.mark.control("T1", kind="behavioural", on="web")
def test_the_names_are_served_encrypted(scanned, spoken):
    """The web hosts speak TLS on port 443 and redirect on port 80, on each of their addresses"""
    problems = [
        f"{address} port {port}: {spoken.get((address, port), 'no answer')}"
        for address in scanned
        for port, speaks in ((443, "tls"), (80, "redirect"))
        if spoken.get((address, port), {}).get("speaks") != speaks
    ]
    assert not problems, _lines(problems)


@pytest.fixture(scope="session")
def hops(matrix, each, probes, domain):
    """What each port speaks that another host of ours reaches: a list of (source, try, answer)."""

    def work(view, source):
        ports = [
            {**entry, "name": f"{entry['target']}.{domain}"}
            for entry, came, _ in matrix[source]
            if came == "open"
        ]
        answers = probes.run(view, "speaks", ports=ports)
        return [(source, *pair) for pair in zip(ports, answers, strict=True)]

    return [hop for found in each(matrix, work).values() for hop in found]


@pytest.mark.control("T1", kind="behavioural")
def test_every_hop_inside_is_encrypted(target, hops, wanted):
    """Each port that another host reaches speaks TLS or ssh; the way out only takes tunnels"""
    tunnel = wanted(target, "egress_proxy", "egress_proxy_port")
    problems = []
    for source, entry, answer in hops:
        is_tunnel = "egress" in target.groups and entry["port"] == tunnel
        allowed = {"tunnel"} if is_tunnel else {"tls", "ssh", "redirect"}
        if entry["target"] == target.name and answer["speaks"] not in allowed:
            problems.append(
                f"{source} to {entry['address']} port {entry['port']} is {answer['speaks']}: "
                f"{answer['detail']}"
            )
    assert not problems, _lines(problems)


@pytest.mark.control("H2", kind="behavioural")
def test_an_outsider_reaches_exactly_what_is_planned(target, scanned, plan, outsider):
    """Of all 65,535 TCP ports of each address, exactly the planned ones answer an outsider"""
    flows, installation = plan
    problems = []
    for address, found in scanned.items():
        version = ipaddress.ip_address(address).version
        planned = {
            port
            for source in outsider.addresses
            if ipaddress.ip_address(source).version == version
            for protocol, port in planning.reachable(
                source=source, target=target.name, flows=flows, installation=installation
            )
            if protocol == "tcp"
        }
        problems += [f"{address}: port {port} answers" for port in sorted(found - planned)]
        problems += [f"{address}: port {port} is shut" for port in sorted(planned - found)]
    assert not problems, _lines(problems)


@pytest.mark.control("H2", kind="behavioural")
def test_hosts_reach_exactly_what_is_planned(target, matrix):
    """From each host of the installation, exactly the planned ports of the others are reached"""
    tries = [
        (source, entry, came, expected)
        for source, all_tries in matrix.items()
        for entry, came, expected in all_tries
        if entry["target"] == target.name
    ]
    problems = [
        f"{source} ({entry['user']}) to {entry['address']} port {entry['port']} is {came}, "
        f"{'planned' if expected else 'not planned'}"
        for source, entry, came, expected in tries
        if came != "no account"
        and ((came in {"open", "refused"}) is not expected or came.startswith("error"))
    ]
    assert not problems, _lines(problems)
    untried = {
        f"port {entry['port']} from {source}, which has no account {entry['user']}"
        for source, entry, came, expected in tries
        if expected and came == "no account"
    }
    if untried:
        raise NotEvaluated(f"planned, and tried by nobody: {'; '.join(sorted(untried))}")


@pytest.mark.control("H2", kind="effective")
def test_exactly_what_is_planned_listens(target, listening, plan):
    """What listens beyond loopback is what a flow leads to, and nothing more"""
    flows, installation = plan
    inbound = planning.host_plan(target.name, flows=flows, installation=installation).inbound
    planned = {(rule.protocol, port) for rule in inbound for port in rule.ports}
    # A single node of a group that talks among itself listens, and nobody is let in.
    led_to = planned | {
        (flow.protocol, port)
        for flow in flows
        if any(target.name in installation.groups.get(name, ()) for name in flow.targets)
        for port in flow.ports
    }
    open_sockets = {
        (protocol, port): program
        for protocol, address, port, program in listening[target.name]
        if not _loopback(address) and not _asks(target, protocol, port, program)
    }
    problems = [
        f"{program} listens on {protocol} port {port}"
        for (protocol, port), program in open_sockets.items()
        if (protocol, port) not in led_to
    ]
    problems += [
        f"nothing listens on {protocol} port {port}"
        for protocol, port in planned - set(open_sockets)
    ]
    meant = {program for socket, program in open_sockets.items() if socket in led_to}
    problems += [
        f"{program} listens on loopback, {protocol} port {port}"
        for protocol, address, port, program in listening[target.name]
        if _loopback(address)
        and program not in meant
        and not _asks(target, protocol, port, program)
    ]
    assert not problems, _lines(problems)


@pytest.mark.control("H2", kind="effective")
def test_what_is_not_allowed_is_dropped(host):
    """The running firewall drops what comes in, passes through or leaves unless a rule allows it"""
    families = defaultdict(set)
    for table in host.check_output("nft -n list ruleset").split("\ntable "):
        family = table.removeprefix("table ").split()[0] if table.strip() else ""
        for hook in re.findall(r"type filter hook (\w+) priority [^;]+; policy drop;", table):
            families[hook] |= {"inet": {"ip", "ip6"}}.get(family, {family})
    missing = [
        f"{hook} of {family}"
        for hook in ("input", "output", "forward")
        for family in ("ip", "ip6")
        if family not in families[hook]
    ]
    assert not missing, f"no chain drops by default: {', '.join(missing)}"


@pytest.fixture(scope="session")
def leaving(each, probes, installation_hosts):
    """What each host's own firewall does with packets that accounts send: by host, tries."""
    users = {
        **dict.fromkeys(("root", "nobody", "_apt"), (*_NOWHERE, *_METADATA)),
        # squid may send anywhere else.
        "proxy": _METADATA,
    }

    def work(view, _):
        tries = [
            {"user": user, "address": address, "port": port, "protocol": protocol}
            for user, addresses in users.items()
            for address in addresses
            for protocol, port in _PACKETS
        ]
        return list(zip(tries, probes.run(view, "reach", tries=tries, seconds=0), strict=True))

    return each(installation_hosts, work)


def _may_leave(entry, *, target, wanted):
    """Whether the inventory lets this account send this packet there."""
    if entry["address"] in _METADATA:
        return False
    rules = planning.parse_outbound(target.variables.get("firewall_outbound", []))
    if any(
        rule.covers(entry["address"], entry["protocol"], entry["port"])
        and rule.user in (None, entry["user"])
        for rule in rules
    ):
        return True
    packages = planning.parse_outbound(
        [
            {
                "name": "packages",
                "to": wanted(target, "firewall", "firewall_package_sources"),
                "port": wanted(target, "firewall", "firewall_package_ports"),
                "protocol": "tcp",
            }
        ]
    )[0]
    return entry["user"] == "_apt" and packages.covers(
        entry["address"], entry["protocol"], entry["port"]
    )


@pytest.mark.control("H3", kind="behavioural")
def test_accounts_send_exactly_where_they_may(target, leaving, wanted):
    """root and nobody send nothing out, apt fetches packages only, nobody asks for metadata"""
    problems = []
    for entry, came in leaving[target.name]:
        expected = "sent" if _may_leave(entry, target=target, wanted=wanted) else "kept"
        if came not in {expected, "no route", "no account"}:
            problems.append(
                f"{entry['user']} to {entry['address']}, {entry['protocol']} port "
                f"{entry['port']}: {came}, and {expected} was wanted"
            )
    for kind in ("tcp", "udp", "icmp"):
        assert any(
            came == "kept" and entry["protocol"] == kind for entry, came in leaving[target.name]
        ), f"no {kind} was ever kept back"
    assert not problems, _lines(problems)


@pytest.mark.control("H3", kind="behavioural")
def test_a_listening_outsider_is_not_reached(host, probes, outsider):
    """root and nobody do not even send to a port of the outsider that does listen"""
    tries = [
        {"user": user, "address": address, "port": 22, "protocol": "tcp"}
        for user in ("root", "nobody")
        for address in outsider.addresses
    ]
    came = probes.run(host, "reach", tries=tries, seconds=_CONNECT_SECONDS)
    problems = [
        f"{entry['user']} to {entry['address']} port 22: {answer}"
        for entry, answer in zip(tries, came, strict=True)
        if answer != "kept"
    ]
    assert not problems, _lines(problems)
