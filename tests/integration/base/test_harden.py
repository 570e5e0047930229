"""The program of role hardening writes nothing in a dry run, and survives what it cannot read."""

from __future__ import annotations

import io
import json

import pytest

from tests.programs import loaded

harden = loaded("roles/hardening/files/harden.py")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A folder of settings in place of the kernel's."""
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/sysrq").write_text("1\n", encoding="utf-8")
    monkeypatch.setattr(harden, "_KERNEL", tmp_path)
    monkeypatch.setattr(harden, "_RECORD", tmp_path / "record.json")
    return tmp_path / "kernel"


def test_dry_run_writes_nothing_even_where_it_is_told_that_it_may_not(kernel, monkeypatch):
    monkeypatch.setattr(harden.os, "access", lambda *_: False)
    assert list(harden._set_sysctl("kernel.sysrq", 0, dry_run=True))
    assert (kernel / "sysrq").read_text(encoding="utf-8") == "1\n"


def test_setting_that_cannot_be_read_is_named(kernel):
    (kernel / "folder").mkdir()
    [(name, before, error)] = harden._set_sysctl("kernel.folder", 0, dry_run=False)
    assert (name, before) == ("kernel.folder", None)
    assert "could not be set" in error


def test_dry_run_takes_the_wishes_it_is_handed(kernel, monkeypatch, capsys):
    wishes = {"container": True, "sysctl": {"kernel.sysrq": 0}, "mounts": {}, "modules": []}
    monkeypatch.setattr(harden.sys, "stdin", io.StringIO(json.dumps(wishes)))
    assert harden.main(dry_run=True, stdin=True) == 0
    changed = json.loads(capsys.readouterr().out)["changed"]
    assert [entry["name"] for entry in changed] == ["kernel.sysrq"]
    assert sorted(path.name for path in kernel.parent.iterdir()) == ["kernel"]


def _dry_run(monkeypatch, capsys, *, container):
    wishes = {"container": container, "sysctl": {"kernel.sysrq": 0}, "mounts": {}, "modules": []}
    monkeypatch.setattr(harden.sys, "stdin", io.StringIO(json.dumps(wishes)))
    assert harden.main(dry_run=True, stdin=True) == 0
    return json.loads(capsys.readouterr().out)


def test_dry_run_of_a_container_remembers_what_only_trying_shows(kernel, monkeypatch, capsys):
    refusal = {
        "kind": "sysctl",
        "wish": "kernel.sysrq",
        "name": "kernel.sysrq",
        "wanted": "0",
        "found": "1",
        "reason": "could not be set: the kernel keeps its value",
    }
    record = kernel.parent / "record.json"
    record.write_text(json.dumps({"unsettable": [refusal]}), encoding="utf-8")
    seen = _dry_run(monkeypatch, capsys, container=True)
    assert (seen["unsettable"], seen["changed"]) == ([refusal], [])
    # A host of its own must try again: there it is a failure, and may be mended.
    assert _dry_run(monkeypatch, capsys, container=False)["changed"]
    (kernel / "sysrq").write_text("2\n", encoding="utf-8")
    assert _dry_run(monkeypatch, capsys, container=True)["changed"]
