"""The rules from outcomes to states and exit status."""

import datetime as dt

import pytest

from holdfast import inventory as inventories
from holdfast.audit.catalogue import Catalogue, Control, UnknownControl
from holdfast.audit.judgement import (
    BadException,
    Exceptions,
    Outcome,
    State,
    exit_code,
    judge,
)

_TODAY = dt.date(2026, 3, 1)
_NOTHING = Exceptions(waivers={}, attestations={}, expected={}, lapsed=())


def _control(id_="X1", *, kinds=("behavioural",), checks=("t.py::one",)):
    return Control(
        id=id_,
        title="a title",
        statement="a statement",
        side="backend",
        kinds=kinds,
        severity="high",
        fails_when="it breaks",
        remedy="mend it",
        checks=checks,
    )


def _catalogue(*controls):
    return Catalogue({control.id: control for control in controls})


def _outcome(state, *, control="X1", check="t.py::one", kind="behavioural", detail="why"):
    return Outcome(
        control=control,
        kind=kind,
        check=check,
        title="a check",
        host="h1",
        state=state,
        detail=detail,
        seconds=0.1,
    )


def _state(control, *outcomes, exceptions=_NOTHING):
    (verdict,) = judge(_catalogue(control), outcomes, exceptions)
    return verdict.state


def _exceptions(**variables):
    listed = {
        "installation": {"hosts": ["h1"]},
        "_meta": {"hostvars": {"h1": variables}},
    }
    return Exceptions.read(
        inventories.parse(listed, path="inventory"),
        catalogue=_catalogue(_control(), _control("X2")),
        today=_TODAY,
    )


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([State.PASS], State.PASS),
        ([State.PASS, State.FAIL], State.FAIL),
        ([State.FAIL, State.ERROR], State.FAIL),
        ([State.PASS, State.ERROR], State.ERROR),
        ([State.PASS, State.NOT_EVALUATED], State.NOT_EVALUATED),
        ([State.FAIL, State.NOT_EVALUATED], State.FAIL),
        ([State.PASS, State.NOT_APPLICABLE], State.PASS),
        ([State.NOT_APPLICABLE], State.NOT_APPLICABLE),
        ([State.NOT_APPLICABLE, State.NOT_EVALUATED], State.NOT_EVALUATED),
    ],
)
def test_the_worst_outcome_stands(states, expected):
    assert _state(_control(), *map(_outcome, states)) is expected


def test_a_control_without_a_check_is_never_green():
    assert _state(_control(checks=())) is State.NOT_EVALUATED


def test_a_control_whose_checks_did_not_run_is_an_error():
    assert _state(_control()) is State.ERROR


def test_a_check_that_is_missing_is_an_error_though_the_others_pass():
    control = _control(checks=("t.py::one", "t.py::two"))
    assert _state(control, _outcome(State.PASS)) is State.ERROR


def test_an_expected_kind_of_proof_that_is_missing_is_not_green():
    control = _control(kinds=("behavioural", "effective"))
    assert _state(control, _outcome(State.PASS)) is State.NOT_EVALUATED


def test_a_kind_proven_by_nothing_but_inapplicable_checks_is_not_green():
    control = _control(kinds=("behavioural", "effective"))
    outcomes = [_outcome(State.PASS), _outcome(State.NOT_APPLICABLE, kind="effective")]
    assert _state(control, *outcomes) is State.NOT_EVALUATED


_WAIVER = {"control": "X1", "owner": "Ada", "until": "2026-03-01", "reason": "known"}
_WORD = {"control": "X1", "who": "Ada", "until": "2026-03-01", "statement": "I saw it"}


