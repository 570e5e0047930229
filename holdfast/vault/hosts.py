"""The part of the ceremony that happens on a host of Vault: wiping what was begun, and the mark.

Role vault installs the program. It refuses to wipe once the mark `complete` is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

from holdfast.errors import Error
from holdfast.process import CommandFailed, run

if TYPE_CHECKING:
    from holdfast.inventory import Host

State = Literal["none", "begun", "complete"]

PROGRAM = "/usr/local/lib/holdfast/vault-ceremony"
_SECONDS = 180  # Vault is stopped and started


class CeremonyFailed(Error):
    """The host could not do its part."""


class CeremonyHost(Protocol):
    """A host of Vault, as the ceremony needs it."""

    def state(self) -> State:
        """Return how far the ceremony came on this host."""

    def stop(self) -> None:
        """Stop Vault, so that no other node joins what is wiped; refused when complete."""

    def begin(self) -> None:
        """Wipe Vault's data, start it empty and wait for its API; refused when complete."""

    def complete(self) -> None:
        """Mark durably that the data may never be wiped."""


@dataclass(frozen=True)
class SshHost:
    """Over ssh, as the inventory says, with sudo."""

    host: Host

    def state(self) -> State:
        """Ask the host."""
        answer = self._run("state").strip()
        if answer not in {"none", "begun", "complete"}:
            raise CeremonyFailed(
                f"{self.host.name} answers {answer!r} about its ceremony; run site.yml, which "
                "installs the program for it."
            )
        return cast("State", answer)

    def stop(self) -> None:
        """Stop Vault."""
        self._run("stop")

    def begin(self) -> None:
        """Wipe and start."""
        self._run("begin")

    def complete(self) -> None:
        """Leave the mark."""
        self._run("complete")

    def _run(self, verb: str) -> str:
        host = self.host
        argv = [*over_ssh(host), *("sudo", "-n", PROGRAM, verb)]
        try:
            return run(argv, timeout=_SECONDS)
        except CommandFailed as error:
            said = error.output.strip().splitlines()
            raise CeremonyFailed(
                f"{host.name} could not {verb} its part of the ceremony: "
                f"{said[-1] if said else error.reason}. It must answer over ssh with sudo and have "
                "had site.yml run on it."
            ) from error


def over_ssh(host: Host) -> list[str]:
    """Return the command that runs the words behind it on `host`, as the inventory reaches it."""
    identity = ["-i", str(host.identity_file)] if host.identity_file else []
    return [
        "ssh",
        *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"),
        *("-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"),
        *host.ssh_arguments,
        *identity,
        *("-p", str(host.port)),
        f"{host.user}@{host.address}",
    ]
