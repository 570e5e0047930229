"""Listed clients reach listed names through a tunnel; everything else is refused and recorded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parents[5]
_PORT = 3128
_LISTEN = """
import socket
listener = socket.create_server(("::", 8443), family=socket.AF_INET6, dualstack_ipv6=True)
open("/run/test-listening", "w").close()
while True:
    connection, _ = listener.accept()
    connection.sendall(b"hello from inside the tunnel")
    connection.close()
"""
_ASK = """
import re, socket, sys
with socket.create_connection((sys.argv[1], 3128), 10) as connection:
    connection.sendall(sys.argv[2].encode() + b"\\r\\n\\r\\n")
    answer = connection.makefile("rb")
    head = b"".join(iter(answer.readline, b"\\r\\n"))
    length = re.search(rb"Content-Length: ([0-9]+)", head)
    # A tunnel's answer has no length: what follows comes from its other end.
    body = answer.read(int(length[1])) if length else answer.read()
sys.stdout.buffer.write(head + body)
"""


@pytest.fixture(scope="module")
def variables(host):
    return host.ansible.get_variables()


@pytest.fixture(scope="module")
def ask(host, variables):
    """Send one request to the host's own proxy; return status line and the rest."""

    def send(request, proxy=variables["addresses"][0], client=host):
        answer = client.check_output("python3 -c %s %s %s", _ASK, proxy, request)
        status, _, rest = answer.partition("\n")
        return int(status.split()[1]), rest

    return send


@pytest.fixture(scope="module", autouse=True)
def third_party(host):
    """Something that answers on port 8443 of every address of the host."""
    host.check_output("rm -f /run/test-listening; systemctl stop test-listener; true")
    host.check_output("systemd-run --quiet --collect --unit test-listener python3 -c %s", _LISTEN)
    host.check_output("timeout 10 sh -c 'until test -e /run/test-listening; do sleep 0.1; done'")


@pytest.fixture(scope="module")
def closed(variables):
    """Whether the host's list is empty, as in a new installation."""
    return variables["inventory_hostname"] == "bookworm1"


@pytest.mark.parametrize("name", ["inhouse.example", "INHOUSE.example", "below.wide.example"])
def test_a_listed_name_is_reached_through_a_tunnel(ask, closed, name):
    """Unless the list is empty: then it is as shut as every other."""
    status, rest = ask(f"CONNECT {name}:8443 HTTP/1.1")
    assert status == (403 if closed else 200)
    assert ("hello from inside the tunnel" in rest) is not closed


@pytest.mark.parametrize(
    "request_line",
    [
        pytest.param("CONNECT inhouse.example:443 HTTP/1.1", id="other-port"),
        pytest.param("CONNECT inhouse.example:22 HTTP/1.1", id="ssh"),
        pytest.param("CONNECT unlisted.example:8443 HTTP/1.1", id="unlisted"),
        pytest.param("CONNECT sub.inhouse.example:8443 HTTP/1.1", id="below-an-exact-name"),
        pytest.param("CONNECT wide.example.unlisted.example:8443 HTTP/1.1", id="suffix"),
        pytest.param("CONNECT notwide.example:8443 HTTP/1.1", id="no-label-boundary"),
        pytest.param("CONNECT back.example:8443 HTTP/1.1", id="listed-leads-inside"),
        pytest.param("CONNECT metadata.example:443 HTTP/1.1", id="listed-leads-to-metadata"),
        pytest.param("CONNECT loop.example:8443 HTTP/1.1", id="listed-leads-to-loopback"),
        pytest.param("CONNECT loop6.example:8443 HTTP/1.1", id="listed-leads-to-loopback-ipv6"),
        pytest.param("CONNECT 127.0.0.1:8443 HTTP/1.1", id="address"),
        pytest.param("CONNECT 2130706433:8443 HTTP/1.1", id="address-as-number"),
        pytest.param("CONNECT 0x7f000001:8443 HTTP/1.1", id="address-in-hex"),
        pytest.param("CONNECT 127.1:8443 HTTP/1.1", id="address-short"),
        pytest.param("CONNECT [::1]:8443 HTTP/1.1", id="ipv6-address"),
        pytest.param("CONNECT [::ffff:127.0.0.1]:8443 HTTP/1.1", id="mapped-address"),
        pytest.param("CONNECT 169.254.169.254:443 HTTP/1.1", id="metadata-address"),
        pytest.param("GET http://inhouse.example:8443/ HTTP/1.1", id="plain-http"),
        pytest.param("GET https://inhouse.example:8443/ HTTP/1.1", id="https-by-the-proxy"),
        pytest.param("POST http://inhouse.example:8443/ HTTP/1.1\r\nContent-Length: 0", id="post"),
        pytest.param("GET /squid-internal-mgr/info HTTP/1.1\r\nHost: egress-proxy", id="manager"),
        pytest.param("PURGE http://inhouse.example:8443/ HTTP/1.1", id="purge"),
    ],
)
def test_everything_else_is_refused(ask, request_line):
    status, rest = ask(request_line)
    assert status == 403
    assert "hello from inside the tunnel" not in rest


