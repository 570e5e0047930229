"""Action `vault_database`: have Vault make and end the logins of this host's PostgreSQL."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from holdfast.errors import Error
from holdfast.vault.databases import hand_over, why_hand_over
from holdfast.vault.facts import database_servers, installation_and_nodes
from holdfast.vault.login import deployer


class ActionModule(ActionBase):
    """Hands Vault's account over where Vault cannot log in with what it has; `reason` tells why.

    Argument: `program`, which sets the account's password on the host, from standard input.
    """

    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Look, and change only what differs."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        host = variables["inventory_hostname"]
        installation, nodes = installation_and_nodes(variables)
        [server] = [one for one in database_servers(variables) if one.host == host]
        try:
            ca = (installation.folder / "vault" / "root-ca.crt").read_text()
            vault = deployer(installation, nodes)
            reason = why_hand_over(vault, server, ca=ca) if server.databases else None
            if reason and not self._task.check_mode:
                hand_over(vault, server, ca=ca, give=self._give)
        except Error as error:
            raise AnsibleActionFail(str(error)) from error
        return {**result, "changed": bool(reason), "reason": reason or ""}

    def _give(self, password: str) -> None:
        """By the channel of the connection: not in argv, not in a file."""
        said = self._low_level_execute_command(
            str(self._task.args["program"]), in_data=password.encode()
        )
        if said["rc"] != 0:
            raise Error(said["stderr"].strip() or "The password of vault was not set; run again.")
