"""Action `vault_settings`: make Vault hold what the inventory's services need, and no more."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from holdfast.errors import Error
from holdfast.vault import desired, servers
from holdfast.vault.at_hand import somebody
from holdfast.vault.authority import certificate, unlock
from holdfast.vault.facts import installation_and_nodes
from holdfast.vault.login import deployer


class ActionModule(ActionBase):
    """Talks to Vault from the operator's machine, with the operator's login; no host is asked."""

    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Change what differs; `paths` names it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        hostvars, groups = variables["hostvars"], variables["groups"]
        installation, nodes = installation_and_nodes(variables)
        try:
            vault = deployer(installation, nodes)
            wanted = desired.desired(_services(hostvars, groups["installation"]))
            paths = []
            for path, data in desired.differences(vault, wanted):
                paths.append(path)
                if self._task.check_mode:
                    continue
                if data is None:
                    vault.delete(path)
                else:
                    vault.write(path, data)
            folder = installation.folder / "vault"
            reason = servers.why_new_intermediate(vault, certificate(folder, "root-ca"))
            if reason:
                paths.append(f"{desired.SERVERS}/issuer: {reason}")
                if not self._task.check_mode:
                    root = unlock(folder, "root-ca", somebody(installation.folder))
                    servers.new_intermediate(
                        vault,
                        root,
                        domain=hostvars[variables["inventory_hostname"]]["installation_domain"],
                    )
        except Error as error:
            raise AnsibleActionFail(str(error)) from error
        return {**result, "changed": bool(paths), "paths": paths}


def _services(hostvars: Any, hosts: list[str]) -> list[desired.Service]:
    return [
        desired.Service(
            host=host,
            name=entry["service"],
            addresses=tuple(hostvars[host]["addresses"]),
            names=tuple(entry.get("names") or ()),
            database=entry.get("database"),
        )
        for host in hosts
        for entry in hostvars[host].get("vault_agent_services") or ()
        if entry["on"] in hostvars[host]["group_names"]
    ]
