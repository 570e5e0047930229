"""Knock at PostgreSQL as a client does, without a library that would refuse to ask the wrong way.

Arguments: address, user, database, `tls` or `plain`. Prints what the server answers first, as
`asks for SCRAM`, or its refusal.
"""

import socket
import ssl
import struct
import sys


def knock(address, user, database, *, tls):
    """Return the first answer to a start message."""
    with socket.create_connection((address, 5432), timeout=10) as plain:
        if not tls:
            return _first_answer(plain, user, database)
        plain.sendall(struct.pack("!ii", 8, 80877103))
        assert plain.recv(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(plain) as stream:
            return _first_answer(stream, user, database)


def _first_answer(stream, user, database):
    words = ["user", user, "database", database, ""]
    body = struct.pack("!i", 196608) + b"".join(word.encode() + b"\0" for word in words)
    stream.sendall(struct.pack("!i", len(body) + 4) + body)
    with stream.makefile("rb") as answer:
        kind = answer.read(1)
        (length,) = struct.unpack("!i", answer.read(4))
        rest = answer.read(length - 4)
    if kind == b"E":
        fields = {part[:1]: part[1:].decode() for part in rest.split(b"\0") if part}
        return fields[b"M"]
    (number,) = struct.unpack("!i", rest[:4])
    return {0: "lets in", 3: "asks for a password in clear", 10: "asks for SCRAM"}[number]


if __name__ == "__main__":
    print(knock(*sys.argv[1:4], tls=sys.argv[4] == "tls"))
