"""T6: security updates arrive by themselves, and what runs uses them."""

import re
from collections import defaultdict
from email.utils import parsedate_to_datetime

import pytest

_TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")
_SECURITY = re.compile(r"^origin=Debian,codename=\S+-security,label=Debian-Security$")


@pytest.mark.control("T6", kind="declared")
def test_security_updates_and_no_others_are_unattended(target, host, wanted):
    """apt is told to look every day, to install unattended, and from Debian-Security only"""
    said = host.check_output("apt-config dump")
    values = re.findall(r'^(\S+) "(.*)";$', said, re.MULTILINE)
    single = dict(values)
    origins = [
        value
        for key, value in values
        if key in {"Unattended-Upgrade::Origins-Pattern::", "Unattended-Upgrade::Allowed-Origins::"}
    ]
    allowed = set(wanted(target, "base", "base_updates_origins"))
    problems = [
        f"{key} is {single.get(key)!r}, so nothing happens by itself"
        for key in ("APT::Periodic::Update-Package-Lists", "APT::Periodic::Unattended-Upgrade")
        if single.get(key, "0") in {"0", ""}
    ]
    problems += [f"also taken unattended: {origin}" for origin in set(origins) - allowed]
    if not any(_SECURITY.match(origin) for origin in origins):
        problems.append(f"Debian-Security is not among {origins}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("T6", kind="effective")
def test_the_timers_run(host):
    """The timers of apt are on, will fire again, and their last run did not fail"""
    problems = []
    for timer in _TIMERS:
        service = timer.replace(".timer", ".service")
        said = host.check_output(
            "systemctl show %s -p ActiveState -p UnitFileState -p NextElapseUSecRealtime; "
            "systemctl show %s -p Result",
            timer,
            service,
        )
        values = dict(line.partition("=")[::2] for line in said.splitlines())
        if values["ActiveState"] != "active" or values["UnitFileState"] != "enabled":
            problems.append(f"{timer} is {values['ActiveState']} and {values['UnitFileState']}")
        elif not values["NextElapseUSecRealtime"]:
            problems.append(f"{timer} will not fire again")
        if values["Result"] != "success":
            problems.append(f"{service} ended with {values['Result']}")
    assert not problems, "\n".join(problems)


@pytest.mark.control("T6", kind="effective")
def test_the_package_lists_are_fresh(host):
    """The signed list of security updates is one that is still valid, so that "no update" means it

    Debian signs it anew all the time, for a week; only an update that succeeded brings a new one.
    """
    said = host.check_output(
        "date +%s; cd /var/lib/apt/lists && grep -HE '^(Label|Valid-Until): ' ./*Release || true"
    )
    now, *lines = said.splitlines()
    lists = defaultdict(dict)
    for line in lines:
        name, key, value = line.split(":", 2)
        lists[name][key] = value.strip()
    until = {
        name: parsedate_to_datetime(fields["Valid-Until"])
        for name, fields in lists.items()
        if fields.get("Label") == "Debian-Security" and "Valid-Until" in fields
    }
    assert until, "no list of security updates was ever fetched"
    lapsed = [
        f"{n} was valid until {day}" for n, day in until.items() if day.timestamp() < int(now)
    ]
    assert not lapsed, "\n".join(lapsed)


@pytest.fixture(scope="session")
def simulated(each, installation_hosts):
    """What an upgrade of everything would install, in apt's words: by host."""
    command = "apt-get --simulate -o Debug::NoLocking=true dist-upgrade"
    return each(installation_hosts, lambda view, _: view.check_output(command))


@pytest.mark.control("T6", kind="effective")
def test_no_security_update_waits(target, simulated):
    """No security update that the lists know of is waiting"""
    said = simulated[target.name]
    waiting = re.findall(r"^Inst (\S+) .*Debian-Security:", said, re.MULTILINE)
    assert not waiting, f"waiting: {', '.join(waiting)}"


@pytest.mark.control("T6", kind="effective")
def test_nothing_runs_replaced_code(host, probes):
    """No process still uses a library or a program that an update has replaced"""
    stale = probes.run(host, "stale")
    assert not stale, "\n".join(
        f"{one['program']} ({one['pid']}): {', '.join(one['files'])}" for one in stale
    )
