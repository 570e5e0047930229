"""What role `certificates` asks: whether a listener's certificate is as wanted, and for a new one.

Asking needs no key; signing opens the operators' authority by the PGP key of who sits here.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from holdfast.errors import Error
from holdfast.vault.at_hand import somebody
from holdfast.vault.authority import certificate, unlock

if TYPE_CHECKING:
    from collections.abc import Sequence


def why_renew(
    issuer: x509.Certificate,
    current: bytes,
    *,
    names: Sequence[str],
    addresses: Sequence[str],
    reserve: timedelta,
) -> str | None:
    """Tell why the PEM certificate `current` has to be replaced, or None when it is as wanted.

    `reserve` is how long it must still be valid. An empty `current` is one that does not exist.
    """
    if not current.strip():
        return "there is none"
    try:
        found = x509.load_pem_x509_certificate(current)
        found.verify_directly_issued_by(issuer)
        present = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return "it is not one of the operators' authority"
    if sorted(present.get_values_for_type(x509.DNSName)) != sorted(names):
        return "its names are not those of the inventory"
    if set(present.get_values_for_type(x509.IPAddress)) != {ip_address(one) for one in addresses}:
        return "its addresses are not those of the inventory"
    if found.not_valid_after_utc - datetime.now(UTC) < reserve:
        return f"it ends on {found.not_valid_after_utc:%Y-%m-%d}"
    return None


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m holdfast.vault.signing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check", help='print {"renew": REASON or null} for the certificate on standard input'
    )
    check.add_argument("--reserve-days", type=int, required=True, help="least remaining validity")
    sign = commands.add_parser("sign", help="sign the request on standard input")
    sign.add_argument("--days", type=int, required=True, help="validity")
    for command in (check, sign):
        command.add_argument(
            "--folder", type=Path, required=True, help="vault/ in the installation's folder"
        )
        command.add_argument("--name", action="append", required=True, help="a DNS name")
        command.add_argument("--address", action="append", default=[], help="an IP address")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 1 is an Error, told on stderr."""
    asked = _arguments(argv)
    try:
        given = sys.stdin.buffer.read()
        if asked.command == "sign":
            authority = unlock(asked.folder, "operators-ca", somebody(asked.folder.parent))
            signed = authority.sign_listener(
                given,
                names=asked.name,
                addresses=asked.address,
                validity=timedelta(days=asked.days),
            )
            sys.stdout.write(signed.decode())
        else:
            reason = why_renew(
                certificate(asked.folder, "operators-ca"),
                given,
                names=asked.name,
                addresses=asked.address,
                reserve=timedelta(days=asked.reserve_days),
            )
            sys.stdout.write(json.dumps({"renew": reason}) + "\n")
    except Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
