"""Each promise is broken on the live installation, and the audit must see it.

In the end the whole audit says what it said before.
"""

import contextlib
import os
import sys
from pathlib import Path

import pytest

from holdfast import audit as audits
from holdfast import inventory as inventories
from holdfast import paths, process
from holdfast.audit import connections
from holdfast.audit.judgement import State
from tests.e2e.breaks import BREAKS


@pytest.fixture(scope="module")
def inventory():
    path = os.environ.get("HOLDFAST_INVENTORY", paths.repository() / "inventory" / "local")
    return inventories.load(paths.repository() / path)


@pytest.fixture(scope="module")
def tell(inventory):
    """Have the first host of a group do something as root: tell(group, script).

    The group `operator` is this machine, with `holdfast` and `python` of this project.
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with connections.connected(inventory) as config:

        def do(group, script):
            if group == "operator":
                command = ["bash", "-eu", "-o", "pipefail", "-c", script]
                process.run(command, cwd=paths.repository(), env=environment, timeout=120)
                return
            host = inventory.group(group)[0].name
            command = ["ssh", "-F", str(config), host, "sudo bash -eu -o pipefail"]
            process.run(command, stdin=script, timeout=120)

        yield do


@pytest.fixture(scope="module")
def before(inventory):
    """What the audit says of the unbroken installation."""
    return {verdict.control.id: verdict for verdict in audits.run(inventory).verdicts}


@contextlib.contextmanager
def _broken(case, tell):
    with contextlib.ExitStack() as undoing:
        for group, script in case.undo.items():
            undoing.callback(tell, group, script)
        for group, script in case.do.items():
            tell(group, script)
        yield


@pytest.mark.parametrize("case", BREAKS, ids=lambda case: f"{case.control}-{case.checks[0]}")
def test_a_broken_promise_turns_red(case, tell, inventory, before):
    assert before[case.control].state is not State.FAIL, before[case.control].outcomes
    with _broken(case, tell):
        audit = audits.run(inventory, controls=[case.control])
    (verdict,) = audit.verdicts
    red = {
        outcome.check.partition("::")[2]
        for outcome in verdict.outcomes
        if outcome.state is State.FAIL
    }
    assert red >= set(case.checks), [
        (o.check, o.host, o.state, o.detail) for o in verdict.outcomes if o.state is not State.PASS
    ]
    assert audit.exit_code == 1


def test_everything_is_as_it_was(inventory, before):
    after = {v.control.id: v.state for v in audits.run(inventory).verdicts}
    assert after == {id_: verdict.state for id_, verdict in before.items()}
