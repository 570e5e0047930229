#!/usr/bin/python3
"""Ansible module: say which files and units of a host are not as they should be."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DOCUMENTATION = """
module: look
short_description: Say which files and units of a host are not as they should be
description:
  - Reads, and changes nothing. A role asks it once for everything it keeps on a host, and runs the
    tasks that change only when the answer is not that all is as wanted.
  - Entries of O(files) are written as for M(ansible.builtin.file), with O(files[].content) beside.
options:
  files:
    description: Files, folders and links.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: str
        required: true
      state:
        description: What stands there.
        type: str
        choices: [file, directory, link]
        default: file
      content:
        description:
          - What a file contains; only its SHA-1 travels to the host.
          - Without it, any content is right.
        type: str
      sha256:
        description: Digest of what a file contains, where that is too large to be given as content.
        type: str
      src:
        description: Where a link points to.
        type: str
      owner:
        description: Account.
        type: str
        default: root
      group:
        description: Group.
        type: str
        default: root
      mode:
        description: Permissions of a file or folder, octal, in quotes.
        type: str
  absent:
    description: Paths where nothing stands.
    type: list
    elements: str
    default: []
  units:
    description: Units that are enabled and running, and what systemd has read of them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name with its suffix.
        type: str
        required: true
      runs:
        description: False for one that need not run or be enabled now.
        type: bool
        default: true
      uses:
        description: Files that it reads when it starts or reloads.
        type: list
        elements: str
        default: []
author: Holdfast
"""

EXAMPLES = """
- name: Look at what is there
  look:
    files:
      - {path: /etc/holdfast, state: directory, mode: "0755"}
      - {path: /etc/motd, content: "Welcome\\n", mode: "0644"}
    absent: [/etc/motd.d]
    units:
      - {name: nginx.service, uses: [/etc/nginx/nginx.conf]}
  register: __motd_look
"""

RETURN = """
as_wanted:
  description: Whether all of it is as it should be and in force.
  type: bool
  returned: success
differs:
  description: Paths, and names of units, that are not as they should be.
  type: list
  elements: str
  returned: success
unknown:
  description: Units of which systemd knows nothing yet.
  type: list
  elements: str
  returned: success
stale:
  description: Units whose files are younger than the unit's last start or reload.
  type: list
  elements: str
  returned: success
reload:
  description: Whether systemd has not read a unit's files since they changed.
  type: bool
  returned: success
"""

_KINDS = {"file": stat.S_ISREG, "directory": stat.S_ISDIR, "link": stat.S_ISLNK}
_ENABLED = ("enabled", "static")  # static: another unit starts it
_PROPERTIES = "Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload,StateChangeTimestamp"


def differs(wanted: dict[str, Any]) -> bool:
    """Whether what stands at the path is not what is wanted."""
    path = Path(wanted["path"])
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    if not _KINDS[wanted["state"]](found.st_mode):
        return True
    as_wanted = (
        _account(found.st_uid) == wanted["owner"] and _group(found.st_gid) == wanted["group"]
    )
    if wanted["state"] == "link":
        as_wanted = as_wanted and str(path.readlink()) == wanted["src"]
    else:
        as_wanted = as_wanted and stat.S_IMODE(found.st_mode) == int(wanted["mode"], 8)
    if wanted["sha1"] is not None:
        as_wanted = as_wanted and _sha1(path) == wanted["sha1"]
    if wanted["sha256"] is not None:
        as_wanted = as_wanted and _sha256(path) == wanted["sha256"]
    return not as_wanted


def _sha1(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()  # noqa: S324  (to compare, not to trust)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _account(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def units(shown: str) -> Iterator[dict[str, str]]:
    """Parse the answer of `systemctl show`: a paragraph for each unit."""
    for paragraph in shown.strip().split("\n\n"):
        yield dict(line.split("=", 1) for line in paragraph.splitlines())


def is_stale(unit: dict[str, str], uses: Iterable[str]) -> bool:
    """Whether the unit was started or reloaded before one of its files changed."""
    if unit["ActiveState"] != "active":
        return False  # it reads them when it starts
    began = int(unit["StateChangeTimestamp"].lstrip("@"))
    # Not st_mtime: a copied file may bring the time of the operator's clock.
    return any(Path(path).exists() and Path(path).stat().st_ctime > began + 1 for path in uses)


def main() -> None:
    """Run the module."""
    file = {
        "path": {"type": "str", "required": True},
        "state": {"type": "str", "choices": [*_KINDS], "default": "file"},
        "sha1": {"type": "str"},
        "sha256": {"type": "str"},
        "src": {"type": "str"},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "mode": {"type": "str"},
    }
    needs = [("state", kind, ["src" if kind == "link" else "mode"]) for kind in _KINDS]
    service = {
        "name": {"type": "str", "required": True},
        "runs": {"type": "bool", "default": True},
        "uses": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": file,
                "required_if": needs,
            },
            "absent": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "dict", "default": [], "options": service},
        },
        supports_check_mode=True,
    )
    different = [wanted["path"] for wanted in module.params["files"] if differs(wanted)]
    different += [path for path in module.params["absent"] if os.path.lexists(path)]
    unknown: list[str] = []
    stale: list[str] = []
    reload = False
    if wanted := {unit["name"]: unit for unit in module.params["units"]}:
        show = ["systemctl", "show", "--timestamp=unix", f"--property={_PROPERTIES}", *wanted]
        _, shown, _ = module.run_command(show, check_rc=True)
        for (name, unit), found in zip(wanted.items(), units(shown), strict=True):
            if found["LoadState"] == "not-found":
                unknown.append(name)
            reload = reload or found["NeedDaemonReload"] == "yes"
            if not unit["runs"]:
                continue
            if found["UnitFileState"] not in _ENABLED or found["ActiveState"] != "active":
                different.append(name)
            elif is_stale(found, unit["uses"]):
                stale.append(name)
    module.exit_json(
        changed=False,
        as_wanted=not (different or stale or reload),
        differs=different,
        unknown=unknown,
        stale=stale,
        reload=reload,
    )


if __name__ == "__main__":
    main()
