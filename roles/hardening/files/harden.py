#!/usr/bin/python3 -I
"""Put kernel settings and mount options in force, and record what this host cannot set.

Reads /etc/holdfast/hardening.json (or stdin, when called with -); prints and, unless --dry-run,
records what it found. A dry run writes nothing. A container leaves to its machine what it cannot
set; anywhere else that is a failure (exit status 1).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

_WANTED = Path("/etc/holdfast/hardening.json")
_RECORD = Path("/var/lib/holdfast/hardening-unsettable.json")
_KERNEL = Path("/proc/sys")
_MODULES = Path("/proc/modules")
_FAILURE = "could not be set"


def _words(value):
    return str(value).split()


def _set_sysctl(name, wanted, *, dry_run):
    """Yield (setting, before, error) for each setting that is not as wanted."""
    places = sorted(_KERNEL.glob(name.replace(".", "/")))
    if not places:
        yield name, None, "this kernel does not have it"
    for place in places:
        setting = ".".join(place.relative_to(_KERNEL).parts)
        before = None
        try:
            before = place.read_text().strip()
            if _words(before) == _words(wanted):
                continue
            if dry_run:
                os.close(os.open(place, os.O_WRONLY))  # fails as writing would, and writes nothing
                yield setting, before, ""
                continue
            place.write_text(f"{wanted}\n")
            kept = _words(place.read_text()) == _words(wanted)
            yield setting, before, "" if kept else f"{_FAILURE}: the kernel keeps its value"
        except OSError as error:
            yield setting, before, f"{_FAILURE}: {error.strerror}"


def _mount_options(path):
    """The options of what is mounted at `path` last, or None."""
    options = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[4] == path:
            options = {*fields[5].split(","), *fields[-1].split(",")}
    return options


def _set_mount(path, wanted, *, dry_run):
    before = _mount_options(path)
    if before is not None and before >= set(wanted):
        return
    shown = None if before is None else ",".join(sorted(before))
    if dry_run:
        yield path, shown, ""
        return
    steps = [] if before is not None else [["mount", "--bind", path, path]]
    bind = "remount,bind," if before is None else "remount,"
    for step in [*steps, ["mount", "-o", bind + ",".join(wanted), path]]:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            yield path, shown, f"{_FAILURE}: {done.stderr.strip()}"
            return
    kept = (_mount_options(path) or set()) >= set(wanted)
    yield path, shown, "" if kept else f"{_FAILURE}: the mount keeps its options"


def _blocked_modules(names, *, container):
    loaded = set()
    if _MODULES.exists():  # a kernel may be built without modules
        names_loaded = (line.split(" ", 1)[0] for line in _MODULES.read_text().splitlines())
        loaded = {name.replace("_", "-") for name in names_loaded}
    for name in names:
        if container:
            yield name, None, "modules are loaded by the machine, which this container cannot bind"
        elif name.replace("_", "-") in loaded:
            yield name, "loaded", "it was loaded before; a reboot leaves it out"


def _refused():
    """Why the last run could not set what it found, by kind, wish, name, wanted and found."""
    try:
        entries = json.loads(_RECORD.read_text(encoding="utf-8"))["unsettable"]
    except (FileNotFoundError, ValueError):
        return {}
    return {tuple(entry.values()): reason for entry in entries if (reason := entry.pop("reason"))}


def main(*, dry_run, stdin=False):
    wanted = json.loads(sys.stdin.read() if stdin else _WANTED.read_text(encoding="utf-8"))
    # Some refusals show only by trying, which a dry run must not: a container's are remembered.
    refused = _refused() if dry_run and wanted["container"] else {}
    changed, unsettable = [], []

    def note(kind, wish, value, outcomes):
        for name, before, error in outcomes:
            entry = {"kind": kind, "wish": wish, "name": name, "wanted": value, "found": before}
            if reason := error or refused.get(tuple(entry.values())):
                unsettable.append({**entry, "reason": reason})
            else:
                changed.append(entry)

    for name, value in wanted["sysctl"].items():
        note("sysctl", name, str(value), _set_sysctl(name, value, dry_run=dry_run))
    for path, options in wanted["mounts"].items():
        note("mount", path, ",".join(options), _set_mount(path, options, dry_run=dry_run))
    note(
        "module",
        "modules",
        "not loaded",
        _blocked_modules(wanted["modules"], container=wanted["container"]),
    )

    result = {"container": wanted["container"], "unsettable": unsettable}
    if not dry_run:
        temporary = _RECORD.with_suffix(".new")
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o644)
        temporary.replace(_RECORD)
    print(json.dumps({**result, "changed": changed}))
    failed = [entry["name"] for entry in unsettable if entry["reason"].startswith(_FAILURE)]
    if failed and not wanted["container"]:
        print(
            f"Not in force: {', '.join(failed)}. The kernel refuses what hardening_sysctl and"
            " hardening_mounts wish for: correct them there, or give the host another kernel.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(dry_run="--dry-run" in sys.argv[1:], stdin="-" in sys.argv[1:]))
