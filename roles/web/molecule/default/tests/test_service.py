"""nginx as a service: bounded, confined, discreet, and never half-configured."""

import contextlib
import json
import time

import pytest


def _journal(host, since):
    lines = host.check_output(
        "journalctl --no-pager --output=cat --identifier=holdfast_web --since=@%s", str(since)
    )
    return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]


def _now(host):
    return int(host.check_output("date +%s"))


def test_too_many_requests(edge):
    """Far more at once than the limit allows: 429 with the headers, and no harm to others."""
    one = b"GET /document HTTP/1.1\r\nHost: api.web.test\r\n\r\n"
    with edge.connect(sni="api.web.test") as stream:
        received = b""
        for _ in range(3):
            stream.sendall(one * 300)
            deadline = time.monotonic() + 10
            before = received.count(b"HTTP/1.1 ")
            while received.count(b"HTTP/1.1 ") < before + 300 and time.monotonic() < deadline:
                received += stream.recv(65536)
    refused = [part for part in received.split(b"HTTP/1.1 ") if part.startswith(b"429")]
    assert refused
    for part in refused:
        for header in (
            b"Strict-Transport-Security: max-age=63072000; includeSubDomains",
            b"Content-Security-Policy: default-src 'none'; ",
            b"X-Frame-Options: DENY",
            b"X-Content-Type-Options: nosniff",
            b"X-XSS-Protection: 1; mode=block",
            b"Retry-After: 1",
        ):
            assert part.count(header) == 1
    time.sleep(2)


@pytest.mark.usefixtures("backend")
def test_too_many_connections(edge):
    """A client may hold 40; what waits for its answer counts."""
    with contextlib.ExitStack() as held:

        def ask(path):
            stream = held.enter_context(edge.connect(sni="panel.web.test"))
            head = f"GET {path} HTTP/1.1\r\nHost: panel.web.test\r\n\r\n"
            stream.sendall(head.encode())
            return stream

        for _ in range(40):
            ask("/service/slow")
        time.sleep(1)
        assert {ask("/page").recv(12) for _ in range(5)} == {b"HTTP/1.1 429"}
    time.sleep(1)
    assert edge.get("panel", "/page").status == 200


def test_slow_head_ends(edge):
    """One byte now and then does not keep a connection (`web_client_timeout`: 4 s)."""
    began = time.monotonic()
    with edge.connect(sni="api.web.test") as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: ")
        stream.settimeout(20)
        try:
            while time.monotonic() < began + 18:
                stream.settimeout(2)
                try:
                    if not stream.recv(100):
                        break
                except TimeoutError:
                    stream.sendall(b"a")
        except OSError:
            pass
    assert time.monotonic() - began < 8


def test_log_holds_no_personal_data(host, edge):
    """Not the address, the path asked for, the query, or what the client says of itself."""
    began = _now(host)
    marked = "User-Agent: marker-a\r\nReferer: https://marker-b.example/\r\nCookie: marker-c=1\r\n"
    with edge.connect(tls=False) as stream:
        own_address = stream.getsockname()[0]
    edge.get("api", "/document?token=marker-d", headers=marked + "Authorization: marker-e\r\n")
    edge.get("api", "/people/marker-f")
    edge.get("api", "/document", method="MARKERG")
    edge.get("api", "/document", host="marker-h.example")
    edge.send(b"marker-i / HTTP/1.1\r\nHost: marker-j.example\r\n\r\n", sni="api.web.test")
    edge.get("api", "/marker-k", tls=False)
    expected = {
        ("api", "/document", "GET", 200),
        ("api", "-", "GET", 404),
        ("api", "/document", "other", 405),
        ("", "-", "GET", 421),
        ("", "-", "GET", 301),
    }
    seen = set()
    for _ in range(20):
        for entry in _journal(host, began):
            seen.add((entry["site"], entry["route"], entry["method"], entry["status"]))
        if expected <= seen:
            break
        time.sleep(0.5)
    assert expected <= seen
    text = host.check_output(
        "journalctl --no-pager --output=verbose -u nginx --since=@%s", str(began)
    )
    assert '"network":"' in text
    assert "marker" not in text.lower()
    assert own_address not in text
    assert host.run("grep -rqiF marker /var/log/nginx").rc == 1


@pytest.mark.parametrize(
    ("address", "network"),
    [("127.0.0.9", "127.0.0.0/24"), ("::1", "::/48")],
)
def test_logged_network(host, address, network):
    began = _now(host)
    target = "::1" if ":" in address else "127.0.0.1"
    host.check_output(
        "python3 -c %s",
        "import socket, ssl\n"
        "c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.check_hostname = False\n"
        "c.verify_mode = ssl.CERT_NONE\n"
        f"s = socket.create_connection(('{target}', 443), source_address=('{address}', 0))\n"
        "s = c.wrap_socket(s, server_hostname='api.web.test')\n"
        "s.sendall(b'GET /document HTTP/1.0\\r\\nHost: api.web.test\\r\\n\\r\\n')\n"
        "s.recv(100)\n",
    )
    for _ in range(20):
        if network in [entry["network"] for entry in _journal(host, began)]:
            return
        time.sleep(0.5)
    raise AssertionError(_journal(host, began))


