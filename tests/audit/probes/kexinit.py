"""Reads the algorithms that an ssh server offers, before any key is exchanged.

They stand in clear in its first packet (RFC 4253, sections 6 and 7.1), so that no client with
weak algorithms is needed to find weak ones. stdin of python3; argument: JSON {"address", "port"}.
Prints the name-lists, both directions together, as JSON.
"""

import json
import socket
import struct
import sys

TIMEOUT = 8
KEXINIT = 20
LISTS = (
    "kex_algorithms",
    "server_host_key_algorithms",
    # The rest has one list for each direction.
    *("encryption_algorithms",) * 2,
    *("mac_algorithms",) * 2,
    *("compression_algorithms",) * 2,
)


def main():
    question = json.loads(sys.argv[1])
    address = (question["address"], question["port"])
    with socket.create_connection(address, TIMEOUT) as connection, connection.makefile("rwb") as io:
        while not io.readline(256).startswith(b"SSH-2.0-"):
            pass
        io.write(b"SSH-2.0-holdfast_audit\r\n")
        io.flush()
        length, padding = struct.unpack("!IB", io.read(5))
        payload = io.read(length - 1)[: length - 1 - padding]
    if payload[0] != KEXINIT:
        raise SystemExit(f"the first packet is {payload[0]}, not SSH_MSG_KEXINIT")
    rest = payload[17:]
    found = {}
    for name in LISTS:
        (size,) = struct.unpack("!I", rest[:4])
        words = rest[4 : 4 + size].decode("ascii")
        found[name] = sorted({*found.get(name, ()), *filter(None, words.split(","))})
        rest = rest[4 + size :]
    print(json.dumps(found))


main()
