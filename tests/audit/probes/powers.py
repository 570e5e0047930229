"""Finds the programs that run with rights their caller does not have.

stdin of python3, as root; looks at every mount that honours such rights. Prints JSON {"setuid":
[files with the setuid or setgid bit], "capabilities": {path: the capabilities' names or numbers}}.
"""

import json
import os
import re
import stat
from pathlib import Path

NAMES = {10: "net_bind_service", 12: "net_admin", 13: "net_raw", 21: "sys_admin"}
VIRTUAL = {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs", "tracefs", "bpf"}


def mounts():
    """Return where the mounts are that are looked at."""
    found = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, source = line.partition(" - ")
        path, options = fields.split()[4:6]
        both = {*options.split(","), *source.split()[2].split(",")}
        if "nosuid" not in both and source.split()[0] not in VIRTUAL:
            found.add(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), path))
    return found


def files(top):
    """Yield each regular file of one mount with its mode."""
    waiting = [top]
    while waiting:
        path = waiting.pop()
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                yield path, mode
            elif stat.S_ISDIR(mode) and (path == top or not os.path.ismount(path)):
                waiting += [entry.path for entry in os.scandir(path)]
        except FileNotFoundError:
            continue  # it went away meanwhile


def capabilities(path):
    try:
        value = os.getxattr(path, "security.capability", follow_symlinks=False)
    except OSError:  # it has none, or the file system knows none
        return []
    # linux/capability.h: a head, then permitted and inheritable, low words before high ones.
    words = [int.from_bytes(value[at : at + 4], "little") for at in range(4, 20, 4)]
    bits = words[0] | words[1] | (words[2] | words[3]) << 32
    return [NAMES.get(bit, str(bit)) for bit in range(64) if bits >> bit & 1]


setuid, capable = set(), {}
for mount in mounts():
    for path, mode in files(mount):
        if mode & (stat.S_ISUID | stat.S_ISGID):
            setuid.add(path)
        if held := capabilities(path):
            capable[path] = held
print(json.dumps({"setuid": sorted(setuid), "capabilities": capable}))
