"""The pytest plugin that the audit's checks run under.

A check is a test with one marker, `control(id, kind, on=group)`. With the fixture `target` it runs
once per host of the group (default: installation), `host` being testinfra's view of that host.
Nothing passes by not running: a check that skips, crashes or belongs to no control is an error.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import testinfra  # type: ignore[import-untyped]  # it ships no types

from holdfast import inventory as inventories
from holdfast.audit.catalogue import KINDS, load_catalogue
from holdfast.audit.judgement import State
from holdfast.audit.outcomes import NotApplicable, NotEvaluated

if TYPE_CHECKING:
    from collections.abc import Generator

    from testinfra.host import Host as View  # type: ignore[import-untyped]  # as above

    from holdfast.inventory import Host, Inventory

_CONTEXT = pytest.StashKey["_Session"]()
_WORST_FIRST = (
    State.FAIL,
    State.ERROR,
    State.NOT_EVALUATED,
    State.NOT_APPLICABLE,
    State.PASS,
)


class _Session:
    """What the runner handed over, and what the checks have said so far."""

    def __init__(self, context: dict[str, Any]) -> None:
        self.inventory = inventories.parse(context["inventory"], path=Path(context["path"]))
        self.ssh_config = context["ssh_config"]
        self.controls = frozenset(context["controls"])
        self.results = Path(context["results"])
        self.collected: list[str] = []
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def view(self, name: str) -> View:
        """Return testinfra's host, over the shared connection, with root's rights."""
        return testinfra.get_host(f"ssh://{name}", ssh_config=self.ssh_config, sudo=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the runner's hand-over file."""
    parser.addoption("--audit-context", required=True, help="written by holdfast.audit.runner")


def pytest_configure(config: pytest.Config) -> None:
    """Read the hand-over."""
    context = json.loads(Path(config.getoption("--audit-context")).read_text())
    config.stash[_CONTEXT] = _Session(context)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a check that takes `target` once per host of its group."""
    if "target" not in metafunc.fixturenames:
        return
    markers = list(metafunc.definition.iter_markers("control"))
    group = markers[0].kwargs.get("on", "installation") if markers else "installation"
    hosts = metafunc.config.stash[_CONTEXT].inventory.group(group)
    metafunc.parametrize("target", hosts or [None], ids=lambda host: host.name if host else "none")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse checks that no control counts, and keep those of the wanted controls."""
    session = config.stash[_CONTEXT]
    catalogue = load_catalogue()
    wanted = []
    for item in items:
        id_, kind = _marked(item)
        if id_ not in catalogue.controls or kind not in catalogue.controls[id_].kinds:
            raise pytest.UsageError(f"{item.nodeid}: no control {id_} with {kind} proof")
        if id_ in session.controls:
            wanted.append(item)
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted
    session.collected = [item.nodeid for item in items]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say so when the group that a check looks at has no host."""
    params = getattr(item, "callspec", None)
    if params and params.params.get("target", item) is None:
        marker = item.get_closest_marker("control")
        group = marker.kwargs.get("on", "installation") if marker else ""
        raise NotEvaluated(f"no host is in the group {group}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down what the check saw; the worst of set-up, check and tear-down stands."""
    report = yield
    session = item.config.stash[_CONTEXT]
    session.seconds[item.nodeid] += call.duration
    if call.when != "call" and call.excinfo is None:
        return report
    id_, kind = _marked(item)
    state, detail = _worse(session.outcomes.get(item.nodeid), *_seen(item, call))
    params = getattr(item, "callspec", None)
    target = params.params.get("target") if params else None
    session.outcomes[item.nodeid] = {
        "control": id_,
        "kind": kind,
        "check": f"{item.path.name}::{getattr(item, 'originalname', item.name)}",
        "title": (getattr(item, "function", item).__doc__ or item.name).strip().splitlines()[0],
        "host": target.name if target else "",
        "state": state.value,
        "detail": detail,
        "seconds": round(session.seconds[item.nodeid], 3),
    }
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the outcomes to the runner."""
    audit = session.config.stash[_CONTEXT]
    audit.results.write_text(
        json.dumps({"collected": audit.collected, "outcomes": list(audit.outcomes.values())})
    )


@pytest.fixture(scope="session")
def inventory(request: pytest.FixtureRequest) -> Inventory:
    """The whole inventory."""
    return request.config.stash[_CONTEXT].inventory


@pytest.fixture
def host(target: Host, request: pytest.FixtureRequest) -> View:
    """testinfra's view of the host that the check looks at."""
    return request.config.stash[_CONTEXT].view(target.name)


@pytest.fixture(scope="session")
def views(request: pytest.FixtureRequest) -> dict[str, View]:
    """testinfra's view of every host, by name."""
    session = request.config.stash[_CONTEXT]
    return {name: session.view(name) for name in session.inventory.hosts}


@pytest.fixture(scope="session")
def outsider(inventory: Inventory) -> Host:
    """The host of the group outside, which plays a stranger."""
    hosts = inventory.group("outside")
    if not hosts:
        raise NotEvaluated("no host is in the group outside, so nothing was tried from outside")
    return hosts[0]


@pytest.fixture(scope="session")
def outside(outsider: Host, request: pytest.FixtureRequest) -> View:
    """testinfra's view of the outsider."""
    return request.config.stash[_CONTEXT].view(outsider.name)


@pytest.fixture(scope="session")
def ssh_config(request: pytest.FixtureRequest) -> str:
    """Path of the ssh client configuration that reaches every host by its name."""
    return str(request.config.stash[_CONTEXT].ssh_config)


@pytest.fixture(scope="session")
def auditor() -> View:
    """testinfra's view of the machine that the audit runs on."""
    return testinfra.get_host("local://")


def _marked(item: pytest.Item) -> tuple[str, str]:
    markers = list(item.iter_markers("control"))
    if len(markers) != 1 or len(markers[0].args) != 1:
        raise pytest.UsageError(f"{item.nodeid}: a check has exactly one control(id, kind=…)")
    kind = markers[0].kwargs.get("kind")
    if kind not in KINDS:
        raise pytest.UsageError(f"{item.nodeid}: kind is one of {', '.join(KINDS)}")
    return markers[0].args[0], kind


def _worse(earlier: dict[str, Any] | None, state: State, detail: str) -> tuple[State, str]:
    """Join what was seen before with what is seen now: the worse state, both details."""
    if earlier is None:
        return state, detail
    details = [text for text in (earlier["detail"], detail) if text]
    return min(State(earlier["state"]), state, key=_WORST_FIRST.index), "; ".join(details)


def _seen(item: pytest.Item, call: pytest.CallInfo[None]) -> tuple[State, str]:
    if call.excinfo is None:
        return State.PASS, ""
    error = call.excinfo.value
    if isinstance(error, NotEvaluated):
        return State.NOT_EVALUATED, str(error)
    if isinstance(error, NotApplicable):
        return State.NOT_APPLICABLE, str(error)
    raised_in = Path(call.excinfo.traceback[-1].path)
    if isinstance(error, AssertionError) and call.when == "call" and raised_in == item.path:
        return State.FAIL, str(error) or "the check gave no detail"
    where = f"{raised_in.name}:{call.excinfo.traceback[-1].lineno + 1}"
    return State.ERROR, f"{call.when}: {type(error).__name__} at {where}: {error}"[:2000]
