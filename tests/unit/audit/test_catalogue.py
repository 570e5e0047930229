"""The catalogue is complete, and fits the checks and the tests that break each promise."""

import ast
import re

import pytest
import yaml

from holdfast import paths
from holdfast.audit.catalogue import BadCatalogue, checks_folder, load_catalogue

_PROMISES = {
    *(f"T{n}" for n in range(1, 7)),
    *(f"R{n}" for n in range(1, 6)),
    *(f"A{n}" for n in range(1, 8)),
    *(f"P{n}" for n in range(1, 6)),
    *(f"D{n}" for n in range(1, 9)),
    *(f"B{n}" for n in range(1, 6)),
    *(f"S{n}" for n in range(1, 4)),
}
_EVALUATED_NOW = {"T1", "T2", "T6", "B1", "B2", "B3", "B4", "B5", "S3"}


def _marked_checks():
    """Return (control, kind, check) of every test function of the checks' folder."""
    found = []
    for path in sorted(checks_folder().glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                markers = [
                    call
                    for call in node.decorator_list
                    if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".control")
                ]
                assert len(markers) == 1, f"{path.name}::{node.name} has {len(markers)} controls"
                kinds = {k.arg: k.value.value for k in markers[0].keywords}
                found.append((markers[0].args[0].value, kinds["kind"], f"{path.name}::{node.name}"))
    return found


# A container has its machine's kernel settings, so nothing can break this one there.
_NOT_BREAKABLE_HERE = {"test_system.py::test_kernel_settings_hold"}


def _breaks():
    """Return (control, check) of everything that is broken on a live host."""
    tree = ast.parse((paths.repository() / "tests" / "e2e" / "breaks.py").read_text())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Break"
    ]
    return {(call.args[0].value, check.value) for call in calls for check in call.args[1].elts}


def test_every_promise_is_a_control():
    assert set(load_catalogue().controls) >= _PROMISES


def test_every_other_control_is_the_operators():
    others = set(load_catalogue().controls) - _PROMISES
    assert all(re.fullmatch(r"H\d+", id_) for id_ in others)


def test_what_is_kept_now_is_evaluated_now():
    controls = load_catalogue().controls
    assert {id_ for id_ in _EVALUATED_NOW if controls[id_].checks} == _EVALUATED_NOW


def test_each_check_is_counted_by_the_control_it_names_and_no_other():
    marked = {(control, check) for control, _, check in _marked_checks()}
    listed = {(c.id, check) for c in load_catalogue().controls.values() for check in c.checks}
    assert marked == listed


def test_each_expected_kind_of_proof_has_a_check():
    proofs = {(control, kind) for control, kind, _ in _marked_checks()}
    expected = {(c.id, k) for c in load_catalogue().controls.values() if c.checks for k in c.kinds}
    assert proofs == expected


def test_each_check_of_each_control_is_seen_red_on_a_live_host():
    listed = {
        (control.id, check.partition("::")[2])
        for control in load_catalogue().controls.values()
        for check in control.checks
        if check not in _NOT_BREAKABLE_HERE
    }
    assert _breaks() == listed


def test_each_evaluated_control_is_seen_red_on_a_live_host():
    evaluated = {id_ for id_, control in load_catalogue().controls.items() if control.checks}
    assert {control for control, _ in _breaks()} == evaluated


def test_each_weakening_names_a_control():
    weakenings = yaml.safe_load((checks_folder() / "weakenings.yml").read_text())
    assert {entry["control"] for entry in weakenings.values()} <= set(load_catalogue().controls)


_ENTRY = {
    "title": "t",
    "statement": "s",
    "side": "backend",
    "kinds": ["effective"],
    "severity": "low",
    "fails_when": "f",
    "remedy": "r",
    "checks": [],
}


@pytest.mark.parametrize(
    "change",
    [
        {"severity": "dire"},
        {"side": "front"},
        {"kinds": ["guessed"]},
        {"kinds": []},
        {"unknown": "field"},
    ],
)
def test_a_catalogue_that_is_wrong_is_refused(tmp_path, change):
    path = tmp_path / "controls.yml"
    path.write_text(yaml.safe_dump({"X1": {**_ENTRY, **change}}))
    with pytest.raises(BadCatalogue):
        load_catalogue(path)


@pytest.mark.parametrize("text", ["", "[]", "X1: {title", "{}"])
def test_a_catalogue_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "controls.yml"
    path.write_text(text)
    with pytest.raises(BadCatalogue):
        load_catalogue(path)
