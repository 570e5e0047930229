#!/usr/bin/python3 -I
"""Watch what stops Vault, or locks people out of it. Status 1: people are needed.

state         print unreachable, uninitialised, sealed or unsealed
tell          say what Vault waits for, if it waits
audit-disk    less of the audit log's disk is free than should be; Vault stops when it is full
certificate   the certificate that Vault shows is not good for long enough
seal          Vault has been sealed or silent for too long, or lost its data

It reads its limits from /etc/vault.d/watch.json.
"""

import datetime as dt
import json
import os
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

SETTINGS = Path("/etc/vault.d/watch.json")
AUTHORITY = Path("/etc/vault.d/operators-ca.crt")
AUDIT = Path("/var/log/vault")
COMPLETE = Path("/var/lib/holdfast/vault/complete")
ADDRESS = ("127.0.0.1", 8200)
_TIMEOUT = 10  # seconds
_MIB = 1024**2


class Alarm(Exception):
    """What people have to know, with the fix."""


def _trust():
    return ssl.create_default_context(cafile=str(AUTHORITY))


def state():
    """What Vault says of itself: a word, and the answer of sys/seal-status."""
    url = "https://{}:{}/v1/sys/seal-status".format(*ADDRESS)
    try:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_trust())
        )
        with opener.open(url, timeout=_TIMEOUT) as answer:
            found = json.load(answer)
        if not found["initialized"]:
            return "uninitialised", found
        return ("sealed" if found["sealed"] else "unsealed"), found
    except (OSError, ValueError, KeyError, TypeError) as error:
        return "unreachable", {"reason": str(error)}


def _waits(word, found):
    """A sentence on what Vault waits for; None if it does not wait."""
    if word == "sealed":
        return (
            f"Vault is sealed: {found.get('t')} of {found.get('n')} operators open it with "
            f"`holdfast vault unseal` ({found.get('progress', 0)} have)."
        )
    if word == "uninitialised" and COMPLETE.exists():
        return (
            "Vault holds no data on this node, though the ceremony is complete: if the node is "
            "new, unseal the other nodes and then this one with `holdfast vault unseal`; "
            "otherwise restore a backup."
        )
    if word == "uninitialised":
        return "Vault is not initialised: `holdfast vault init` begins the ceremony."
    if word == "unreachable":
        return f"Vault does not answer ({found['reason']}): `journalctl --unit=vault` shows why."
    return None


def audit_disk(settings):
    """Raise Alarm when the disk of the audit log is filling up."""
    disk = os.statvfs(AUDIT)
    free, percent = disk.f_bavail * disk.f_frsize, 100 * disk.f_bavail / disk.f_blocks
    wanted_mib, wanted_percent = settings["audit_free_mib"], settings["audit_free_percent"]
    if free < wanted_mib * _MIB or percent < wanted_percent:
        raise Alarm(
            f"{free // _MIB} MiB ({percent:.0f} %) are free for Vault's audit log, less than "
            f"{wanted_mib} MiB or {wanted_percent} %, and Vault stops when there is nothing: make "
            f"room on the disk of {AUDIT}, after copying what you remove."
        )
    return f"{free // _MIB} MiB ({percent:.0f} %) are free for the audit log."


def certificate(settings):
    """Raise Alarm when the listener's certificate has to be replaced."""
    fix = "have an operator sign a new one by running playbooks/site.yml."
    try:
        with (
            socket.create_connection(ADDRESS, timeout=_TIMEOUT) as plain,
            _trust().wrap_socket(plain, server_hostname=ADDRESS[0]) as shown,
        ):
            ends = ssl.cert_time_to_seconds(shown.getpeercert()["notAfter"])
    except ssl.SSLCertVerificationError as error:
        raise Alarm(
            f"Nobody can trust the certificate of Vault's listener ({error.verify_message}): {fix}"
        ) from error
    except OSError as error:
        raise Alarm(_waits("unreachable", {"reason": str(error)})) from error
    left = (ends - time.time()) / 86400
    day = dt.datetime.fromtimestamp(ends, tz=dt.UTC).date()
    if left < settings["certificate_days"]:
        raise Alarm(
            f"The certificate of Vault's listener ends on {day}, in {left:.0f} days, and nothing "
            f"reaches Vault afterwards: {fix}"
        )
    return f"The listener's certificate ends on {day}."


def seal(settings):
    """Raise Alarm when Vault has not been at work for a while."""
    word, found = state()
    waits = _waits(word, found)
    since = Path(os.environ["RUNTIME_DIRECTORY"]) / "since"
    if waits is None or (word == "uninitialised" and not COMPLETE.exists()):
        since.unlink(missing_ok=True)
        return waits or "Vault is unsealed."
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    if not since.exists():
        since.write_text(str(now))
    minutes = (now - float(since.read_text())) / 60
    if minutes >= settings["sealed_minutes"]:
        raise Alarm(f"For {minutes:.0f} minutes: {waits}")
    return waits


_WATCHES = {"audit-disk": audit_disk, "certificate": certificate, "seal": seal}


def main(argv):
    """Run one of the commands above."""
    match argv:
        case ["state"]:
            print(state()[0])
        case ["tell"]:
            if waits := _waits(*state()):
                print(f"<4>{waits}", file=sys.stderr)
        case [name] if name in _WATCHES:
            try:
                print(_WATCHES[name](json.loads(SETTINGS.read_text(encoding="utf-8"))))
            except Alarm as alarm:
                print(f"<3>{alarm}", file=sys.stderr)
                return 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
