"""The agents on the installation's hosts, as the operator's machine reaches them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cryptography import x509

from holdfast.errors import Error
from holdfast.process import CommandFailed, run
from holdfast.vault.hosts import over_ssh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.inventory import Host, Inventory

_SECONDS = 90  # an agent that is started asks Vault twice


class AgentFailed(Error):
    """An agent that could not be told to renew."""


class Agent(Protocol):
    """What keeps a service's certificate fresh."""

    @property
    def host(self) -> str:
        """The name of its host."""

    @property
    def service(self) -> str:
        """The name of its service."""

    def certificate(self) -> x509.Certificate | None:
        """Return the certificate that the service has, or None. Raises AgentFailed."""

    def renew(self) -> None:
        """Have it get everything anew; the service goes on meanwhile. Raises AgentFailed."""


@dataclass(frozen=True)
class SshAgent:
    """Over ssh, with sudo."""

    machine: Host
    service: str

    @property
    def host(self) -> str:
        """The name of its host."""
        return self.machine.name

    def certificate(self) -> x509.Certificate | None:
        """Ask openssl for it: the key stays where it is."""
        path = f"/run/holdfast/{self.service}/tls.pem"
        # Nothing but this status and the certificate: a key is never in an answer.
        shown = self._run("sh", "-c", f"'test ! -e {path} || openssl x509 -in {path}'")
        return x509.load_pem_x509_certificate(shown.encode()) if shown.strip() else None

    def renew(self) -> None:
        """Start the agent again, which keeps what it wrote until it has better."""
        self._run("systemctl", "restart", f"holdfast-agent-{self.service}.service")

    def _run(self, *words: str) -> str:
        try:
            return run([*over_ssh(self.machine), "sudo", "-n", *words], timeout=_SECONDS)
        except CommandFailed as error:
            said = error.output.strip().splitlines()
            raise AgentFailed(
                f"the agent of {self.service} on {self.host} could not be told "
                f"({said[-1] if said else error.reason})"
            ) from error


def agents(inventory: Inventory) -> Sequence[SshAgent]:
    """Return every agent that keeps a certificate, host by host."""
    return [
        SshAgent(host, entry["service"])
        for host in inventory.group("installation")
        for entry in host.variables.get("vault_agent_services") or ()
        if entry["on"] in host.groups and entry.get("names")
    ]