def test_the_refusal_names_no_version(ask):
    _, rest = ask("CONNECT unlisted.example:443 HTTP/1.1")
    assert "Server: squid\r\n" in rest
    assert "squid/" not in rest


def test_others_than_the_listed_clients_are_refused(host, variables, ask):
    """The other host asks for a listed name."""
    names = set(variables["groups"]["all"]) - {variables["inventory_hostname"]}
    inventory = host.backend.ansible_inventory
    other = host.get_host(f"ansible://{names.pop()}", ansible_inventory=inventory)
    assert ask("CONNECT inhouse.example:8443 HTTP/1.1", client=other)[0] == 403


def test_it_listens_on_inside_addresses_only(host, variables):
    sockets = host.check_output("ss --listening --numeric --tcp --no-header").splitlines()
    found = {line.split()[3] for line in sockets if line.split()[3].endswith(f":{_PORT}")}
    four, six = sorted(variables["addresses"], key=lambda each: ":" in each)
    assert found == {f"{four}:{_PORT}", f"[{six}]:{_PORT}"}


def test_the_log_is_json_without_personal_data(host, ask):
    ask('CONNECT un"listed\\.example:443 HTTP/1.1\r\nProxy-Authorization: Basic c2VjcmV0OnM=')
    ask("GET http://unlisted.example/private?name=somebody HTTP/1.1\r\nUser-Agent: phone")
    log = host.check_output("cat /var/log/squid/access.log")
    assert not [word for word in ("somebody", "phone", "private", "c2VjcmV0") if word in log]
    for line in log.splitlines():
        assert set(json.loads(line)) == {
            "time", "client", "method", "host", "port",
            "status", "result", "sent", "received", "ms",
        }  # fmt: skip


def test_the_log_is_rotated_and_written_again(host, ask):
    log = "/var/log/squid/access.log"
    ask("CONNECT before.example:443 HTTP/1.1")
    host.check_output("logrotate --force /etc/logrotate.d/squid")
    host.check_output(f"timeout 20 sh -c 'until test -e {log}; do sleep 0.2; done'")
    ask("CONNECT after.example:443 HTTP/1.1")
    assert "before.example" in host.check_output(f"cat {log}.1")
    assert "after.example" in host.check_output(f"cat {log}")
    assert "before.example" not in host.check_output(f"cat {log}")


def test_nothing_is_kept(host):
    assert host.check_output("find /var/spool/squid -type f") == ""


def test_squid_runs_in_its_cage(host):
    """Never as root, without any capability, and blind for what it does not need."""
    main = host.check_output("systemctl show --value -p MainPID squid.service")
    for process in (main, host.check_output("pgrep --parent %s", main)):
        status = dict(
            line.split(":\t", 1)
            for line in host.check_output("cat /proc/%s/status", process).splitlines()
            if ":\t" in line
        )
        uid = host.check_output("id -u proxy")
        assert set(status["Uid"].split()) == {uid}
        assert (status["CapEff"], status["CapBnd"]) == ("0" * 16, "0" * 16)
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        inside = f"nsenter --target {process} --mount"
        assert host.run(f"{inside} touch /etc/test").rc != 0
        assert host.check_output(f"{inside} ls /home") == ""


@pytest.fixture(scope="module")
def play():
    """Run the scenario's play, for one host."""

    def run(host, *arguments):
        done = subprocess.run(
            [
                Path(sys.executable).with_name("ansible-playbook"),
                *("-i", host.backend.ansible_inventory),
                *("--limit", host.backend.get_hostname(), *arguments),
                str(Path(__file__).parents[1] / "converge.yml"),
            ],
            cwd=_REPOSITORY,
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "false"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    return run


def test_what_a_killed_run_left_unread_is_read_by_the_next(host, play):
    """It was killed after it had written the configuration, and before squid read it."""
    one = "sed -i 's/^max_filedescriptors .*/max_filedescriptors {}/' /etc/squid/squid.conf"
    host.check_output(one.format(2048) + " && systemctl restart squid && sleep 2.5")
    host.check_output(one.format(4096))
    assert " changed=1 " in play(host)
    limits = host.check_output("cat /proc/$(systemctl show --value -p MainPID squid)/limits")
    assert "Max open files            4096 " in limits


def test_a_list_that_makes_no_sense_is_refused_before_anything_changes(host, play):
    entry = {"name": "Push", "domains": ["192.0.2.1"], "purpose": "x"}
    said = play(host, "--extra-vars", json.dumps({"egress_proxy_allowed": [entry]}))
    assert "egress_proxy_allowed or egress_proxy_listen is wrong." in said
    assert " changed=0 " in said
