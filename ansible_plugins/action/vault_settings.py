"""Action `vault_settings`: make Vault hold what the inventory's services need, and no more."""

from __future__ import annotations

from itertools import chain
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from holdfast import paths
from holdfast.errors import Error
from holdfast.vault import databases, desired, servers
from holdfast.vault.at_hand import somebody
from holdfast.vault.authority import certificate, unlock
from holdfast.vault.facts import database_servers, installation_and_nodes, vault_services
from holdfast.vault.login import deployer


class ActionModule(ActionBase):
    """Talks to Vault from the operator's machine, with the operator's login; no host is asked.

    Argument: `plugin`, {sha256, command} of the plugin for PostgreSQL where Vault's own program
    has none built in, else {}.
    """

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
            services = desired.desired(vault_services(hostvars, groups["installation"]))
            logins = databases.desired(
                database_servers(variables),
                databases.Statements.read(paths.repository() / "roles/postgresql/files/leases"),
            )
            changed = []
            for path, data in chain(
                databases.plugin(vault, self._task.args.get("plugin") or None),
                desired.differences(vault, logins),
                desired.differences(vault, services),
            ):
                changed.append(path)
                if self._task.check_mode:
                    continue
                if data is None:
                    vault.delete(path)
                else:
                    vault.write(path, data)
            folder = installation.folder / "vault"
            reason = servers.why_new_intermediate(vault, certificate(folder, "root-ca"))
            if reason:
                changed.append(f"{desired.SERVERS}/issuer: {reason}")
                if not self._task.check_mode:
                    root = unlock(folder, "root-ca", somebody(installation.folder))
                    servers.new_intermediate(
                        vault,
                        root,
                        domain=hostvars[variables["inventory_hostname"]]["installation_domain"],
                    )
        except Error as error:
            raise AnsibleActionFail(str(error)) from error
        return {**result, "changed": bool(changed), "paths": changed}
