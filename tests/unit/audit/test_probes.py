"""The probe scripts against small servers that misbehave: what they say must be so."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading

import pytest

from holdfast.audit.catalogue import checks_folder


def _probe(name, question):
    done = subprocess.run(
        [sys.executable, checks_folder() / "probes" / f"{name}.py", json.dumps(question)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


@pytest.fixture
def server():
    """Start a server on loopback: server(answer) -> port; answer(first bytes) -> bytes."""
    with contextlib.ExitStack() as stack:

        def start(answer, greeting=b""):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve():
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(greeting)
                        connection.settimeout(5)
                        connection.sendall(answer(connection.recv(65536)))

            threading.Thread(target=serve, daemon=True).start()
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return listener.getsockname()[1]

        yield start


def _record(kind, payload):
    return bytes([kind]) + b"\x03\x00" + struct.pack("!H", len(payload)) + payload


def _offer(port, version):
    (answer,) = _probe(
        "hello",
        {"offers": [{"address": "127.0.0.1", "port": port, "name": "x.test", "version": version}]},
    )
    return answer


@pytest.mark.parametrize(
    ("version", "number"), [("SSLv3", 0x0300), ("TLSv1", 0x0301), ("TLSv1.1", 0x0302)]
)
def test_a_server_that_takes_the_old_version_is_seen_taking_it(server, version, number):
    def answer(hello):
        # The offered version stands behind the record's and the handshake's headers.
        body = hello[9:11] + bytes(32) + b"\0" + b"\0\x2f" + b"\0"
        return _record(22, b"\x02" + len(body).to_bytes(3, "big") + body)

    assert _offer(server(answer), version) == {"server_hello": f"0x{number:04x}"}


def test_an_alert_is_told_with_its_number(server):
    assert _offer(server(lambda _: _record(21, b"\x02\x46")), "SSLv3") == {"alert": [2, 70]}


@pytest.mark.parametrize("answer", [b"", b"\x15\x03", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_closed_connection_is_no_alert(server, answer):
    assert set(_offer(server(lambda _: answer), "SSLv3")) == {"nothing"}


def _speaks(port):
    (answer,) = _probe(
        "speaks", {"ports": [{"address": "127.0.0.1", "port": port, "name": "x.test"}]}
    )
    return answer["speaks"]


def _http(status, *headers):
    return "\r\n".join([f"HTTP/1.1 {status} x", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda _: _http(301, "Location: https://x.test/"), "redirect"),
        (lambda _: _http(301, "Location: http://x.test/"), "clear"),
        (lambda _: _http(200), "clear"),
        (
            lambda asked: (
                _http(200) if asked.startswith(b"POST") else _http(301, "Location: https://x.test/")
            ),
            "clear",
        ),
        (lambda _: b"", "silent"),
        (lambda asked: _http(403 if b"nobody.invalid" in asked else 400), "tunnel"),
        (lambda asked: _http(200 if b"CONNECT" in asked else 403), "clear"),
        (lambda asked: _http(200 if b"GET http:" in asked else 403), "clear"),
        (lambda _: b"\x15\x03\x03\x00\x02\x02\x70", "tls"),
    ],
    ids=[
        "redirects",
        "redirects to clear",
        "serves pages",
        "serves some",
        "says nothing",
        "proxy",
        "open tunnel",
        "open proxy",
        "TLS alert",
    ],
)
def test_what_a_port_speaks_is_told(server, answer, expected):
    assert _speaks(server(answer)) == expected


def test_a_greeting_tells_ssh_from_the_rest(server):
    assert _speaks(server(lambda _: b"", greeting=b"SSH-2.0-x\r\n")) == "ssh"
    assert _speaks(server(lambda _: b"", greeting=b"220 mail\r\n")) == "clear"


def test_doubled_headers_are_kept(server):
    port = server(lambda _: _http(200, "X-Frame-Options: DENY", "x-frame-options: SAMEORIGIN"))
    request = {"address": "127.0.0.1", "port": port, "tls": False, "name": "x", "send": "GET"}
    (answer,) = _probe("http", {"requests": [request]})
    assert answer["headers"] == [["x-frame-options", "DENY"], ["x-frame-options", "SAMEORIGIN"]]


def test_a_weak_algorithm_is_read_from_an_ssh_server(server):
    lists = [
        b"curve25519-sha256,diffie-hellman-group1-sha1", b"ssh-ed25519", b"aes256-ctr", b"3des-cbc",
        b"hmac-md5", b"hmac-sha1", b"none", b"zlib", b"", b"",
    ]  # fmt: skip
    payload = b"\x14" + bytes(16) + b"".join(struct.pack("!I", len(x)) + x for x in lists)
    payload += bytes(5)
    packet = struct.pack("!IB", len(payload) + 1 + 4, 4) + payload + bytes(4)
    port = server(lambda _: packet, greeting=b"SSH-2.0-x\r\n")
    answer = _probe("kexinit", {"address": "127.0.0.1", "port": port})
    assert answer["kex_algorithms"] == ["curve25519-sha256", "diffie-hellman-group1-sha1"]
    assert answer["encryption_algorithms"] == ["3des-cbc", "aes256-ctr"]
    assert answer["mac_algorithms"] == ["hmac-md5", "hmac-sha1"]
    assert answer["compression_algorithms"] == ["none", "zlib"]


def test_an_address_without_a_way_to_it_is_told():
    # A broadcast is refused to whoever did not ask for it.
    said = _probe("routes", {"addresses": ["127.0.0.1", "255.255.255.255"]})
    assert said["127.0.0.1"] == ""
    assert said["255.255.255.255"]
