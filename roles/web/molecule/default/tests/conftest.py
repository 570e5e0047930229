"""Talking to nginx from outside, byte by byte where it matters."""

import contextlib
import http.client
import io
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

DOMAIN = "web.test"
_BACKEND = Path(__file__).with_name("backend.py").read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer; `headers` has every line, names in small letters."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name):
        return [value for key, value in self.headers if key == name]

    def one(self, name):
        (value,) = self.all(name)
        return value


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The ways to nginx on one host."""

    address: str

    def connect(self, *, tls=True, sni=None, port=None):
        plain = socket.create_connection((self.address, port or (443 if tls else 80)), timeout=20)
        if not tls:
            return plain
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=sni)

    def send(self, request, **where):
        """Send bytes; return the Answer, or None when the connection was closed without one."""
        with self.connect(**where) as stream:
            # Refused before it was all sent: the answer is there already.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                stream.sendall(request)
            received = b""
            with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
                # nginx lingers before it closes; the whole answer is not worth waiting longer for.
                while not whole(received) and (piece := stream.recv(65536)):
                    received += piece
        return parse(received, head=request.startswith(b"HEAD")) if received else None

    def get(self, site, path, *, method="GET", headers="", body=b"", host=None, **where):
        """Ask a site as a well-behaved client does."""
        name = f"{site}.{DOMAIN}"
        head = f"{method} {path} HTTP/1.1\r\nHost: {host or name}\r\nConnection: close\r\n{headers}"
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        request = head.encode() + b"\r\n" + body
        if where.get("tls", True):
            where.setdefault("sni", name)
        return self.send(request, **where)


def whole(received):
    """Whether an answer with a Content-Length is all there."""
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head + b"\r\n", re.IGNORECASE)
    return bool(end and length and len(body) >= int(length[1]))


def parse(received, *, head=False):
    class _Socket:
        def makefile(self, _mode):
            return io.BytesIO(received)

    response = http.client.HTTPResponse(_Socket(), method="HEAD" if head else "GET")
    response.begin()
    headers = [(name.lower(), value) for name, value in response.getheaders()]
    return Answer(status=response.status, headers=headers, body=response.read())


@pytest.fixture(scope="module")
def addresses(host):
    """An IPv4 and an IPv6 address of the host, as the outside sees them."""
    found = host.check_output("hostname -I").split()
    four = next(address for address in found if ":" not in address)
    six = next(address for address in found if ":" in address)
    return {"IPv4": four, "IPv6": six}


@pytest.fixture(scope="module")
def edge(addresses):
    return Edge(address=addresses["IPv4"])


@pytest.fixture(scope="module")
def backend(host):
    """The service behind /service/."""
    start = (
        "systemctl is-active --quiet test-backend || systemd-run --unit test-backend --collect"
        " python3 -c %s"
    )
    host.check_output(start, _BACKEND)
    host.check_output(
        "timeout 10 bash -c 'until : < /dev/tcp/127.0.0.1/8099; do sleep 0.1; done' 2>/dev/null"
    )
    yield
    host.check_output("systemctl stop test-backend")


@pytest.fixture(scope="module")
def openssl(host):
    """`openssl s_client` on the host itself; returns all it says."""

    def run(arguments, *, address="127.0.0.1", name=f"api.{DOMAIN}"):
        server = f"-servername {name}" if name else "-noservername"
        command = f"openssl s_client -connect {address}:443 {server} {arguments} </dev/null 2>&1"
        return host.run(command).stdout

    return run


@pytest.fixture(scope="module")
def hybrid(host):
    """Whether the host's OpenSSL has X25519MLKEM768."""
    version = host.check_output("openssl version")
    major, minor = re.match(r"OpenSSL (\d+)\.(\d+)", version).groups()
    return (int(major), int(minor)) >= (3, 5)
