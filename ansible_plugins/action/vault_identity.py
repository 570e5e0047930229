"""Action `vault_identity`: give a host its identity at Vault, wrapped, for it to open."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from holdfast.errors import Error
from holdfast.vault.facts import installation_and_nodes
from holdfast.vault.login import deployer

_STOLEN = 4
_SECONDS = 120


class ActionModule(ActionBase):
    """Fails with the host's reason; what somebody else opened is revoked first.

    Arguments: `identity`, the host's AppRole, and `program`, which adopts it on the host.
    """

    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Ask Vault for a wrapped secret id, and have the host seal what is in it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result["changed"] = True
        if self._task.check_mode:
            return result
        role = f"auth/approle/role/{self._task.args['identity']}"
        try:
            vault = deployer(*installation_and_nodes(task_vars or {}))
            wrapped = vault.wrapped(f"{role}/secret-id", {}, seconds=_SECONDS)
            # By the channel of the connection: not in argv, not in a file.
            said = self._low_level_execute_command(
                f"{self._task.args['program']} adopt", in_data=wrapped.token.encode()
            )
            if said["rc"] != 0:
                vault.write(
                    f"{role}/secret-id-accessor/destroy", {"secret_id_accessor": wrapped.accessor}
                )
        except Error as error:
            raise AnsibleActionFail(str(error)) from error
        if said["rc"] == _STOLEN:
            raise AnsibleActionFail(
                f"{said['stderr'].strip()} It was revoked. Look in Vault's audit log for who opened"
                " it, then run again."
            )
        if said["rc"] != 0:
            raise AnsibleActionFail(
                f"The host could not adopt its identity, which is revoked: {said['stderr'].strip()}"
            )
        return result
