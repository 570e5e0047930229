"""Sends HTTP requests exactly as they are written and reports each answer's status and headers.

stdin of python3; argument: JSON {"requests": [{"address", "port", "tls", "name", "send"}]}, where
`send` is the request, latin-1, in which <long> stands for 20,000 letters. Prints a JSON list in
the same order: {"status", "headers"}, or {"error"}; headers are pairs [name in lower case, value],
doubles kept.
The certificate is not verified: who the server is is another check's matter.
"""

import json
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

TIMEOUT = 8
LIMIT = 65536
TOO_MANY = 429


def exchange(request):
    with socket.create_connection((request["address"], request["port"]), TIMEOUT) as plain:
        connection = plain
        if request["tls"]:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = context.wrap_socket(plain, server_hostname=request["name"])
        connection.settimeout(TIMEOUT)
        connection.sendall(request["send"].replace("<long>", "a" * 20_000).encode("latin-1"))
        received = b""
        while b"\r\n\r\n" not in received and len(received) < LIMIT:
            piece = connection.recv(4096)
            if not piece:
                break
            received += piece
    head, end, _ = received.partition(b"\r\n\r\n")
    if not end or not head.startswith(b"HTTP/1."):
        return {"error": f"no HTTP answer but {received[:60]!r}"}
    lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines[1:]]
    return {
        "status": int(lines[0].split()[1]),
        "headers": [[name.strip().lower(), value.strip()] for name, _, value in pairs],
    }


def tried(request):
    try:
        answer = exchange(request)
        for pause in (0.5, 1, 2):
            if answer.get("status") != TOO_MANY:
                break
            time.sleep(pause)  # true, and not what was asked
            answer = exchange(request)
    except (OSError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return answer


# Few at once: the servers limit what one client may do.
with ThreadPoolExecutor(6) as pool:
    print(json.dumps(list(pool.map(tried, json.loads(sys.argv[1])["requests"]))))
