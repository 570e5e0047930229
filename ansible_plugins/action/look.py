"""Action `look`: ask a host once which of a role's files and units are not as they should be."""

from __future__ import annotations

import hashlib
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """The module of the same name, with the digests of contents in place of the contents."""

    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return what the module says."""
        super().run(tmp, task_vars)
        files = [_digested(wanted) for wanted in self._task.args.get("files", [])]
        result: dict[str, Any] = self._execute_module(
            module_args={**self._task.args, "files": files}, task_vars=task_vars
        )
        return result


def _digested(wanted: dict[str, Any]) -> dict[str, Any]:
    # What only writing needs (how to validate, whom to notify) does not travel.
    kept = {
        name: wanted[name]
        for name in ("path", "state", "sha256", "src", "owner", "group", "mode")
        if name in wanted
    }
    if "content" in wanted:
        kept["sha1"] = hashlib.sha1(wanted["content"].encode()).hexdigest()  # noqa: S324  (to compare, not to trust)
    return kept
