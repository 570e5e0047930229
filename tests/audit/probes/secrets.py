"""Search a host for its own secrets, wherever they would outlive a reboot or be read by others.

What is secret is read from where it may be: in memory, and sealed. Each value is then looked for
in every file that is no package's and not in memory, in every process's arguments and environment,
and in the journal; besides, whatever looks like a secret counts. A canary of the probe's own has to
be found in each of these places, or the search is blind.

Question: memory (folders), sealed (a folder). Answer: found [[where, what]], blind [place],
secrets (how many were looked for), files (how many were read), stored [file in the sealed folder].
Values are never told.
"""

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
_NO_FILES = {
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
    "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs",
    "securityfs", "sysfs", "tracefs",
}  # fmt: skip
_JOURNAL = "/var/log/journal"
_SECRET_KEYS = {"password", "secret", "secret_id", "token"}
_SHORTEST = 16
_PIECE, _OVERLAP = 1 << 22, 4096
_LOOKS = {
    "a private key": re.compile(
        rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----\s+[A-Za-z0-9+/=:, \n-]{40}"
    ),
    "a token of Vault": re.compile(rb"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
    "a key of AWS": re.compile(rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
}
# What each of these cannot do without: far quicker to look for.
_HINTS = {
    "a private key": (b"PRIVATE KEY",),
    "a token of Vault": (b"hvs.", b"hvb.", b"hvr."),
    "a key of AWS": (b"AKIA", b"ASIA"),
}


def values(name, content):
    """What is secret in a file that holds secrets: single lines, by what they are."""
    text = content.decode(errors="replace")
    if "PRIVATE KEY-----" in text:
        body = text.split("PRIVATE KEY-----", 2)[1].split()
        # The first line says mostly of what kind the key is.
        yield max(body[1:-1] or body, key=len).encode(), f"the key in {name}"
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            for key, value in found.items():
                if key in _SECRET_KEYS and isinstance(value, str):
                    yield value.encode(), f"the {key} in {name}"
            return
    if "-----" not in text and len(text.split()) == 1:
        yield text.strip().encode(), f"what is in {name}"


def known(memory, sealed):
    """Every secret that this host has: by value, where it belongs."""
    found = {}
    for folder in memory:
        for path in Path(folder).rglob("*"):
            if path.is_file():
                with contextlib.suppress(FileNotFoundError):
                    found.update(values(path, path.read_bytes()))
    for path in stored(sealed):
        opened = subprocess.run(
            ["systemd-creds", "decrypt", "--name=", path, "-"],  # whatever it was named
            capture_output=True,
            check=True,
        )
        found.update(values(path, opened.stdout))
    return {value: what for value, what in found.items() if len(value) >= _SHORTEST}


def stored(sealed):
    folder = Path(sealed)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def seen_in(data, needles, *, program=False):
    """What of the needles, and of what looks like a secret, is in there."""
    for value, what in needles.items():
        if data.find(value) >= 0:
            yield what
    if program:
        return
    for what, pattern in _LOOKS.items():
        if any(data.find(hint) >= 0 for hint in _HINTS[what]) and pattern.search(data):
            yield what


def packaged():
    """Every path that a package brought, outside of /etc."""
    found = set()
    for listing in Path("/var/lib/dpkg/info").glob("*.list"):
        found.update(listing.read_text(errors="surrogateescape").splitlines())
    # Merged: /lib/x is listed, /usr/lib/x is where it is.
    found |= {f"/usr{path}" for path in found if path.startswith(("/bin", "/lib", "/sbin"))}
    return {path for path in found if not path.startswith("/etc/")}


def roots():
    """Where file systems begin that outlive a reboot: a folder for each device."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place = Path(before.split()[4].encode().decode("unicode_escape"))
        if after.split()[0] not in _MEMORY | _NO_FILES and place.exists():
            found.setdefault(place, place.lstat().st_dev)
    return found


def files(places, skipped):
    """Every regular file of these file systems, each once."""
    once = set()
    for place, device in places.items():
        if not place.is_dir():
            yield str(place)
            continue
        folders = [str(place)]
        while folders:
            with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.path == _JOURNAL:
                        continue
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        if status.st_dev == device:
                            folders.append(entry.path)
                    elif (
                        entry.is_file(follow_symlinks=False)
                        and status.st_size
                        and (status.st_dev, status.st_ino) not in once
                        and entry.path not in skipped
                    ):
                        once.add((status.st_dev, status.st_ino))
                        yield entry.path


def search_files(needles):
    read = 0
    for path in files(roots(), packaged()):
        with contextlib.suppress(FileNotFoundError), Path(path).open("rb", buffering=0) as stream:
            read += 1
            for what in search_stream(stream, needles):
                yield path, what
    yield None, read


def search_stream(stream, needles):
    """What is in there, piece by piece. Not mapped: a file may shrink while it is read."""
    rest = b""
    program = False
    while block := stream.read(_PIECE):
        program = program or (not rest and block.startswith(b"\x7fELF"))
        yield from seen_in(rest + block, needles, program=program)
        rest = block[-_OVERLAP:]


def search_processes(needles):
    for process in Path("/proc").glob("[0-9]*"):
        for kind, words in (("cmdline", "the arguments"), ("environ", "the environment")):
            try:
                data = (process / kind).read_bytes()
                name = (process / "comm").read_text().strip()
            except OSError:  # ended meanwhile, or a thread of the kernel
                continue
            for what in seen_in(data, needles):
                yield f"{words} of {name}", what


def search_journal(needles):
    with subprocess.Popen(
        ["journalctl", "--all", "--output=export", "--no-pager"], stdout=subprocess.PIPE
    ) as reading:
        for what in search_stream(reading.stdout, needles):
            yield "the journal", what
    if reading.returncode != 0:
        raise RuntimeError(f"journalctl ended with {reading.returncode}")


@contextlib.contextmanager
def planted(canary):
    """Put the canary wherever a secret must not be."""
    subprocess.run(["logger", "--tag", "holdfast-audit", f"looking for {canary}"], check=True)
    subprocess.run(["journalctl", "--sync"], check=True)
    waiting = [sys.executable, "-c", "import time; print(flush=True); time.sleep(300)"]
    with tempfile.NamedTemporaryFile(dir="/var/lib", prefix=".holdfast-audit-") as file:
        file.write(canary.encode())
        file.flush()
        with subprocess.Popen(
            [*waiting, canary], env={"CANARY": canary}, stdout=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            try:
                yield file.name
            finally:
                process.kill()


def main():
    question = json.loads(sys.argv[1])
    needles = known(question["memory"], question["sealed"])
    count = len(needles)
    canary = f"canary-{secrets.token_hex(16)}"
    needles[canary.encode()] = canary
    found, read = set(), 0
    with planted(canary) as file:
        for where, what in search_files(needles):
            if where is None:
                read = what
            else:
                found.add((where, what))
        found.update(search_processes(needles))
        found.update(search_journal(needles))
    places = {where for where, what in found if what == canary}
    wanted = {file, "the journal"}
    blind = sorted(wanted - places)
    for words in ("the arguments", "the environment"):
        if not any(place.startswith(words) for place in places):
            blind.append(words)
    print(
        json.dumps(
            {
                "found": sorted([where, what] for where, what in found if what != canary),
                "blind": blind,
                "secrets": count,
                "files": read,
                "stored": [path.name for path in stored(question["sealed"])],
            }
        )
    )


main()
