"""SSH identities: the operator's key pair, and the host keys that are pinned before first use."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.files import write_atomic
from holdfast.local.images import OPERATOR
from holdfast.process import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.local.podman import Podman


def ensure_operator_key(folder: Path, *, comment: str) -> str:
    """The installation's own key pair in `folder`; returns its public line."""
    key = folder / "operator_ed25519"
    if not key.exists():
        # The private half is put in place last: it completes the pair.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fresh = Path(scratch) / "key"
            _generate(fresh, comment=comment)
            fresh.with_suffix(".pub").replace(key.with_suffix(".pub"))
            fresh.replace(key)
    return key.with_suffix(".pub").read_text()


def ssh_argv(folder: Path, address: str) -> list[str]:
    """The command that logs in at `address` as the operator, host key checked."""
    return [
        "ssh",
        *("-i", str(folder / "operator_ed25519")),
        *("-o", f"UserKnownHostsFile={folder / 'known_hosts'}"),
        *("-o", "StrictHostKeyChecking=yes"),
        *("-o", "IdentitiesOnly=yes"),
        f"{OPERATOR}@{address}",
    ]


def hand_over(podman: Podman, container: str, *, host: str, operator_key: str) -> str:
    """Give a container that has not started its host key and its operator's public key.

    Returns the public host key; the private half is made inside the container and stays there.
    """
    root = Path(podman("mount", container).strip())
    try:
        host_key = root / "etc/ssh/ssh_host_ed25519_key"
        _generate(host_key, comment=host)
        home = root / "home" / OPERATOR
        owner = home.stat()
        folder = home / ".ssh"
        authorized = folder / "authorized_keys"
        folder.mkdir(mode=0o700)
        authorized.write_text(operator_key)
        authorized.chmod(0o600)
        for path in (folder, authorized):
            os.chown(path, owner.st_uid, owner.st_gid)
        return host_key.with_suffix(".pub").read_text()
    finally:
        podman("unmount", container)


def pin(folder: Path, *, host: str, addresses: Sequence[str], public_key: str) -> None:
    """Make `public_key` the only one that `host` may show from now on."""
    path = folder / "known_hosts"
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if line.split(",", 1)[0] != host]
    algorithm, key = public_key.split()[:2]
    pinned = f"{','.join([host, *addresses])} {algorithm} {key}"
    write_atomic(path, "\n".join([*kept, pinned]) + "\n", mode=0o600)


def _generate(path: Path, *, comment: str) -> None:
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
