"""Offers one old protocol version by a hand-made ClientHello and reports the server's first word.

A TLS library that cannot speak a version cannot prove that a server refuses it; this hello needs
no library. stdin of python3; argument: JSON {"offers": [{"address", "port", "name", "version"}]},
version one of SSLv3, TLSv1, TLSv1.1, TLSv1.2. Prints a JSON list in the same order:
{"alert": [level, description]}, {"server_hello": "0xMMmm"} or {"nothing": why}.
Record and handshake layout: RFC 6101 (SSLv3), RFC 5246 7.4.1.2; extensions: RFC 6066, RFC 8422.
"""

import json
import os
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

TIMEOUT = 8
VERSIONS = {"SSLv3": 0x0300, "TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303}
# Every suite an old server could choose: RSA, DHE and ECDHE with AES-CBC, 3DES and RC4, and for
# TLS 1.2 the GCM ones, so that only the version can be the reason of a refusal.
SUITES = [
    0xC02B,
    0xC02F,
    0xC02C,
    0xC030,
    0xC009,
    0xC013,
    0xC00A,
    0xC014,
    0xC008,
    0xC012,
    0xC007,
    0xC011,
    0x009E,
    0x009F,
    0x0033,
    0x0039,
    0x0016,
    0x009C,
    0x009D,
    0x002F,
    0x0035,
    0x000A,
    0x0005,
    0x0004,
    0x00FF,
]


def vector(data, width):
    return len(data).to_bytes(width, "big") + data


def extension(number, data):
    return struct.pack("!H", number) + vector(data, 2)


def client_hello(version, name):
    suites = b"".join(struct.pack("!H", suite) for suite in SUITES)
    body = struct.pack("!H", version) + os.urandom(32) + vector(b"", 1)
    body += vector(suites, 2) + vector(b"\0", 1)
    # SSLv3 knows no extensions; sent all the same, so that the hellos differ in the version only.
    extensions = extension(0, vector(b"\0" + vector(name.encode("ascii"), 2), 2))
    extensions += extension(10, vector(struct.pack("!HHH", 23, 24, 29), 2))
    extensions += extension(11, vector(b"\0", 1))
    extensions += extension(13, vector(struct.pack("!HHHH", 0x0403, 0x0804, 0x0401, 0x0503), 2))
    body += vector(extensions, 2)
    handshake = b"\x01" + vector(body, 3)
    return b"\x16" + struct.pack("!H", min(version, 0x0301)) + vector(handshake, 2)


def read(connection, size):
    received = b""
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionError(f"closed after {len(received)} of {size} bytes")
        received += piece
    return received


def answer(offer):
    try:
        with socket.create_connection((offer["address"], offer["port"]), TIMEOUT) as connection:
            connection.sendall(client_hello(VERSIONS[offer["version"]], offer["name"]))
            kind, _, length = struct.unpack("!BHH", read(connection, 5))
            payload = read(connection, length)
    except OSError as error:
        return {"nothing": f"{type(error).__name__}: {error}"}
    if kind == 21:
        return {"alert": [payload[0], payload[1]]}
    if kind == 22 and payload[0] == 2:
        return {"server_hello": f"0x{payload[4:6].hex()}"}
    return {"nothing": f"a record of type {kind}"}


with ThreadPoolExecutor(16) as pool:
    print(json.dumps(list(pool.map(answer, json.loads(sys.argv[1])["offers"]))))