class TestExceptions:
    def test_a_waiver_covers_a_failure_until_its_last_day(self):
        exceptions = _exceptions(audit_waivers=[_WAIVER])
        assert _state(_control(), _outcome(State.FAIL), exceptions=exceptions) is State.WAIVED

    def test_a_lapsed_waiver_does_not_count_and_is_told(self):
        exceptions = _exceptions(audit_waivers=[{**_WAIVER, "until": "2026-02-28"}])
        assert _state(_control(), _outcome(State.FAIL), exceptions=exceptions) is State.FAIL
        assert "X1 ended on 2026-02-28" in exceptions.lapsed[0]

    def test_a_waiver_never_covers_a_check_that_could_not_finish(self):
        exceptions = _exceptions(audit_waivers=[_WAIVER])
        assert _state(_control(), _outcome(State.ERROR), exceptions=exceptions) is State.ERROR

    def test_a_word_stands_in_for_what_cannot_be_evaluated(self):
        exceptions = _exceptions(audit_attestations=[_WORD])
        seen = _outcome(State.NOT_EVALUATED)
        assert _state(_control(), seen, exceptions=exceptions) is State.ATTESTED

    def test_a_word_never_covers_a_failure(self):
        exceptions = _exceptions(audit_attestations=[_WORD])
        assert _state(_control(), _outcome(State.FAIL), exceptions=exceptions) is State.FAIL

    def test_a_lapsed_word_does_not_count(self):
        exceptions = _exceptions(audit_attestations=[{**_WORD, "until": "2025-12-31"}])
        seen = _outcome(State.NOT_EVALUATED)
        assert _state(_control(), seen, exceptions=exceptions) is State.NOT_EVALUATED

    def test_an_expected_one_stays_not_evaluated_and_is_acceptable(self):
        exceptions = _exceptions(audit_expected_not_evaluated=[{"control": "X1", "reason": "c"}])
        (verdict,) = judge(_catalogue(_control()), [_outcome(State.NOT_EVALUATED)], exceptions)
        assert (verdict.state, verdict.expected) == (State.NOT_EVALUATED, True)
        assert exit_code([verdict]) == 0

    @pytest.mark.parametrize("state", [State.FAIL, State.ERROR])
    def test_an_expectation_covers_nothing_else(self, state):
        exceptions = _exceptions(audit_expected_not_evaluated=[{"control": "X1", "reason": "c"}])
        (verdict,) = judge(_catalogue(_control()), [_outcome(state)], exceptions)
        assert not verdict.acceptable

    @pytest.mark.parametrize(
        "variables",
        [
            {"audit_waivers": {"control": "X1"}},
            {"audit_waivers": [{"control": "X1", "owner": "Ada", "until": "2026-03-01"}]},
            {"audit_waivers": [{**_WAIVER, "owner": ""}]},
            {"audit_waivers": [{**_WAIVER, "until": "next spring"}]},
            {"audit_waivers": [_WAIVER, _WAIVER]},
            {"audit_attestations": [{**_WORD, "extra": "1"}]},
            {"audit_expected_not_evaluated": [{"control": "X1"}]},
        ],
    )
    def test_half_an_exception_is_refused(self, variables):
        with pytest.raises(BadException):
            _exceptions(**variables)

    @pytest.mark.parametrize(
        "variables",
        [
            {"audit_waivers": [{**_WAIVER, "control": "X9"}]},
            {"audit_expected_not_evaluated": [{"control": "X9", "reason": "c"}]},
        ],
    )
    def test_an_exception_for_no_control_is_refused(self, variables):
        with pytest.raises(UnknownControl):
            _exceptions(**variables)


class TestExitStatus:
    def _code(self, *states, exceptions=_NOTHING):
        controls = [_control(f"X{index}") for index, _ in enumerate(states)]
        outcomes = [_outcome(state, control=f"X{index}") for index, state in enumerate(states)]
        return exit_code(judge(_catalogue(*controls), outcomes, exceptions))

    def test_0_when_all_is_kept(self):
        assert self._code(State.PASS, State.NOT_APPLICABLE) == 0

    def test_1_when_a_promise_is_broken_whatever_else(self):
        assert self._code(State.PASS, State.ERROR, State.FAIL) == 1

    def test_2_when_a_check_could_not_finish(self):
        assert self._code(State.PASS, State.ERROR) == 2

    def test_2_when_something_was_not_evaluated_and_nobody_expected_it(self):
        assert self._code(State.PASS, State.NOT_EVALUATED) == 2

    def test_2_when_nothing_was_judged(self):
        assert exit_code([]) == 2
