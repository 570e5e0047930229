"""Knock at PostgreSQL, in clear or over TLS, and tell how far one gets without a password.

Question: doors [{address, port, user, database, tls}]. Answer: the same, each with `said`: refused,
sasl (asks for a SCRAM exchange), another way to prove oneself, "open" (lets in), or silence.
PostgreSQL's protocol: Debian's documentation of 17, "Message Flow" and "Message Formats".
"""

import json
import socket
import ssl
import struct
import sys

_TIMEOUT = 5
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_VERSION_3 = 196608
_ASKED = {0: "open", 3: "a clear password", 5: "MD5", 10: "sasl"}


def _whole(connection, size):
    data = b""
    while len(data) < size:
        block = connection.recv(size - len(data))
        if not block:
            return data
        data += block
    return data


def knock(door):
    with socket.create_connection((door["address"], door["port"]), timeout=_TIMEOUT) as plain:
        if not door["tls"]:
            return _ask(plain, door)
        plain.sendall(_SSL_REQUEST)
        if _whole(plain, 1) != b"S":
            return "no TLS"
        # Who answers is another check's affair.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(plain) as secured:
            return _ask(secured, door)


def _ask(connection, door):
    pairs = {"user": door["user"], "database": door["database"]}
    words = b"".join(f"{key}\0{value}\0".encode() for key, value in pairs.items()) + b"\0"
    connection.sendall(struct.pack("!ii", 8 + len(words), _VERSION_3) + words)
    kind = _whole(connection, 1)
    if kind == b"E":
        return "refused"
    if kind != b"R":
        return f"something else ({kind!r})"
    (_, asked) = struct.unpack("!ii", _whole(connection, 8))
    return _ASKED.get(asked, f"way {asked}")


def main():
    answers = []
    for door in json.loads(sys.argv[1])["doors"]:
        try:
            said = knock(door)
        except OSError as error:
            said = f"silence ({error})"
        answers.append({**door, "said": said})
    print(json.dumps(answers))


main()
