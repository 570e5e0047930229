"""The variables an inventory may set: what the roles' argument specs declare, and nothing else."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Options = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Every role's options by role, and old names with their new ones (or what to do instead)."""

    roles: Mapping[str, Options]
    renamed: Mapping[str, str]

    def findings(self, names: Iterable[str]) -> list[str]:
        """What is wrong with the names of variables: one sentence each, ending with the fix."""
        known = {option for options in self.roles.values() for option in options}
        return [
            self._renamed(name) if name in self.renamed else self._unknown(name, known)
            for name in sorted(set(names) - known)
        ]

    def _renamed(self, name: str) -> str:
        return f"{name} was renamed: write {self.renamed[name]}."

    def _unknown(self, name: str, known: set[str]) -> str:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        fix = f"did you mean {near[0]}?" if near else "remove it, or look its name up in the role."
        return f"{name} is not a variable of any role: {fix}"


def read_interface(roles: Path) -> Interface:
    """Read `roles/*/meta/argument_specs.yml` and `roles/renamed.yml`.

    What a role requires and defaults itself, the inventory need not say.
    """
    specs = {
        path.parent.parent.name: (
            yaml.safe_load(path.read_text())["argument_specs"],
            _defaults(path.parent.parent),
        )
        for path in sorted(roles.glob("*/meta/argument_specs.yml"))
    }
    renamed = roles / "renamed.yml"
    return Interface(
        roles={
            role: {
                name: {**option, "required": option.get("required", False) and name not in defaults}
                for entry in entries.values()
                for name, option in entry.get("options", {}).items()
            }
            for role, (entries, defaults) in specs.items()
        },
        renamed=(yaml.safe_load(renamed.read_text()) or {}) if renamed.exists() else {},
    )


def _defaults(role: Path) -> dict[str, Any]:
    path = role / "defaults" / "main.yml"
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def roles_of(site: Path, groups: Iterable[str]) -> list[str]:
    """The roles that a playbook gives to a host of these groups, in order, each once."""
    mine = {"all", *groups}
    plays = yaml.safe_load(site.read_text())
    names = [
        name
        for play in plays
        if mine & set(str(play["hosts"]).split(":"))
        for name in (*_listed(play.get("roles", ())), *_imported(play.get("tasks", ())))
    ]
    return list(dict.fromkeys(names))


def _listed(roles: Iterable[Any]) -> list[str]:
    return [role["role"] if isinstance(role, dict) else role for role in roles]


def _imported(tasks: Iterable[dict[str, Any]]) -> list[str]:
    return [
        task["ansible.builtin.import_role"]["name"]
        for task in tasks
        if "ansible.builtin.import_role" in task
    ]
