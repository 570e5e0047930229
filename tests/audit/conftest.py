"""Probe fixtures: what a check may use beside testinfra's `host`.

Everything here goes through testinfra's `run`, so that what is underneath can be replaced.
"""

import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import yaml

from holdfast import flows as planning
from holdfast.audit import sites as configurations
from holdfast.audit.outcomes import NotEvaluated

_HERE = Path(__file__).parent
_ROLES = _HERE.parents[1] / "roles"
# Packets a second, and how often each port is asked; the inventory may set audit_scan_rate and
# audit_scan_passes.
_SCAN_RATE = 100_000
_SCAN_PASSES = 2
_NAMES = ("enrol", "api", "panel", "admin")
_LONG = "<long>"  # the probe puts 20,000 letters there


def pytest_collection_modifyitems(items):
    """Run what waits for the scan last."""
    items.sort(key=lambda item: "scan" in item.fixturenames)


class Probes:
    """Scripts of the folder probes/, sent over stdin: nothing is left on the host."""

    def run(self, view, script, **question):
        """Run a probe on a host and return what it prints, as data."""
        source = (_HERE / "probes" / f"{script}.py").read_text()
        argument = shlex.quote(json.dumps(question))
        answer = view.run(f"python3 - {argument} <<'END-OF-PROBE'\n{source}\nEND-OF-PROBE")
        if answer.rc != 0:
            message = f"the probe {script} ended with {answer.rc}: {answer.stderr[-500:]}"
            raise RuntimeError(message)
        return json.loads(answer.stdout)


@pytest.fixture(scope="session")
def probes():
    """The probe scripts."""
    return Probes()


@pytest.fixture(scope="session")
def wanted():
    """What is wanted of a host: the inventory's word, else the role's default."""

    @cache
    def defaults(role):
        return yaml.safe_load((_ROLES / role / "defaults" / "main.yml").read_text()) or {}

    def value(target, role, name):
        found = target.variables.get(name, defaults(role).get(name))
        if "{{" in json.dumps(found):
            message = (
                f"{name} of {target.name} is a template; its value must stand in the inventory"
            )
            raise RuntimeError(message)
        return found

    return value


@pytest.fixture(scope="session")
def installation_hosts(inventory):
    """The configured hosts, by name."""
    hosts = {host.name: host for host in inventory.group("installation")}
    if not hosts:
        raise NotEvaluated("no host is in the group installation")
    return hosts


@pytest.fixture(scope="session")
def plan(inventory, installation_hosts):
    """The flows of the inventory, and the installation they speak of."""
    installation = planning.Installation(
        groups={
            group: [name for name in members if name in installation_hosts]
            for group, members in inventory.groups.items()
        },
        addresses={name: host.addresses for name, host in installation_hosts.items()},
        operators=inventory.variable("installation_operator_addresses", []),
    )
    return planning.parse_flows(inventory.variable("firewall_flows", [])), installation


@pytest.fixture(scope="session")
def each(views):
    """Do something on many hosts at once: each(names, function(view, name)) -> by name."""

    def run(names, work):
        names = tuple(names)
        with ThreadPoolExecutor(8) as pool:
            return dict(
                zip(names, pool.map(lambda name: work(views[name], name), names), strict=True)
            )

    return run


@pytest.fixture(scope="session")
def listening(each, installation_hosts):
    """Each host's listening sockets: by host, a set of (protocol, address, port, program)."""

    def read(view, _):
        sockets = set()
        for line in view.check_output("ss -H -l -n -t -u -p").splitlines():
            protocol, _, _, _, local, *rest = line.split()
            address, _, port = local.rpartition(":")
            program = rest[-1].split('"')[1] if '"' in rest[-1] else "?"
            address = address.strip("[]").partition("%")[0]
            sockets.add((protocol, address, int(port), program))
        return sockets

    return each(installation_hosts, read)


@pytest.fixture(scope="session", autouse=True)
def scanning(request):
    """Begin the scan before the first check that needs it: it takes longest, and waits mostly.

    Every check gets this fixture, so that what keeps it from scanning is raised by `scan` only.
    """
    if not any("scan" in item.fixturenames for item in request.session.items):
        yield None
        return
    get = request.getfixturevalue
    try:
        outside = get("outside")
    except NotEvaluated as reason:
        yield reason
        return
    addresses = [a for host in get("installation_hosts").values() for a in host.addresses]
    question = {
        "addresses": addresses,
        "rate": get("inventory").variable("audit_scan_rate", _SCAN_RATE),
        "passes": get("inventory").variable("audit_scan_passes", _SCAN_PASSES),
    }
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(get("probes").run, outside, "scan", **question)


@pytest.fixture(scope="session")
def scan(scanning):
    """What an outsider's scan found: by address, {"open": TCP ports that answer, "seen", "why"}."""
    if isinstance(scanning, NotEvaluated):
        raise scanning
    return scanning.result()


@pytest.fixture
def scanned(target, scan):
    """The host's ports that answer an outsider: by address, of those that can be judged.

    The silence of the others proves nothing, which is told once the check has judged the rest.
    """
    yield {a: set(scan[a]["open"]) for a in target.addresses if scan[a]["seen"]}
    _tell_unseen({a: scan[a]["why"] for a in target.addresses if not scan[a]["seen"]})


