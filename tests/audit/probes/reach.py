"""Tries to open TCP connections as several accounts: does the host let them leave, do they arrive?

A packet that the host's own output rules drop or reject comes back to its sender as EPERM, the
kernel's answer to that verdict, whoever would have answered. So an opening is first sent bare: for
that nobody needs to listen. Only then a connection is tried.

stdin of python3, as root; argument: JSON {"tries": [{"user", "address", "port"}], "seconds": how
long to wait for an answer; 0 tries no connection}. Prints a JSON list in the same order:
"kept" (the host's own rules), "no route", "sent" (where no connection was tried), "open",
"refused" (it arrived; a reset came back), "silent" (nothing came back), or "error: why".
"""

import ctypes
import errno
import functools
import json
import os
import pwd
import selectors
import socket
import struct
import sys
import time

SYN = 2
UNROUTABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL}
LIBC = ctypes.CDLL(None, use_errno=True)


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def as_account(user, kind, protocol, version):
    """Make a socket that belongs to an account, as `meta skuid` sees it.

    Only the identity that new files and sockets are stamped with changes, so that the right to
    send bare packets stays.
    """
    wanted = pwd.getpwnam(user).pw_uid
    LIBC.setfsuid(wanted)
    try:
        made = socket.socket(version, kind, protocol)
    finally:
        LIBC.setfsuid(0)
    if os.fstat(made.fileno()).st_uid != wanted:
        raise SystemExit(f"a socket could not be made to belong to {user}")
    return made


@functools.cache
def bare(user, version):
    return as_account(user, socket.SOCK_RAW, socket.IPPROTO_TCP, version)


@functools.cache
def source(address):
    with socket.socket(family(address), socket.SOCK_DGRAM) as route:
        route.connect((address, 9))
        return route.getsockname()[0]


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def opening(address, port):
    """Build a TCP header that asks for a connection (RFC 9293, section 3.1)."""
    version = family(address)
    fields = [40000, port, int.from_bytes(os.urandom(4), "big"), 0, 5 << 12 | SYN, 1024]
    header = struct.pack("!HHIIHHHH", *fields, 0, 0)
    ends = socket.inet_pton(version, source(address)) + socket.inet_pton(version, address)
    if version == socket.AF_INET:
        ends += struct.pack("!HH", 6, len(header))
    else:
        ends += struct.pack("!II", len(header), 6)
    return struct.pack("!HHIIHHHH", *fields, checksum(ends + header), 0)


def leaves(entry):
    address = entry["address"]
    try:
        packet = opening(address, entry["port"])
        bare(entry["user"], family(address)).sendto(packet, (address, 0))
    except PermissionError:
        return "kept"
    except OSError as error:
        return "no route" if error.errno in UNROUTABLE else f"error: {error}"
    return "sent"


def arrived(code):
    if code == 0:
        return "open"
    if code == errno.ECONNREFUSED:
        return "refused"
    return "silent" if code in UNROUTABLE | {errno.ETIMEDOUT} else f"error: {os.strerror(code)}"


def main():
    question = json.loads(sys.argv[1])
    tries = question["tries"]
    answers = [leaves(entry) for entry in tries]
    waiting = selectors.DefaultSelector()
    for index, entry in enumerate(tries if question["seconds"] else ()):
        if answers[index] != "sent":
            continue
        answers[index] = "silent"
        connection = as_account(entry["user"], socket.SOCK_STREAM, 0, family(entry["address"]))
        connection.settimeout(0)
        code = connection.connect_ex((entry["address"], entry["port"]))
        if code == errno.EINPROGRESS:
            waiting.register(connection, selectors.EVENT_WRITE, index)
        else:
            answers[index] = arrived(code)
            connection.close()
    deadline = time.monotonic() + question["seconds"]
    while waiting.get_map() and time.monotonic() < deadline:
        for key, _ in waiting.select(max(0, deadline - time.monotonic())):
            code = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            answers[key.data] = arrived(code)
            waiting.unregister(key.fileobj)
            key.fileobj.close()
    print(json.dumps(answers))


main()
