"""Says what an open port speaks: ssh, tls, a redirect to https, or something in clear.

stdin of python3; argument: JSON {"ports": [{"address", "port", "name", and perhaps "user": whose
connections these are, which takes root}]}. Prints a JSON list in the same order:
{"speaks": "ssh" | "tls" | "redirect" | "tunnel" | "silent" | "clear" | "nothing", "detail"}.
`redirect` means that every path and method tried, with the name and without, was answered with a
redirect to https or by closing the connection. `tunnel` is a proxy that refuses everything else,
pages of others and tunnels to their clear port included. `silent` has said nothing to anything.
"""

import contextlib
import ctypes
import json
import os
import pwd
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

LIBC = ctypes.CDLL(None)
TIMEOUT = 4
BANNER_SECONDS = 0.7
ALERTS = ("TLSV1", "SSLV3_ALERT")  # as OpenSSL names what a server alerts
REQUESTS = (
    "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
    "GET /v1/anything?x=1 HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
    "POST /login HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: nobody.invalid\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "nonsense\r\n\r\n",
)
PROXY_REQUESTS = (
    "GET http://nobody.invalid/ HTTP/1.1\r\nHost: nobody.invalid\r\nConnection: close\r\n\r\n",
    "CONNECT nobody.invalid:80 HTTP/1.1\r\nHost: nobody.invalid:80\r\n\r\n",
)


def banner(address, port):
    with socket.create_connection((address, port), TIMEOUT) as connection:
        connection.settimeout(BANNER_SECONDS)
        try:
            return connection.recv(256)
        except OSError:
            return b""


def speaks_tls(address, port, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port), TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=name) as secured,
        ):
            return secured.version()
    except ssl.SSLError as error:
        # An alert is a word of TLS too: the server speaks it, and refused this name.
        return "alert" if (error.reason or "").startswith(ALERTS) else None
    except OSError:
        return None


def ask(address, port, request):
    with socket.create_connection((address, port), TIMEOUT) as connection:
        connection.settimeout(TIMEOUT)
        received = b""
        with contextlib.suppress(OSError):
            connection.sendall(request.encode("ascii"))
            while b"\r\n\r\n" not in received and (piece := connection.recv(4096)):
                received += piece
    return received


def status(answer):
    words = answer.split(b"\r\n")[0].decode("latin-1").split()
    return words[1] if len(words) > 1 and words[0].startswith("HTTP/") else ""


def redirects(answer):
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1").lower().split("\r\n")
    to = [line.partition(":")[2].strip() for line in head if line.startswith("location:")]
    return status(answer) in {"301", "308"} and len(to) == 1 and to[0].startswith("https://")


def classify(entry):
    address, port, name = entry["address"], entry["port"], entry["name"]
    first = banner(address, port)
    if first.startswith(b"SSH-2.0-"):
        return {"speaks": "ssh", "detail": first.split(b"\r")[0].decode("latin-1")}
    if first:
        return {"speaks": "clear", "detail": f"it greets with {first[:60]!r}"}
    version = speaks_tls(address, port, name)
    if version:
        return {"speaks": "tls", "detail": version}
    return in_clear(address, port, name)


def in_clear(address, port, name):
    answers = [
        ask(address, port, request % name if "%s" in request else request) for request in REQUESTS
    ]
    said = [answer for answer in answers if answer]
    if not said:
        return {"speaks": "silent", "detail": f"no word to {len(REQUESTS)} requests"}
    bad = [answer for answer in said if not redirects(answer)]
    if not bad:
        return {"speaks": "redirect", "detail": f"{len(said)} answers"}
    refusals = [ask(address, port, request) for request in PROXY_REQUESTS]
    if all(status(refusal) == "403" for refusal in refusals) and all(
        status(answer).startswith("4") for answer in said
    ):
        return {"speaks": "tunnel", "detail": "everything but a listed tunnel is refused"}
    return {"speaks": "clear", "detail": f"it answers {bad[0][:80]!r}"}


def tried(entry):
    # Of this thread only; sockets are stamped with it (`meta skuid`).
    LIBC.setfsuid(pwd.getpwnam(entry["user"]).pw_uid if "user" in entry else os.geteuid())
    try:
        return classify(entry)
    except OSError as error:
        return {"speaks": "nothing", "detail": f"{type(error).__name__}: {error}"}


with ThreadPoolExecutor(16) as pool:
    print(json.dumps(list(pool.map(tried, json.loads(sys.argv[1])["ports"]))))
