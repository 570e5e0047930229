"""Files that are neither in Debian nor on PyPI: fetched once, verified, kept for everybody.

`load` reads the manifest, `fetch` has its artifacts in the cache, `held` finds one there.
"""

from __future__ import annotations

from holdfast.artifacts.cache import Cache, Damaged
from holdfast.artifacts.errors import BadManifest, NoSpace, Rejected, Unavailable
from holdfast.artifacts.fetching import Held, fetch, held
from holdfast.artifacts.manifest import Artifact, Manifest, default_path, load, this_machine
from holdfast.artifacts.report import Report, Silence

__all__ = [
    "Artifact",
    "BadManifest",
    "Cache",
    "Damaged",
    "Held",
    "Manifest",
    "NoSpace",
    "Rejected",
    "Report",
    "Silence",
    "Unavailable",
    "default_path",
    "fetch",
    "held",
    "load",
    "this_machine",
]
