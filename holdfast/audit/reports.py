"""One audit as a table for people, as JSON for programs, as JUnit for CI."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET  # only written here, never parsed

from rich.table import Table
from rich.text import Text

from holdfast.audit.judgement import State
from holdfast.files import private_folder, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from holdfast.audit.judgement import Outcome, Verdict
    from holdfast.audit.runner import Audit

_COLOURS = {
    State.PASS: "green",
    State.FAIL: "bold red",
    State.ERROR: "bold magenta",
    State.NOT_EVALUATED: "yellow",
    State.NOT_APPLICABLE: "dim",
    State.WAIVED: "yellow",
    State.ATTESTED: "cyan",
}
_UNSETTLED = {State.FAIL, State.ERROR}
_WRITTEN_MODE = 0o600  # a report lists what is weak: not for every account of the machine


def as_data(audit: Audit) -> dict[str, Any]:
    """Return the audit as plain data; the JSON report is this."""
    return {
        "installation": audit.installation,
        "started": audit.started.isoformat(timespec="seconds"),
        "seconds": audit.seconds,
        "exit_code": audit.exit_code,
        "controls": [_control(verdict) for verdict in audit.verdicts],
        "weakenings": [asdict(weakening) for weakening in audit.weakenings],
        "notes": list(audit.notes),
        "summary": {state.value: count for state, count in _counts(audit).items()},
    }


def as_json(audit: Audit) -> str:
    """Return the canonical JSON report: keys sorted, UTF-8, one newline at the end."""
    return json.dumps(as_data(audit), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def as_junit(audit: Audit) -> str:
    """Return a JUnit report: a suite per control, a case per check and host.

    A control that is not settled without any failing check gets a case of its own, so that a
    reader of JUnit alone cannot take it for kept.
    """
    root = ET.Element("testsuites", name="holdfast audit", time=str(audit.seconds))
    for verdict in audit.verdicts:
        suite = ET.SubElement(
            root, "testsuite", name=f"{verdict.control.id} {verdict.control.title}"
        )
        for outcome in verdict.outcomes:
            _case(suite, verdict, outcome)
        verdict_case = ET.SubElement(
            suite, "testcase", classname=verdict.control.id, name="verdict", time="0"
        )
        if not verdict.acceptable:
            kind = "failure" if verdict.state is State.FAIL else "error"
            ET.SubElement(
                verdict_case, kind, message=f"{verdict.state.value}: {verdict.reason}"
            ).text = verdict.control.remedy
        elif verdict.state is not State.PASS:
            ET.SubElement(
                verdict_case, "skipped", message=f"{verdict.state.value}: {verdict.reason}"
            )
        _count(suite)
    _count(root)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def write(audit: Audit, folder: Path) -> tuple[Path, ...]:
    """Write audit.json and audit.xml into `folder`, readable by its owner only."""
    private_folder(folder)
    written = (folder / "audit.json", folder / "audit.xml")
    for path, content in zip(written, (as_json(audit), as_junit(audit)), strict=True):
        write_atomic(path, content, mode=_WRITTEN_MODE)
    return written


def show(audit: Audit, console: Console) -> None:
    """Print what a person needs: every control, then what is wrong and what to do about it."""
    table = Table("control", "state", "what is promised", "why this state", show_lines=False)
    for verdict in audit.verdicts:
        table.add_row(
            verdict.control.id,
            Text(verdict.state.value, style=_COLOURS[verdict.state]),
            verdict.control.title,
            Text(verdict.reason),
        )
    console.print(table)
    for verdict in audit.verdicts:
        if not verdict.acceptable:
            _show_broken(verdict, console)
    for title, lines in (
        ("Loosened on purpose by the inventory", [_weakening(w) for w in audit.weakenings]),
        (
            "Expected not to be evaluated",
            [f"{v.control.id} {v.reason}" for v in audit.verdicts if v.expected],
        ),
        ("To be looked at", list(audit.notes)),
    ):
        if lines:
            console.print(Text(f"\n{title}", style="bold"))
            for line in lines:
                console.print(Text(f"  {line}"), soft_wrap=True)
    counts = ", ".join(f"{count} {state.value}" for state, count in _counts(audit).items())
    console.print(
        Text(
            f"\n{audit.installation}: {counts}; "
            f"{sum(len(v.outcomes) for v in audit.verdicts)} checks in {audit.seconds:.0f} s."
        )
    )


def _show_broken(verdict: Verdict, console: Console) -> None:
    control = verdict.control
    style = _COLOURS[verdict.state]
    console.print(
        Text(f"\n{control.id} {verdict.state.value} ({control.severity}): {control.title}", style)
    )
    for outcome in verdict.outcomes:
        if outcome.state in _UNSETTLED:
            place = f"{outcome.host}: " if outcome.host else ""
            console.print(Text(f"  {place}{outcome.title}"), soft_wrap=True)
            for line in outcome.detail.splitlines():
                console.print(Text(f"      {line}"), soft_wrap=True)
    if not any(outcome.state in _UNSETTLED for outcome in verdict.outcomes):
        console.print(Text(f"  {verdict.reason}"), soft_wrap=True)
    console.print(Text(f"  What to do: {' '.join(control.remedy.split())}"), soft_wrap=True)


def _weakening(weakening: Any) -> str:
    hosts = ", ".join(weakening.hosts)
    return f"{weakening.control} {weakening.statement} ({weakening.variable}, {hosts})"


def _counts(audit: Audit) -> Counter[State]:
    return Counter(verdict.state for verdict in audit.verdicts)


def _control(verdict: Verdict) -> dict[str, Any]:
    control = asdict(verdict.control)
    return {
        **{
            key: list(value) if isinstance(value, tuple) else value
            for key, value in control.items()
        },
        "state": verdict.state.value,
        "reason": verdict.reason,
        "expected": verdict.expected,
        "acceptable": verdict.acceptable,
        "outcomes": [
            {**asdict(outcome), "state": outcome.state.value} for outcome in verdict.outcomes
        ],
    }


def _case(suite: ET.Element, verdict: Verdict, outcome: Outcome) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"{outcome.control}.{outcome.kind}",
        name=f"{outcome.title} [{outcome.host}]" if outcome.host else outcome.title,
        time=str(outcome.seconds),
    )
    if outcome.state is State.PASS:
        return
    broken = outcome.state in _UNSETTLED and not verdict.acceptable
    kind = {State.FAIL: "failure", State.ERROR: "error"}[outcome.state] if broken else "skipped"
    message = outcome.detail.splitlines()[0] if outcome.detail else outcome.state.value
    ET.SubElement(case, kind, message=message).text = outcome.detail


def _count(element: ET.Element) -> None:
    element.set("tests", str(len(element.findall(".//testcase"))))
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(len(element.findall(f".//{kind}"))))