def test_sandbox(host):
    """The workers have no privilege left, and the master none that it does not use."""
    master = host.check_output("cat /run/nginx/nginx.pid")
    status = host.check_output("cat /proc/%s/status", master)
    assert "NoNewPrivs:\t1" in status
    # chown, kill, setgid, setuid, net_bind_service
    assert f"CapBnd:\t{(1 << 0) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 10):016x}" in status
    for worker in host.check_output("pgrep -P %s", master).split():
        worker_status = host.check_output("cat /proc/%s/status", worker)
        assert "CapEff:\t0000000000000000" in worker_status
        assert "CapPrm:\t0000000000000000" in worker_status
    inside = f"nsenter --mount --target {master} "
    for path in ("/etc/nginx/x", "/usr/x", "/srv/x", "/var/log/nginx/x", "/run/holdfast/web/x"):
        assert host.run(inside + "touch " + path).rc != 0
    assert host.check_output(inside + "ls -A /home") == ""


def test_only_the_ports(host):
    found = host.check_output("ss -Hltnp")
    mine = [line.split()[3] for line in found.splitlines() if '"nginx"' in line]
    assert sorted(set(mine)) == ["0.0.0.0:443", "0.0.0.0:80", "[::]:443", "[::]:80"]


def test_nothing_of_debian_is_left(host):
    assert host.check_output("ls -A /etc/nginx/sites-enabled") == ""
    assert not host.file("/var/www/html/index.nginx-debian.html").exists


class TestReload:
    """`systemctl reload nginx` says the truth."""

    def test_it_keeps_connections_and_replaces_the_workers(self, host, edge):
        before = host.check_output("pgrep -P $(cat /run/nginx/nginx.pid)").split()
        host.check_output("systemctl reload nginx")
        after = host.check_output("pgrep -P $(cat /run/nginx/nginx.pid)").split()
        assert set(after) - set(before)
        assert edge.get("api", "/document").status == 200

    def test_it_fails_when_nginx_keeps_the_old_configuration(self, host, edge):
        host.check_output("cp -p /etc/nginx/nginx.conf /run/test.conf")
        try:
            host.check_output("echo nonsense >> /etc/nginx/nginx.conf")
            assert host.run("systemctl reload nginx").rc != 0
            pending = host.check_output("/usr/local/lib/holdfast/nginx-generation pending")
            assert pending == "reload"
            assert edge.get("api", "/document").status == 200
        finally:
            host.check_output("mv /run/test.conf /etc/nginx/nginx.conf")
        assert host.check_output("/usr/local/lib/holdfast/nginx-generation pending") == ""


class TestCertificate:
    """The key exists in memory, and sealed."""

    def test_sealed_on_disk_and_readable_to_root_only(self, host):
        sealed = host.file("/etc/credstore.encrypted/holdfast-tls-web")
        assert (sealed.user, sealed.group) == ("root", "root")
        assert host.file("/etc/credstore.encrypted").mode == 0o700
        assert not sealed.contains("PRIVATE KEY")
        folder = host.file("/run/holdfast/web")
        assert (folder.mode, folder.user) == (0o700, "root")
        for name in ("tls.key", "tls.crt"):
            assert host.file(f"/run/holdfast/web/{name}").mode == 0o600
        assert sorted(folder.listdir()) == ["tls.crt", "tls.key"]
        assert host.file("/run/holdfast").listdir() == ["web"]
        assert host.check_output("findmnt -n -o FSTYPE -T /run/holdfast/web") == "tmpfs"

    def test_no_copy_lies_on_a_disk(self, host):
        """The key's own bytes, searched for where files survive a reboot."""
        search = "sed -n 2p /run/holdfast/web/tls.key | grep -rlFf - "
        found = host.run(search + "/etc /var /root /home /usr/local /srv /tmp")
        assert found.stdout == ""
        assert host.run(search + "/run/holdfast").stdout.split() == ["/run/holdfast/web/tls.key"]

    def test_it_comes_back_after_a_boot(self, host, edge):
        """As after a boot: memory empty; nginx brings the unit that unseals with it."""
        before = host.check_output("sha256sum /run/holdfast/web/tls.key")
        host.check_output("systemctl stop nginx holdfast-tls-web && rm -r /run/holdfast /run/nginx")
        host.check_output("systemctl start nginx")
        assert host.check_output("sha256sum /run/holdfast/web/tls.key") == before
        assert edge.get("api", "/document").status == 200
        for unit in ("nginx", "holdfast-tls-web"):
            assert host.service(unit).is_enabled
