"""An installation as the operator's machine knows it: a name and a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast import paths
from holdfast.errors import Error

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,14}[a-z0-9])?")


class BadName(Error):
    """A name that cannot be part of host, network and folder names."""


@dataclass(frozen=True)
class Installation:
    """A named installation; side by side with others on one machine."""

    name: str

    def __post_init__(self) -> None:
        """Refuse names that do not fit everywhere they are used."""
        if not _NAME.fullmatch(self.name):
            raise BadName(
                f"{self.name!r} cannot name an installation; use 1 to 16 of a-z, 0-9 and -, "
                "beginning with a letter and not ending with -."
            )

    @property
    def folder(self) -> Path:
        """Keys, pinned host keys, logs and audit reports (0700)."""
        return paths.state_folder() / "installations" / self.name

    @property
    def lock(self) -> Path:
        """Held by the command that works on the installation; outlives `destroy`."""
        return paths.state_folder() / "locks" / f"{self.name}.lock"

    @property
    def domain(self) -> str:
        """Where a local installation's names are (a reserved top-level domain, RFC 6761)."""
        return f"{self.name}.holdfast.test"