@pytest.fixture(scope="session")
def unrouted(installation_hosts, probes, outside):
    """The addresses of the installation that the outsider has no way to: why, by address."""
    addresses = [a for host in installation_hosts.values() for a in host.addresses]
    answers = probes.run(outside, "routes", addresses=addresses)
    return {address: why for address, why in answers.items() if why}


@pytest.fixture
def in_sight(target, unrouted):
    """The host's addresses that the outsider has a way to.

    The others are told once the check has judged these.
    """
    unseen = {a: unrouted[a] for a in target.addresses if a in unrouted}
    if len(unseen) == len(target.addresses):
        _tell_unseen(unseen)
    yield tuple(a for a in target.addresses if a not in unseen)
    _tell_unseen(unseen)


def _tell_unseen(unseen):
    if unseen:
        reasons = ", ".join(f"{address} ({why})" for address, why in sorted(unseen.items()))
        raise NotEvaluated(f"nothing was proven from outside at {reasons}")


@pytest.fixture(scope="session")
def domain(inventory):
    """The domain that the installation's names are in."""
    return inventory.variable("installation_domain")


@pytest.fixture(scope="session")
def own_root(inventory, auditor):
    """The root certificate of the installation's own authority, PEM, as the operator keeps it."""
    path = inventory.variable("audit_root_certificate")
    path = path or f"{inventory.variable('installation_state')}/vault/root-ca.crt"
    return auditor.file(path).content_string


@pytest.fixture(scope="session")
def served(views):
    """nginx's server blocks on a host: served(target)."""

    @cache
    def read(name):
        return configurations.servers(views[name].check_output("nginx -T 2>/dev/null"))

    return lambda target: read(target.name)


@pytest.fixture(scope="session")
def own_names(domain):
    """The installation's names, each a server of its own."""
    return [f"{label}.{domain}" for label in _NAMES]


@pytest.fixture(scope="session")
def names_at(inventory, wanted, own_names, domain):
    """Those of them that stand at an address of a web host: names_at(address)."""

    def names(address):
        for host in inventory.group("web"):
            if address == wanted(host, "web", "web_legacy_tls_address"):
                return [f"{one}.{domain}" for one in wanted(host, "web", "web_legacy_tls_sites")]
        return own_names

    return names


@pytest.fixture
def strict_addresses(wanted, in_sight):
    """The addresses of a web host that must not speak old TLS: all but the declared one."""

    def addresses(target):
        legacy = wanted(target, "web", "web_legacy_tls_address")
        return tuple(address for address in in_sight if address != legacy)

    return addresses


@pytest.fixture
def answers(in_sight, asked):
    """Every answer that the names of a web host give to an outsider: answers(target)."""
    return lambda target: asked(target.name, in_sight)


@pytest.fixture(scope="session")
def asked(inventory, probes, outside, served):
    """The requests behind `answers`, sent once: asked(name of the host, addresses).

    A list of (label, secured, answer): each address, each name that stands there, each location and
    each way to an error page, over TLS and in clear.
    """

    @cache
    def ask(name, addresses):
        target = inventory.hosts[name]
        requests = [
            (f"{label} of {site} at {address}", request)
            for address in addresses
            for server in configurations.answering(served(target), address)
            for site in server.names
            if site != "_"
            for label, request in _requests(server, site, address)
        ]
        replies = probes.run(outside, "http", requests=[request for _, request in requests])
        return [
            (label, request["tls"], reply)
            for (label, request), reply in zip(requests, replies, strict=True)
        ]

    return ask


def _requests(server, name, address):
    """Return (label, request) pairs that reach each location and each kind of error page."""
    rest = f"Host: {name}\r\nConnection: close\r\n\r\n"
    ways = {
        **{f"GET {path}": f"GET {path} HTTP/1.1\r\n{rest}" for path in server.paths},
        "an unknown path": f"GET /holdfast-audit/unknown HTTP/1.1\r\n{rest}",
        "a query": f"GET /?q=%3Cscript%3E HTTP/1.1\r\n{rest}",
        "the method TRACE": f"TRACE / HTTP/1.1\r\n{rest}",
        "the method DELETE": f"DELETE / HTTP/1.1\r\n{rest}",
        "a path that is too long": f"GET /{_LONG} HTTP/1.1\r\n{rest}",
        "a header that is too long": f"GET / HTTP/1.1\r\nX-Long: {_LONG}\r\n{rest}",
        "a body that is too large": f"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n{rest}",
        "a request without a host": "GET / HTTP/1.1\r\n\r\n",
        "a path that is no path": f"GET /%zz HTTP/1.1\r\n{rest}",
        "an unknown protocol": f"GET / HTTP/9.9\r\n{rest}",
        "nonsense": "NONSENSE\r\n\r\n",
    }
    _, port = server.sockets[0]
    for label, send in ways.items():
        request = {"address": address, "port": port, "name": name, "send": send}
        yield label, {**request, "tls": server.tls}
        if server.tls and label == "GET /":
            yield "clear HTTP on the TLS port", {**request, "tls": False}
