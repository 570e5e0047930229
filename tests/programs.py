"""Programs that the project ships to hosts or hands to Ansible, as modules for tests."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from holdfast import paths

if TYPE_CHECKING:
    from types import ModuleType


def loaded(path: str) -> ModuleType:
    """Import a file of this repository that is in no package; `path` is relative to it."""
    file = paths.repository() / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
