"""The shape of the reports."""

import datetime as dt
import io
import json
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from holdfast.audit import reports
from holdfast.audit.catalogue import Control
from holdfast.audit.judgement import Outcome, State, Verdict
from holdfast.audit.runner import Audit, Weakening


def _verdict(id_, state, *, outcome=None, expected=False):
    control = Control(
        id=id_,
        title=f"title of {id_}",
        statement="s",
        side="backend",
        kinds=("effective",),
        severity="high",
        fails_when="f",
        remedy=f"mend {id_}",
        checks=("t.py::one",),
    )
    outcomes = (
        (Outcome(id_, "effective", "t.py::one", "a check", "h1", outcome, "first\nsecond", 0.1),)
        if outcome
        else ()
    )
    return Verdict(control, state, f"why {id_}", outcomes, expected)


@pytest.fixture
def audit():
    return Audit(
        installation="local",
        started=dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC),
        seconds=1.5,
        verdicts=(
            _verdict("X1", State.PASS, outcome=State.PASS),
            _verdict("X2", State.FAIL, outcome=State.FAIL),
            _verdict("X3", State.ERROR, outcome=State.ERROR),
            _verdict("X4", State.NOT_EVALUATED),
            _verdict("X5", State.NOT_EVALUATED, expected=True),
            _verdict("X6", State.WAIVED, outcome=State.FAIL),
        ),
        weakenings=(Weakening("X1", "web_legacy_tls_address", "old phones", ("web1",)),),
        notes=("a note",),
    )


def test_json_is_canonical(audit):
    text = reports.as_json(audit)
    data = json.loads(text)
    assert text == json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert data["exit_code"] == 1
    assert [c["state"] for c in data["controls"]][:2] == ["pass", "fail"]
    assert data["controls"][1]["outcomes"][0]["detail"] == "first\nsecond"
    assert data["summary"] == {"pass": 1, "fail": 1, "error": 1, "not evaluated": 2, "waived": 1}


def test_junit_counts_what_is_wrong_and_nothing_else(audit):
    root = ET.fromstring(reports.as_junit(audit))  # noqa: S314 - written by us a line above
    # X2: check and verdict; X3: check and verdict, X4: verdict.
    assert (root.get("failures"), root.get("errors")) == ("2", "3")
    assert root.get("tests") == str(len(root.findall(".//testcase")))


def test_junit_never_shows_an_unsettled_control_as_passed(audit):
    root = ET.fromstring(reports.as_junit(audit))  # noqa: S314 - as above
    for id_ in ("X2", "X3", "X4", "X5", "X6"):
        (case,) = [c for c in root.iter("testcase") if c.get("classname") == id_]
        assert len(case) == 1


def test_reports_are_for_their_owner_only(audit, tmp_path):
    for path in reports.write(audit, tmp_path / "audit"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700


def test_a_person_reads_what_is_broken_and_what_to_do(audit):
    console = Console(file=io.StringIO(), width=120)
    reports.show(audit, console)
    text = console.file.getvalue()
    for words in ("second", "mend X2", "mend X3", "mend X4", "old phones", "a note", "why X5"):
        assert words in text
    assert "mend X5" not in text
    assert "mend X6" not in text
