"""From what the checks saw to one state per control. No check here, no host: only rules."""

from __future__ import annotations

import datetime as dt
import enum
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from holdfast.audit.catalogue import Catalogue, Control
    from holdfast.inventory import Inventory


class State(enum.StrEnum):
    """What is known about a control, or what one check saw on one host."""

    PASS = "pass"  # noqa: S105 - a state, not a secret
    FAIL = "fail"
    ERROR = "error"
    NOT_EVALUATED = "not evaluated"
    NOT_APPLICABLE = "not applicable"
    WAIVED = "waived"
    ATTESTED = "attested"


class BadException(Error):
    """A waiver, an attestation or an expectation that lacks what makes it one."""


@dataclass(frozen=True)
class Outcome:
    """What one check saw on one host."""

    control: str
    kind: str
    check: str
    title: str
    host: str
    state: State
    detail: str
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """A control's state, why, and the outcomes it rests on."""

    control: Control
    state: State
    reason: str
    outcomes: tuple[Outcome, ...]
    expected: bool = False

    @property
    def acceptable(self) -> bool:
        """Whether the control leaves nothing to do: kept, answered for, or expected."""
        return self.expected or self.state in {
            State.PASS,
            State.NOT_APPLICABLE,
            State.WAIVED,
            State.ATTESTED,
        }


@dataclass(frozen=True)
class Exceptions:
    """What the inventory says about controls that are not simply kept.

    audit_waivers: list of {control, owner, until, reason}: a known failure, accepted.
    audit_attestations: list of {control, who, until, statement}: a person's word.
    audit_expected_not_evaluated: list of {control, reason}: what cannot be seen here.
    `until` is the last day that counts (YYYY-MM-DD, UTC).
    """

    waivers: Mapping[str, Mapping[str, str]]
    attestations: Mapping[str, Mapping[str, str]]
    expected: Mapping[str, str]
    lapsed: tuple[str, ...]

    @classmethod
    def read(cls, inventory: Inventory, *, catalogue: Catalogue, today: dt.date) -> Exceptions:
        """Take them from the inventory; lapsed ones do not count. Raises BadException."""
        lapsed: list[str] = []

        def entries(variable: str, *fields: str) -> dict[str, dict[str, str]]:
            listed = _entries(inventory.variable(variable, []), variable, fields)
            catalogue.require((entry["control"] for entry in listed), where=variable)
            current = {}
            for entry in listed:
                if "until" in entry and _day(entry["until"], variable) < today:
                    lapsed.append(f"{variable}: {entry['control']} ended on {entry['until']}")
                else:
                    current[entry["control"]] = entry
            return current

        return cls(
            waivers=entries("audit_waivers", "control", "owner", "until", "reason"),
            attestations=entries("audit_attestations", "control", "who", "until", "statement"),
            expected={
                control: entry["reason"]
                for control, entry in entries(
                    "audit_expected_not_evaluated", "control", "reason"
                ).items()
            },
            lapsed=tuple(lapsed),
        )


def judge(
    catalogue: Catalogue, outcomes: Sequence[Outcome], exceptions: Exceptions
) -> tuple[Verdict, ...]:
    """Give every control of the catalogue its state."""
    return tuple(
        _excepted(_judged(control, [o for o in outcomes if o.control == control.id]), exceptions)
        for control in catalogue.controls.values()
    )


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """Return 0 when all is kept or answered for, 1 when a promise is broken, 2 otherwise."""
    states = tuple(verdicts)
    if any(verdict.state is State.FAIL for verdict in states):
        return 1
    return 0 if states and all(verdict.acceptable for verdict in states) else 2


def _judged(control: Control, outcomes: Sequence[Outcome]) -> Verdict:
    state, reason = _state(control, outcomes)
    return Verdict(control=control, state=state, reason=reason, outcomes=tuple(outcomes))


def _state(control: Control, outcomes: Sequence[Outcome]) -> tuple[State, str]:
    """Take the first rule that fits, from the worst to the best."""
    seen = Counter(outcome.state for outcome in outcomes)
    missing = sorted(set(control.checks) - {outcome.check for outcome in outcomes})
    proven = {outcome.kind for outcome in outcomes if outcome.state is State.PASS}
    unproven = [kind for kind in control.kinds if kind not in proven]
    rules = (
        (
            seen[State.FAIL],
            State.FAIL,
            f"{seen[State.FAIL]} of {len(outcomes)} checks saw it broken",
        ),
        (seen[State.ERROR], State.ERROR, f"{seen[State.ERROR]} checks could not finish"),
        (missing, State.ERROR, f"did not run: {', '.join(missing)}"),
        (not outcomes, State.NOT_EVALUATED, "no check exists yet"),
        (seen[State.NOT_EVALUATED], State.NOT_EVALUATED, _details(outcomes, State.NOT_EVALUATED)),
        (not proven, State.NOT_APPLICABLE, _details(outcomes, State.NOT_APPLICABLE)),
        (unproven, State.NOT_EVALUATED, f"no {' and no '.join(unproven)} proof"),
    )
    fitting = ((state, reason) for fits, state, reason in rules if fits)
    return next(fitting, (State.PASS, f"{seen[State.PASS]} checks"))


def _details(outcomes: Sequence[Outcome], state: State) -> str:
    return "; ".join(sorted({outcome.detail for outcome in outcomes if outcome.state is state}))


def _excepted(verdict: Verdict, exceptions: Exceptions) -> Verdict:
    id_ = verdict.control.id
    state, reason, expected = verdict.state, verdict.reason, False
    if state in {State.FAIL, State.NOT_EVALUATED} and id_ in exceptions.waivers:
        waiver = exceptions.waivers[id_]
        state = State.WAIVED
        reason = f"{reason}; by {waiver['owner']} until {waiver['until']}: {waiver['reason']}"
    elif state is State.NOT_EVALUATED and id_ in exceptions.attestations:
        word = exceptions.attestations[id_]
        state = State.ATTESTED
        reason = f"{reason}; by {word['who']} until {word['until']}: {word['statement']}"
    elif state is State.NOT_EVALUATED and id_ in exceptions.expected:
        expected, reason = True, f"{reason}; expected: {exceptions.expected[id_]}"
    return Verdict(verdict.control, state, reason, verdict.outcomes, expected)


def _entries(listed: Any, variable: str, fields: tuple[str, ...]) -> list[dict[str, str]]:
    if not isinstance(listed, list):
        raise BadException(f"{variable} must be a list of entries with {', '.join(fields)}.")
    for entry in listed:
        if not isinstance(entry, dict) or set(entry) != set(fields) or not all(entry.values()):
            raise BadException(
                f"{variable}: {entry!r} must have {', '.join(fields)}, none empty and nothing else."
            )
    controls = [entry["control"] for entry in listed]
    twice = sorted(control for control, count in Counter(controls).items() if count > 1)
    if twice:
        raise BadException(f"{variable} names {', '.join(twice)} twice; keep one entry.")
    return [{key: str(value) for key, value in entry.items()} for entry in listed]


def _day(value: str, variable: str) -> dt.date:
    try:
        return dt.date.fromisoformat(value)
    except ValueError as error:
        raise BadException(f"{variable}: {value!r} is no day; write YYYY-MM-DD.") from error
