"""Tries TCP connections as several accounts and says what came of each.

stdin of python3, as root; argument: JSON {"tries": [{"user", "address", "port"}], "seconds"}.
Prints a JSON list in the same order: "open", "refused" (the packet arrived: its answer was a
reset), "blocked" (no answer, or a prohibition), or "error: why".
"""

import errno
import json
import os
import pwd
import selectors
import socket
import sys
import time

PROHIBITED = {errno.EPERM, errno.EACCES, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT}


def begin(attempt):
    family = socket.AF_INET6 if ":" in attempt["address"] else socket.AF_INET
    account = pwd.getpwnam(attempt["user"])
    # The firewall sees who made the socket.
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(0)
        return connection, connection.connect_ex((attempt["address"], attempt["port"]))
    finally:
        os.seteuid(0)
        os.setegid(0)


def verdict(code):
    if code == 0:
        return "open"
    if code == errno.ECONNREFUSED:
        return "refused"
    if code in PROHIBITED:
        return "blocked"
    return f"error: {os.strerror(code)}"


def main():
    question = json.loads(sys.argv[1])
    answers = [None] * len(question["tries"])
    waiting = selectors.DefaultSelector()
    for index, attempt in enumerate(question["tries"]):
        connection, code = begin(attempt)
        if code == errno.EINPROGRESS:
            waiting.register(connection, selectors.EVENT_WRITE, index)
        else:
            answers[index] = verdict(code)
            connection.close()
    deadline = time.monotonic() + question["seconds"]
    while waiting.get_map() and time.monotonic() < deadline:
        for key, _ in waiting.select(max(0, deadline - time.monotonic())):
            answers[key.data] = verdict(key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            waiting.unregister(key.fileobj)
            key.fileobj.close()
    print(json.dumps([answer or "blocked" for answer in answers]))


main()
