"""Action `check_inventory`: every variable of a host, before anything is changed on any host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.vars.reserved import get_reserved_names

from holdfast import paths
from holdfast.variables import Interface, read_interface, roles_of

# Set by Ansible itself or by its tools; not part of anybody's inventory.
_FOREIGN = ("ansible_", "molecule_", "__")
_MAGIC = {
    "environment",
    "group_names",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
    "omit",
    "parent_role_names",
    "parent_role_paths",
    "play_hosts",
    "playbook_dir",
    "role_name",
    "role_names",
    "role_path",
    "role_uuid",
    "vars",
}
_ROLES = paths.repository() / "roles"
_KINDS = {"bool": bool, "dict": dict, "int": int, "list": list}


class ActionModule(ActionBase):
    """Fails with every finding at once.

    First unknown and renamed names, wrong types and missing values, by the roles' argument specs;
    then what their meta/wishes.yml asks for. Wishes also know `login`: {user, address}, the account
    and the address that this play comes from ("" where it does not come over ssh).
    """

    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Check the variables that the inventory gives to this host."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        interface = read_interface(_ROLES)
        playbook = Path(self._task.get_path().rpartition(":")[0])
        roles = roles_of(playbook, variables["group_names"])
        findings = [
            *interface.findings(_inventory_names(variables)),
            *self._wrong_values(interface, roles, variables),
        ]
        if not findings:
            seen = {**variables, "login": self._login()}
            findings = [finding for role in roles for finding in self._denied(role, seen)]
        if findings:
            host = variables["inventory_hostname"]
            result["failed"] = True
            result["msg"] = f"The inventory is not right for {host}. " + " ".join(findings)
        return result

    def _wrong_values(
        self, interface: Interface, roles: list[str], variables: dict[str, Any]
    ) -> list[str]:
        findings = []
        for role in roles:
            options = interface.roles.get(role, {})
            given = {
                name: self._templar.template(variables[name])
                for name in options
                if name in variables
            }
            validated = ArgumentSpecValidator(options).validate(given)
            findings += [f"{message} (role {role})." for message in validated.error_messages]
            for name, value in given.items():
                findings += _misfits(name, options[name], value)
        return findings

    def _denied(self, role: str, variables: dict[str, Any]) -> list[str]:
        """What a role asks for beyond types, and does not get."""
        wishes = self._load(_ROLES / role / "meta" / "wishes.yml") or []
        if not wishes:
            return []
        scope = dict(self._load(_ROLES / role / "defaults" / "main.yml") or {})
        scope |= variables
        for path in sorted((_ROLES / role / "vars").rglob("*.yml")):
            scope |= self._load(path)
        templar = self._templar.copy_with_new_env(available_variables=scope)
        findings = []
        for wish in wishes:
            try:
                if not all(templar.evaluate_conditional(one) for one in wish["that"]):
                    findings.append(templar.template(wish["fail_msg"]).strip())
            except AnsibleError as error:
                findings.append(f"{_cause(error)} (role {role}).")
        return findings

    def _load(self, path: Path) -> Any:
        if not path.exists():
            return None
        return self._loader.load_from_file(str(path), trusted_as_template=True)

    def _login(self) -> dict[str, str]:
        """Of the login itself: this task must not become somebody else."""
        said = self._low_level_execute_command("id -un; echo $SSH_CONNECTION")
        user, connection = said["stdout_lines"][:2]
        return {"user": user, "address": connection.partition(" ")[0]}


def _cause(error: BaseException) -> str:
    """The innermost reason: the message of whoever refused."""
    while error.__cause__ is not None:
        error = error.__cause__
    return re.sub(r"\s+", " ", str(error)).rstrip(". ")


def _misfits(name: str, option: dict[str, Any], value: Any) -> list[str]:
    """Values that a validator would convert; a role gets them as they were written."""
    kind = option.get("type", "str")
    wanted = _KINDS.get(kind)
    if value is None or wanted is None:
        return []
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        return [f"{name} must be of type {kind}: write it as one."]
    entries = value if wanted is list else [value]
    return [
        finding
        for entry in entries
        if isinstance(entry, dict)
        for part, suboption in option.get("options", {}).items()
        if part in entry
        for finding in _misfits(f"{name}: {part}", suboption, entry[part])
    ]


def _inventory_names(variables: dict[str, Any]) -> set[str]:
    # Plain Ansible makes variables of facts, unless it is told not to.
    reserved = get_reserved_names() | _MAGIC | set(variables.get("ansible_facts", {}))
    return {name for name in variables if name not in reserved and not name.startswith(_FOREIGN)}
