"""Offers TCP openings to the host's own firewall as several accounts: does it let them leave?

Nobody needs to listen, and nothing needs to answer: a packet that the output chain drops comes
back to its sender as EPERM (the kernel's answer to a verdict of drop), one that it accepts is
sent. stdin of python3, as root; argument: JSON {"tries": [{"user", "address", "port"}]}. Prints a
JSON list in the same order: "sent", "blocked" or "error: why".
"""

import ctypes
import errno
import json
import os
import pwd
import socket
import struct
import sys

SYN = 2
LIBC = ctypes.CDLL(None, use_errno=True)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def opening(family, source, target, port):
    """Build a TCP header that asks for a connection (RFC 9293, section 3.1)."""
    fields = [40000, port, int.from_bytes(os.urandom(4), "big"), 0, 5 << 12 | SYN, 1024]
    bare = struct.pack("!HHIIHHHH", *fields, 0, 0)
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    form = "!HH" if family == socket.AF_INET else "!II"
    values = (6, len(bare)) if family == socket.AF_INET else (len(bare), 6)
    return struct.pack("!HHIIHHHH", *fields, checksum(ends + struct.pack(form, *values) + bare), 0)


def attempt(user, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as route:
        route.connect((address, port))
        source = route.getsockname()[0]
    account = pwd.getpwnam(user)
    # Only the identity that files and sockets are stamped with changes; the right to send raw
    # packets stays. It is what `meta skuid` compares.
    LIBC.setfsuid(account.pw_uid)
    try:
        sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
    finally:
        LIBC.setfsuid(0)
    with sender:
        if os.fstat(sender.fileno()).st_uid != account.pw_uid:
            return f"error: the socket does not belong to {user}"
        try:
            sender.sendto(opening(family, source, address, port), (address, 0))
        except PermissionError:
            return "blocked"
    return "sent"


def tried(entry):
    try:
        return attempt(entry["user"], entry["address"], entry["port"])
    except OSError as error:
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
            return "no route"
        return f"error: {error}"


print(json.dumps([tried(entry) for entry in json.loads(sys.argv[1])["tries"]]))
