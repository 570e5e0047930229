"""Tries to send packets as several accounts: does the host let them leave, do they arrive?

A packet that the host's own output rules drop or reject comes back to its sender as EPERM, the
kernel's answer to that verdict, whoever would have answered. So an opening is first sent bare: for
that nobody needs to listen. Only then a connection is tried.

stdin of python3, as root; argument: JSON {"tries": [{"user", "address", "port", "protocol": "tcp",
"udp" or "icmp" (an echo request; its port means nothing)}], "seconds": how long to wait for an
answer; 0 tries no connection; only tcp knows one}. Prints a JSON list in the same order: "no
account", "kept" (the host's own rules), "no route", "sent" (where no connection was tried), "open",
"refused" (it arrived; a reset came back), "silent" (nothing came back), or "error: why".
Headers: RFC 9293 3.1, RFC 768, RFC 792, RFC 4443.
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


def number(protocol, version):
    if protocol == "icmp":
        return socket.IPPROTO_ICMP if version == socket.AF_INET else socket.IPPROTO_ICMPV6
    return {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}[protocol]


@functools.cache
def bare(user, version, protocol):
    return as_account(user, socket.SOCK_RAW, number(protocol, version), version)


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


def opening(protocol, address, port):
    """Build a TCP header that asks for a connection, an empty UDP packet, or an echo request."""
    version = family(address)
    if protocol == "tcp":
        fields = [40000, port, int.from_bytes(os.urandom(4), "big"), 0, 5 << 12 | SYN, 1024]
        layout, fields = "!HHIIHHHH", [*fields, 0, 0]
        place = 6
    elif protocol == "udp":
        layout, fields, place = "!HHHH", [40000, port, 8, 0], 3
    else:
        kind = 8 if version == socket.AF_INET else 128
        layout, fields, place = "!BBHHH", [kind, 0, 0, 40000, 1], 2
    ends = b""
    if protocol != "icmp":  # IPv6's checksum of an echo request is the kernel's to compute
        length = struct.calcsize(layout)
        ends = socket.inet_pton(version, source(address)) + socket.inet_pton(version, address)
        ends += struct.pack("!II", length, number(protocol, version))
    fields[place] = checksum(ends + struct.pack(layout, *fields))
    return struct.pack(layout, *fields)


def leaves(entry):
    address = entry["address"]
    try:
        packet = opening(entry["protocol"], address, entry["port"])
        bare(entry["user"], family(address), entry["protocol"]).sendto(packet, (address, 0))
    except KeyError:
        return "no account"
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
        if answers[index] != "sent" or entry["protocol"] != "tcp":
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
