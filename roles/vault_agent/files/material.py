#!/usr/bin/python3
"""Say which services of this host will run out of what they have from Vault, and end with 1.

A timer runs this: its failure is told to people long before a certificate has ended.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

SETTINGS = Path("/etc/holdfast/vault.json")
MATERIAL = Path("/run/holdfast")


def life_left(pem):
    """Return the share of the first certificate's life that is left, in percent, and its end."""
    dates = subprocess.run(
        ["openssl", "x509", "-noout", "-startdate", "-enddate", "-dateopt", "iso_8601"],
        input=pem,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    begin, end = (
        datetime.fromisoformat(line.partition("=")[2].strip().replace("Z", "+00:00"))
        for line in dates.splitlines()
    )
    left = end - datetime.now(UTC)
    return 100 * left / (end - begin), end


def findings(settings):
    for service, wanted in settings["services"].items():
        unit = f"holdfast-agent-{service}.service"
        state = subprocess.run(
            ["systemctl", "is-active", unit], capture_output=True, text=True, check=False
        ).stdout.strip()
        if state != "active":
            yield (
                f"{unit} is {state}: it gets nothing new from Vault; its journal says why"
                f" (journalctl -u {unit})."
            )
        if not wanted["certificate"]:
            continue
        path = MATERIAL / service / "tls.pem"
        try:
            percent, end = life_left(path.read_text())
        except (OSError, subprocess.CalledProcessError):
            yield f"{path} is not there or holds no certificate; start {unit}."
            continue
        if percent < settings["alarm_percent"]:
            yield f"The certificate of {service} was not renewed: it ends at {end:%F %R} UTC."


def main():
    found = list(findings(json.loads(SETTINGS.read_text())))
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
