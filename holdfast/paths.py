"""Where Holdfast keeps things on the operator's machine."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """Installations, their keys and their containers; HOLDFAST_STATE moves it."""
    return Path(os.environ.get("HOLDFAST_STATE", "/var/lib/holdfast"))


def cache_folder() -> Path:
    """What can be made or fetched again, shared by all installations; HOLDFAST_CACHE moves it."""
    return Path(os.environ.get("HOLDFAST_CACHE", "/var/cache/holdfast"))


def repository() -> Path:
    """The checkout that holds the playbooks, roles and inventories."""
    return Path(__file__).resolve().parent.parent
