"""Both directions, both families, tried from both sides: what flows say, and nothing more."""

import ipaddress
import json
import socket
import subprocess

import pytest

PORTS = (80, 8443, 8444, 8445, 9443)
_LISTEN = """
import socket, time
for port in {ports}:
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    globals()[f"kept_{{port}}"] = listener
    listener.listen(64)
open("/run/test-listening", "w").close()
time.sleep(600)
"""
_TRY = """
import json, socket, sys
found = {}
for address, port in json.loads(sys.argv[1]):
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.settimeout(2)
    try:
        connection.connect((address, port))
        found[f"{address} {port}"] = "open"
    except TimeoutError:
        found[f"{address} {port}"] = "silent"
    except OSError as error:
        found[f"{address} {port}"] = "refused"
    connection.close()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def variables(host):
    return host.ansible.get_variables()


@pytest.fixture(scope="module", autouse=True)
def listeners(host):
    """Every host answers on all ports of the test, whatever its firewall says."""
    host.check_output("rm -f /run/test-listening; systemctl stop test-listener; true")
    host.check_output(
        "systemd-run --quiet --collect --unit test-listener python3 -c %s",
        _LISTEN.format(ports=PORTS),
    )
    host.check_output("timeout 10 sh -c 'until test -e /run/test-listening; do sleep 0.1; done'")


@pytest.fixture(scope="module")
def peer(host, variables):
    """Addresses of the other host, which listens too."""
    names = set(variables["groups"]["all"]) - {variables["inventory_hostname"]}
    other = host.get_host(
        f"ansible://{names.pop()}", ansible_inventory=host.backend.ansible_inventory
    )
    other.check_output(
        "systemctl --quiet is-active test-listener || systemd-run --quiet --collect"
        " --unit test-listener python3 -c %s", _LISTEN.format(ports=PORTS),
    )  # fmt: skip
    other.check_output("timeout 10 sh -c 'until test -e /run/test-listening; do sleep 0.1; done'")
    return other.ansible.get_variables()["addresses"]


def _try(host, user, targets):
    command = "runuser --user %s -- python3 -c %s %s"
    return json.loads(host.check_output(command, user, _TRY, json.dumps(targets)))


def _counters(host):
    found = json.loads(host.check_output("nft --json list counters table inet holdfast"))
    return {
        each["counter"]["name"]: each["counter"]["packets"]
        for each in found["nftables"]
        if "counter" in each
    }


def _expected(addresses, result):
    return {f"{address} {port}": each for address in addresses for port, each in result.items()}


def _targets(addresses):
    return [(address, port) for address in addresses for port in PORTS]


def test_the_hosts_are_reached_over_both_families(variables):
    families = {ipaddress.ip_address(each).version for each in variables["addresses"]}
    assert families == {4, 6}


def test_from_outside_only_what_is_for_everybody_answers(variables):
    """The operator's machine is a stranger to every port but ssh; what is shut is silent."""
    expected = dict.fromkeys(PORTS, "silent") | {80: "open", 22: "open"}
    targets = [*_targets(variables["addresses"]), *((each, 22) for each in variables["addresses"])]
    done = subprocess.run(
        ["python3", "-c", _TRY, json.dumps(targets)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == _expected(variables["addresses"], expected)


@pytest.mark.parametrize(
    ("user", "more"),
    [("root", {}), ("www-data", {9443: "open"}), ("_apt", {80: "open"})],
)
def test_a_neighbour_is_reached_as_flows_say(host, peer, user, more):
    """What may not leave is refused at once, so that a program fails clearly."""
    expected = dict.fromkeys(PORTS, "refused") | {8443: "open", 8444: "open"} | more
    assert _try(host, user, _targets(peer)) == _expected(peer, expected)


@pytest.mark.parametrize(("user", "expected"), [("games", "open"), ("root", "refused")])
def test_an_outbound_permission_is_for_its_account(host, variables, user, expected):
    address = variables["installation_operator_addresses"][0].partition("/")[0]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 2525), family=family):
        assert _try(host, user, [(address, 2525)]) == {f"{address} 2525": expected}


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize("port", [80, 443, 53])
def test_root_does_not_reach_the_internet(host, address, port):
    """It is this firewall that refuses, not a network without a way out."""
    before = _counters(host)["rejected_out"]
    assert _try(host, "root", [(address, port)]) == {f"{address} {port}": "refused"}
    assert _counters(host)["rejected_out"] > before


def test_ping_is_for_the_installation(host, peer, variables):
    """Answered from anywhere, sent to our own hosts only."""
    ping = """
import os, socket, struct, sys
address = sys.argv[1]
six = ":" in address
kind = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW,
                     socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
kind.settimeout(2)
body = struct.pack("!BBHHH", 128 if six else 8, 0, 0, 7, 1)
total = sum(struct.unpack("!4H", body))
body = struct.pack("!BBHHH", 128 if six else 8, 0, 0 if six else ~total & 0xFFFF, 7, 1)
try:
    kind.sendto(body, (address, 0))
    while True:
        answer, sender = kind.recvfrom(1024)
        if sender[0] == address:
            print("answered")
            break
except OSError as error:
    print("nothing")
"""
    for address in peer:
        assert host.check_output("python3 -c %s %s", ping, address) == "answered"
    assert host.check_output("python3 -c %s 192.0.2.1", ping) == "nothing"
    for address in variables["addresses"]:
        assert subprocess.check_output(["python3", "-c", ping, address], text=True) == "answered\n"


def test_drops_and_refusals_are_counted(host):
    """The tests before have knocked on shut doors."""
    counters = _counters(host)
    assert set(counters) == {"dropped_in", "dropped_forward", "rejected_out"}
    assert counters["dropped_in"] > 0


def test_the_tables_of_others_stay(host):
    """Of fail2ban, for example."""
    host.check_output("nft add table inet others; systemctl reload holdfast-firewall.service")
    try:
        tables = host.check_output("nft list tables").splitlines()
    finally:
        host.check_output("nft delete table inet others")
    assert set(tables) >= {"table inet others", "table inet holdfast"}


def test_stopping_the_unit_does_not_open_the_host(host):
    before = host.check_output("nft --stateless list table inet holdfast")
    host.check_output("systemctl stop holdfast-firewall.service")
    try:
        assert host.check_output("nft --stateless list table inet holdfast") == before
    finally:
        host.check_output("systemctl start holdfast-firewall.service")


def test_the_rules_are_in_force_before_the_network_is_up(host):
    assert host.check_output("systemctl is-enabled holdfast-firewall.service") == "enabled"
    before = host.check_output("systemctl show --value -p Before holdfast-firewall.service")
    assert "network-pre.target" in before.split()
    assert host.run("systemctl is-enabled nftables.service").stdout.strip() == "masked"
