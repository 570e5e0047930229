"""The controls: what is promised, how it is proven, how it can fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from holdfast import paths
from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

KINDS = ("declared", "effective", "behavioural")
SEVERITIES = ("critical", "high", "medium", "low")
SIDES = ("backend", "device", "both")
_FIELDS = {
    "title",
    "statement",
    "side",
    "kinds",
    "severity",
    "fails_when",
    "remedy",
    "checks",
}


class BadCatalogue(Error):
    """A catalogue that contradicts itself; nothing may be judged by it."""


class UnknownControl(Error):
    """A control id that no catalogue entry has."""


@dataclass(frozen=True)
class Control:
    """One promise, or one thing the operator must be able to rely on."""

    id: str
    title: str
    statement: str
    side: str
    kinds: tuple[str, ...]
    severity: str
    fails_when: str
    remedy: str
    checks: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """Every control by its id, in the order of the file."""

    controls: Mapping[str, Control]

    def select(self, ids: Iterable[str]) -> Catalogue:
        """Keep only the named controls; none named keeps all. Raises UnknownControl."""
        wanted = tuple(ids)
        self.require(wanted, where="--control")
        return Catalogue(
            {id_: control for id_, control in self.controls.items() if not wanted or id_ in wanted}
        )

    def require(self, ids: Iterable[str], *, where: str) -> None:
        """Raise UnknownControl when one of `ids` is not in the catalogue."""
        unknown = sorted(set(ids) - set(self.controls))
        if unknown:
            raise UnknownControl(
                f"{where} names {', '.join(unknown)}, which is no control; "
                f"there are {', '.join(self.controls)}."
            )


def checks_folder() -> Path:
    """Return where the checks, their probes and the catalogue are."""
    return paths.repository() / "tests" / "audit"


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read and verify a catalogue file. Raises BadCatalogue."""
    source = path or checks_folder() / "controls.yml"
    try:
        entries = yaml.safe_load(source.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise BadCatalogue(f"The catalogue {source} cannot be read: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise BadCatalogue(f"The catalogue {source} holds no control.")
    return Catalogue({id_: _control(id_, entry, source) for id_, entry in entries.items()})


def _control(id_: str, entry: Mapping[str, Any], source: Path) -> Control:
    if set(entry) != _FIELDS:
        raise BadCatalogue(
            f"Control {id_} in {source} must have exactly the fields {', '.join(sorted(_FIELDS))}; "
            f"it differs in {', '.join(sorted(set(entry) ^ _FIELDS))}."
        )
    control = Control(
        id=id_,
        title=entry["title"],
        statement=entry["statement"].strip(),
        side=entry["side"],
        kinds=tuple(entry["kinds"]),
        severity=entry["severity"],
        fails_when=entry["fails_when"].strip(),
        remedy=entry["remedy"].strip(),
        checks=tuple(entry["checks"]),
    )
    for value, allowed in (
        *((kind, KINDS) for kind in control.kinds),
        (control.severity, SEVERITIES),
        (control.side, SIDES),
    ):
        if value not in allowed:
            raise BadCatalogue(
                f"Control {id_} in {source} says {value}; write one of {', '.join(allowed)}."
            )
    if not control.kinds:
        raise BadCatalogue(f"Control {id_} in {source} expects no kind of proof; name one.")
    return control
