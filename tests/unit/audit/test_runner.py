"""The runner is not fooled: by checks that are not there, crash, skip or belong to nothing."""

import shutil
import textwrap

import pytest

from holdfast import inventory as inventories
from holdfast.audit import runner
from holdfast.audit.catalogue import checks_folder, load_catalogue
from holdfast.audit.judgement import State

_HEAD = (
    "import os\nimport pytest\nfrom holdfast.audit.outcomes import NotApplicable, NotEvaluated\n"
)
_MARK = '@pytest.mark.control("B3", kind="behavioural")\n'


@pytest.fixture
def outcomes(tmp_path):
    """Run checks written in a test, without any host: outcomes(code) -> tuple."""
    listed = {
        "installation": {"hosts": ["h1", "h2"]},
        "web": {"hosts": ["h1"]},
        "_meta": {"hostvars": {"h1": {}, "h2": {}}},
    }
    inventory = inventories.parse(listed, path=tmp_path)

    def run(code):
        folder = tmp_path / "checks"
        folder.mkdir(exist_ok=True)
        (folder / "test_it.py").write_text(_HEAD + textwrap.dedent(code))
        return runner._outcomes(
            inventory,
            load_catalogue().select(["B3"]),
            ssh_config=tmp_path / "none",
            checks=folder,
        )

    return run


_SEEN = {
    "pass": State.PASS,
    "assert False, 'it is broken'": State.FAIL,
    "raise AssertionError": State.FAIL,
    "pytest.fail('it is broken')": State.ERROR,
    "raise RuntimeError('crash')": State.ERROR,
    "raise SystemExit(0)": State.ERROR,
    "pytest.skip('no')": State.ERROR,
    "raise NotEvaluated('cannot see')": State.NOT_EVALUATED,
    "raise NotApplicable('no object')": State.NOT_APPLICABLE,
    # An assertion of a library is a crash of the check, not a statement about the host.
    "import unittest; unittest.TestCase().assertTrue(False)": State.ERROR,
}


def test_what_a_check_does_is_what_is_seen(outcomes):
    code = "".join(
        f"{_MARK}def test_{number}():\n    '{number}'\n    {body}\n"
        for number, body in enumerate(_SEEN)
    )
    seen = {int(outcome.title): outcome.state for outcome in outcomes(code)}
    assert [seen[number] for number in range(len(_SEEN))] == list(_SEEN.values())


def test_a_fixture_that_crashes_is_an_error(outcomes):
    seen = outcomes(
        "@pytest.fixture\n"
        "def early():\n    raise RuntimeError('crash')\n"
        "@pytest.fixture\n"
        "def late():\n    yield\n    raise RuntimeError('crash')\n"
        f"{_MARK}def test_one(early):\n    pass\n"
        f"{_MARK}def test_two(late):\n    pass\n"
    )
    assert [outcome.state for outcome in seen] == [State.ERROR, State.ERROR]


def test_a_tear_down_hides_no_failure(outcomes):
    seen = outcomes(
        "@pytest.fixture\n"
        "def crashes():\n    yield\n    raise RuntimeError('crash')\n"
        "@pytest.fixture\n"
        "def blind():\n    yield\n    raise NotEvaluated('cannot see the rest')\n"
        f"{_MARK}def test_one(crashes):\n    assert False, 'it is broken'\n"
        f"{_MARK}def test_two(blind):\n    assert False, 'it is broken'\n"
        f"{_MARK}def test_three(blind):\n    pass\n"
    )
    assert [one.state for one in seen] == [State.FAIL, State.FAIL, State.NOT_EVALUATED]
    assert seen[0].detail.startswith("it is broken; teardown: RuntimeError")


def test_without_an_outsider_only_checks_from_outside_are_not_evaluated(outcomes, tmp_path):
    (tmp_path / "checks").mkdir()
    shutil.copy(checks_folder() / "conftest.py", tmp_path / "checks")
    seen = outcomes(
        f"{_MARK}def test_one():\n    pass\n"
        f"{_MARK}def test_two(scan):\n    pass\n"
        f"{_MARK}def test_three(target):\n    pass\n"
    )
    states = {one.check.partition("::")[2]: one.state for one in seen}
    assert states == {
        "test_one": State.PASS,
        "test_two": State.NOT_EVALUATED,
        "test_three": State.PASS,
    }
    (reason,) = {one.detail for one in seen if one.state is State.NOT_EVALUATED}
    assert "no host is in the group outside" in reason


def test_a_check_runs_on_each_host_of_its_group(outcomes):
    every = outcomes(f"{_MARK}def test_one(target):\n    pass\n")
    assert [seen.host for seen in every] == ["h1", "h2"]
    mark = _MARK.replace(")\n", ', on="web")\n')
    assert [seen.host for seen in outcomes(f"{mark}def test_one(target):\n    pass\n")] == ["h1"]


def test_a_group_without_hosts_is_not_evaluated(outcomes):
    mark = _MARK.replace(")\n", ', on="vault")\n')
    (seen,) = outcomes(f"{mark}def test_one(target):\n    pass\n")
    assert (seen.state, seen.detail) == (State.NOT_EVALUATED, "no host is in the group vault")


@pytest.mark.parametrize(
    "code",
    [
        "",
        "def helper():\n    pass\n",
        "def test_one():\n    pass\n",
        '@pytest.mark.control("X9", kind="behavioural")\ndef test_one():\n    pass\n',
        '@pytest.mark.control("B3", kind="declared")\ndef test_one():\n    pass\n',
        '@pytest.mark.control("B3")\ndef test_one():\n    pass\n',
        f"{_MARK}{_MARK}def test_one():\n    pass\n",
        '@pytest.mark.control("B4", kind="behavioural")\ndef test_one():\n    pass\n',
        "import no_such_module\n",
        "def test_one(:\n",
        f"{_MARK}def test_one():\n    os._exit(0)\n",
        f"{_MARK}def test_one():\n    pytest.exit('enough', returncode=0)\n",
    ],
    ids=[
        "no file content",
        "nothing to collect",
        "no control",
        "unknown control",
        "a kind nobody expects",
        "no kind",
        "two controls",
        "none of the wanted control",
        "import error",
        "syntax error",
        "the process ends",
        "the session ends early",
    ],
)
def test_checks_that_cannot_be_counted_break_the_audit(outcomes, code):
    with pytest.raises(runner.AuditBroken):
        outcomes(code)


def test_options_of_the_environment_cannot_deselect_checks(outcomes, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k nothing")
    assert len(outcomes(f"{_MARK}def test_one():\n    pass\n")) == 1


def test_a_check_never_runs_on_the_auditors_machine_by_mistake(outcomes):
    (seen,) = outcomes(f"{_MARK}def test_one(outside):\n    pass\n")
    assert seen.state is State.NOT_EVALUATED
