"""Role READMEs, generated: `python -m holdfast.roledocs` writes them, `--check` compares.

A role's interface stands in its argument specs (type, meaning) and in its defaults (why, unit,
example); the README is made of both, and both must name the same variables.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import click
import yaml

from holdfast import paths
from holdfast.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULT = re.compile(r"^#? ?([a-z]\w*):", re.MULTILINE)
_MARKUP = re.compile(r"\b[CVO]\(([^)]*)\)")


def readme(role: Path) -> str:
    """The README of a role, from its meta files and defaults."""
    galaxy = _load(role / "meta/main.yml")["galaxy_info"]
    entries = _load(role / "meta/argument_specs.yml")["argument_specs"]
    defaults = _load(role / "defaults/main.yml") or {}
    parts = [f"# Role `{role.name}`", galaxy["description"]]
    for name, entry in entries.items():
        if name != "main":
            parts.append(f"## Entry `{name}`")
        parts.append(_sentence(entry["short_description"]))
        parts += [_prose(text) for text in _listed(entry.get("description", []))]
        if options := entry.get("options", {}):
            rows = [_row(option, spec, defaults) for option, spec in sorted(options.items())]
            parts.append(
                "\n".join(["| variable | type | default | meaning |", "|---|---|---|---|", *rows])
            )
    parts.append(
        "Generated from `meta/` and `defaults/`; why a default is what it is stands there."
    )
    return "\n\n".join(parts) + "\n"


def disagreements(role: Path) -> list[str]:
    """Variables that stand in only one of the two places of a role's interface."""
    entries = _load(role / "meta/argument_specs.yml")["argument_specs"]
    declared = {name for entry in entries.values() for name in entry.get("options", {})}
    defaults = set(_load(role / "defaults/main.yml") or {})
    required = {
        name
        for entry in entries.values()
        for name, spec in entry.get("options", {}).items()
        if spec.get("required") or "default" not in spec
    }
    return [
        *(
            f"{role.name}: {name} has a default but no argument spec"
            for name in sorted(defaults - declared)
        ),
        *(
            f"{role.name}: {name} is declared with a default but has none in defaults/main.yml"
            for name in sorted(declared - defaults - required)
        ),
    ]


def _row(option: str, spec: dict[str, Any], defaults: dict[str, Any]) -> str:
    kind = spec.get("type", "str")
    if "elements" in spec:
        kind += f" of {spec['elements']}"
    if option in defaults:
        default = (
            f"`{yaml.safe_dump(defaults[option], default_flow_style=True, width=10_000).strip()}`"
        )
        default = default.replace("\n...", "")
    else:
        default = "required" if spec.get("required") else ""
    meaning = " ".join(_prose(text) for text in _listed(spec["description"]))
    cells = [f"`{option}`", kind, default, meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _sentence(text: str) -> str:
    return _prose(text).rstrip(".") + "."


def _prose(text: str) -> str:
    return _MARKUP.sub(r"`\1`", text.strip())


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where a README is not current.")
def main(check: bool) -> None:  # noqa: FBT001  (click's way)
    """Generate every role's README."""
    stale = []
    for role in sorted((paths.repository() / "roles").glob("*/")):
        stale += disagreements(role)
        text = readme(role)
        path = role / "README.md"
        if not path.exists() or path.read_text() != text:
            if check:
                stale.append(f"{path} is not current; run `make format`")
            else:
                write_atomic(path, text)
    for line in stale:
        click.echo(line, err=True)
    sys.exit(1 if stale else 0)


if __name__ == "__main__":
    main()
