"""Detached OpenPGP signatures, checked by gpgv against one key pinned by its full fingerprint."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from holdfast.artifacts.errors import Rejected
from holdfast.errors import Error
from holdfast.process import CommandFailed, run

if TYPE_CHECKING:
    from pathlib import Path

_ARMOR_BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_ARMOR_END = b"-----END PGP PUBLIC KEY BLOCK-----"
_REASONS = {
    "BADSIG": "the signature does not match what was signed",
    "NO_PUBKEY": "it is signed with another key than the pinned one",
    "REVKEYSIG": "the key has been revoked",
    "EXPKEYSIG": "the key has expired",
    "EXPSIG": "the signature has expired",
    "NODATA": "there is no signature in it",
}


def verify(signed: Path, signature: Path, *, key: Path, fingerprint: str, work: Path) -> None:
    """Check that `signature` over `signed` was made by the key `fingerprint`, found in `key`.

    The fingerprint is the primary key's; a signing subkey may have signed. `work` is an own folder
    for the keyring. Raises Rejected, or Error if gpgv is not there.
    """
    keyring = work / "keyring.gpg"
    keyring.write_bytes(_binary(key))
    argv = ["gpgv", "--homedir", str(work), "--status-fd", "1", "--log-file", "/dev/null"]
    argv += ["--weak-digest", "SHA1", "--keyring", str(keyring), str(signature), str(signed)]
    try:
        said = run(argv, timeout=120)
    except CommandFailed as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise
        raise _rejected(signature, fingerprint, error.output) from error
    finally:
        keyring.unlink()
    statuses = _statuses(said)
    signers = [words[-1] for keyword, words in statuses if keyword == "VALIDSIG"]
    good = [keyword for keyword, _ in statuses if keyword == "GOODSIG"]
    if len(good) != 1 or signers != [fingerprint]:
        raise _rejected(signature, fingerprint, said)


def _statuses(said: str) -> list[tuple[str, list[str]]]:
    """Status lines (GnuPG's doc/DETAILS): keyword and arguments."""
    lines = re.findall(r"^\[GNUPG:\] ([A-Z_]+) ?(.*)$", said, re.MULTILINE)
    return [(keyword, rest.split()) for keyword, rest in lines]


def _rejected(signature: Path, fingerprint: str, said: str) -> Rejected:
    keywords = {keyword for keyword, _ in _statuses(said)}
    reasons = [text for keyword, text in _REASONS.items() if keyword in keywords]
    return Rejected(
        f"{signature.name} is no good signature by {fingerprint}: "
        f"{'; '.join(reasons) or 'gpgv does not vouch for it'}. "
        "Do not use the file; ask the publisher, and change the pinned key only on their word "
        "from a second channel."
    )


def _binary(key: Path) -> bytes:
    """The key without its ASCII armour (RFC 9580, section 6.2), as gpgv wants it."""
    content = key.read_bytes()
    if not content.lstrip().startswith(_ARMOR_BEGIN):
        return content
    try:
        body = content.split(_ARMOR_BEGIN, 1)[1].split(_ARMOR_END, 1)[0]
        encoded = re.split(rb"\r?\n[ \t]*\r?\n", body, maxsplit=1)[1]
        lines = [line.strip() for line in encoded.splitlines()]
        return base64.b64decode(b"".join(x for x in lines if not x.startswith(b"=")), validate=True)
    except (IndexError, binascii.Error) as error:
        raise Error(f"{key} is not a readable OpenPGP key; restore it.") from error
