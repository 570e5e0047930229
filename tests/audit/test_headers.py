"""B1 to B5: the headers of every answer, on every name, location and error page, from outside."""

import re

import pytest

_LOCKED_DIRECTIVES = ("frame-ancestors", "form-action", "base-uri")
_UNSAFE_SOURCE = re.compile(r"^(\*|https?:|http:.*|'unsafe-.*'|data:|blob:)$")
_ONE_YEAR = 31_536_000


def _values(answer, name):
    return [value for header, value in answer["headers"] if header == name]


def _problems(asked, judge, *, secured):
    """Return what is wrong with the answers, one line each; too few answers are wrong too."""
    found = []
    seen = 0
    for label, tls, answer in asked:
        if tls is not secured:
            continue
        if "error" in answer:
            if secured:
                found.append(f"{label}: {answer['error']}")
            continue
        seen += 1
        problem = judge(answer)
        if problem:
            found.append(f"{label} ({answer['status']}): {problem}")
    if not seen:
        found.append("not one answer was seen")
    return found


def _only(name, expected):
    """Return a judge: exactly one header of this name, with this value."""

    def judge(answer):
        values = _values(answer, name)
        if [value.lower() for value in values] == [expected]:
            return None
        return f"{name} is {values or 'missing'}"

    return judge


def _hsts(answer):
    values = _values(answer, "strict-transport-security")
    if len(values) != 1:
        return f"strict-transport-security is {values or 'missing'}"
    age = re.search(r"(?:^|;)\s*max-age=\"?(\d+)\"?\s*(?:;|$)", values[0])
    return None if age and int(age[1]) >= _ONE_YEAR else f"it lasts less than a year: {values[0]}"


def _policy(answer):
    values = _values(answer, "content-security-policy")
    if len(values) != 1:
        return f"content-security-policy is {values or 'missing'}"
    directives = {
        words[0].lower(): words[1:] for words in map(str.split, values[0].split(";")) if words
    }
    if directives.get("default-src") != ["'none'"]:
        return f"default-src is not 'none': {values[0]}"
    missing = [name for name in _LOCKED_DIRECTIVES if name not in directives]
    if missing:
        return f"{', '.join(missing)} not set, and default-src does not cover them: {values[0]}"
    loose = [
        source
        for sources in directives.values()
        for source in sources
        if _UNSAFE_SOURCE.match(source.lower())
    ]
    return f"{' '.join(loose)} lets scripts of others run: {values[0]}" if loose else None


def _report(problems):
    shown = problems[:12]
    return "\n".join([*shown, f"… and {len(problems) - 12} more"] if problems[12:] else shown)


@pytest.mark.control("B1", kind="behavioural", on="web")
def test_https_is_demanded_for_a_year(target, answers):
    """Every answer over TLS carries HSTS for at least a year"""
    problems = _problems(answers(target), _hsts, secured=True)
    assert not problems, _report(problems)


@pytest.mark.control("B1", kind="behavioural", on="web")
def test_https_is_demanded_over_tls_only(target, answers):
    """No answer in clear carries HSTS (RFC 6797, section 7.2)"""

    def judge(answer):
        values = _values(answer, "strict-transport-security")
        return f"HSTS in clear: {values}" if values else None

    problems = _problems(answers(target), judge, secured=False)
    assert not problems, _report(problems)


@pytest.mark.control("B2", kind="behavioural", on="web")
def test_nothing_runs_unless_it_is_turned_on(target, answers):
    """Every answer over TLS carries a policy that begins with nothing and is not loosened"""
    problems = _problems(answers(target), _policy, secured=True)
    assert not problems, _report(problems)


@pytest.mark.control("B3", kind="behavioural", on="web")
def test_no_page_may_be_framed(target, answers):
    """Every answer over TLS forbids framing"""
    problems = _problems(answers(target), _only("x-frame-options", "deny"), secured=True)
    assert not problems, _report(problems)


@pytest.mark.control("B4", kind="behavioural", on="web")
def test_types_are_not_guessed(target, answers):
    """Every answer over TLS forbids guessing its type"""
    problems = _problems(answers(target), _only("x-content-type-options", "nosniff"), secured=True)
    assert not problems, _report(problems)


@pytest.mark.control("B5", kind="behavioural", on="web")
def test_old_browsers_block_reflected_scripts(target, answers):
    """Every answer over TLS turns on the filter of old browsers"""
    problems = _problems(answers(target), _only("x-xss-protection", "1; mode=block"), secured=True)
    assert not problems, _report(problems)
