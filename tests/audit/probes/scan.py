"""Finds every TCP port that answers, by sending an opening to each of the 65,535 of each address.

What has answered is not asked again in the next pass; a second pass is for networks that lose
packets. An address counts as seen if it answers an echo request or any opening: the silence of an
address that is not seen proves nothing. One that this host cannot send to is told with the reason.

stdin of python3, as root; argument: JSON {"addresses": [], "rate": packets a second, "passes"}.
Prints JSON {address: {"open": [ports], "seen": bool, "why": not seen, or ""}}.
Headers: RFC 9293 3.1, RFC 792, RFC 4443.
"""

import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import sys
import threading
import time

SETTLE_SECONDS = 0.8
CHUNK = 256
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
SYN_ACK = 0x12
PORTS = 65536
# What the kernel hands over (classic BPF): flags SYN and ACK, to our port. An IPv4 packet comes
# with its IP header, whose length is put into the index register first.
FLAGS, TO = 13, 2
NOTHING = (0x06, 0, 0, 0)


def only_answers(port, version):
    index = [(0xB1, 0, 0, 0)] if version == 4 else [(0x01, 0, 0, 0)]
    return [
        *index,
        (0x50, 0, 0, FLAGS),
        (0x54, 0, 0, SYN_ACK),
        (0x15, 0, 3, SYN_ACK),
        (0x48, 0, 0, TO),
        (0x15, 0, 1, port),
        (0x06, 0, 0, 0xFFFF),
        NOTHING,
    ]


def attach(receiver, program):
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    held = ctypes.create_string_buffer(code)
    head = struct.pack("HL", len(program), ctypes.addressof(held))
    receiver.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)


def folded(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def words(data):
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


class Family:
    """One address family: a port of ours, a raw socket to send from, one to hear answers on."""

    def __init__(self, version):
        self.version = version
        self.family = socket.AF_INET if version == 4 else socket.AF_INET6
        # A port that nobody else gets meanwhile.
        self.reserved = socket.socket(self.family, socket.SOCK_STREAM)
        self.reserved.bind(("", 0))
        self.port = self.reserved.getsockname()[1]
        self.sender = socket.socket(self.family, socket.SOCK_RAW, socket.IPPROTO_TCP)
        attach(self.sender, [NOTHING])
        self.receiver = socket.socket(self.family, socket.SOCK_RAW, socket.IPPROTO_TCP)
        self.receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        attach(self.receiver, only_answers(self.port, version))

    def packed(self, address):
        return socket.inet_pton(self.family, address)

    def source(self, address):
        with socket.socket(self.family, socket.SOCK_DGRAM) as route:
            route.connect((address, 9))
            return route.getsockname()[0]

    def openings(self, address):
        """Return a function from a port to the packet that asks it for a connection."""
        ends = self.packed(self.source(address)) + self.packed(address)
        sequence = int.from_bytes(os.urandom(4), "big")
        packet = bytearray(struct.pack("!HHIIHHHH", self.port, 0, sequence, 0, 0x5002, 1024, 0, 0))
        base = words(ends) + 6 + len(packet) + words(bytes(packet))

        def to(port):
            struct.pack_into("!H", packet, 2, port)
            struct.pack_into("!H", packet, 16, ~folded(base + port) & 0xFFFF)
            return packet

        return to

    def heard(self):
        """Return (address, port) of one answer."""
        data, sender = self.receiver.recvfrom(256)
        head = (data[0] & 15) * 4 if self.version == 4 else 0
        return sender[0], int.from_bytes(data[head : head + 2], "big")

    def echoes(self, addresses, seconds):
        """Return the addresses that answer an echo request."""
        ask, answer, protocol = (8, 0, 1) if self.version == 4 else (128, 129, 58)
        body = struct.pack("!BBHHH", ask, 0, 0, self.port, 1)
        check = ~folded(words(body)) & 0xFFFF  # IPv6's is the kernel's to compute
        body = struct.pack("!BBHHH", ask, 0, check, self.port, 1)
        found = set()
        with socket.socket(self.family, socket.SOCK_RAW, protocol) as echo:
            for address in addresses:
                with contextlib.suppress(OSError):  # no answer says as much
                    echo.sendto(body, (address, 0))
            deadline = time.monotonic() + seconds
            while found < set(addresses) and time.monotonic() < deadline:
                if select.select([echo], [], [], 0.1)[0]:
                    data, sender = echo.recvfrom(256)
                    head = (data[0] & 15) * 4 if self.version == 4 else 0
                    if data[head] == answer and data[head + 4 : head + 6] == body[4:6]:
                        found.add(sender[0])
        return found


def scan(addresses, rate, passes):
    families, unsendable = {}, {}
    for address in addresses:
        version = 6 if ":" in address else 4
        try:
            if version not in families:
                families[version] = (Family(version), [])
            families[version][0].source(address)
        except OSError as error:
            unsendable[address] = f"it cannot send there: {error.strerror or error}"
        else:
            families[version][1].append(address)
    found = {address: set() for address in addresses}
    done = threading.Event()

    def listen():
        receivers = {family.receiver: family for family, _ in families.values()}
        while not done.is_set():
            for ready in select.select(list(receivers), [], [], 0.1)[0]:
                address, port = receivers[ready].heard()
                if address in found:
                    found[address].add(port)

    listener = threading.Thread(target=listen)
    listener.start()
    seen = {a for family, its in families.values() for a in family.echoes(its, 1.0)}
    for _ in range(passes):
        send_all(families.values(), found, rate, unsendable)
        time.sleep(SETTLE_SECONDS)
    done.set()
    listener.join()
    return {
        address: {
            "open": sorted(ports),
            "seen": address not in unsendable and (address in seen or bool(ports)),
            "why": unsendable.get(address)
            or ("" if address in seen or ports else "it gets no sign of life"),
        }
        for address, ports in found.items()
    }


def send_all(families, found, rate, unsendable):
    begun, sent = time.monotonic(), 0
    for family, addresses in families:
        ways = [
            (address, (address, 0), family.openings(address))
            for address in addresses
            if address not in unsendable
        ]
        for first in range(0, PORTS, CHUNK):
            for address, place, to in ways:
                if address in unsendable:
                    continue
                answered = found[address]
                try:
                    for port in range(max(first, 1), first + CHUNK):
                        if port not in answered:
                            family.sender.sendto(to(port), place)
                except OSError as error:
                    unsendable[address] = f"it cannot send there: {error.strerror or error}"
                sent += CHUNK
                ahead = sent / rate - (time.monotonic() - begun)
                if ahead > 0:
                    time.sleep(ahead)


question = json.loads(sys.argv[1])
print(json.dumps(scan(question["addresses"], question["rate"], question["passes"])))
