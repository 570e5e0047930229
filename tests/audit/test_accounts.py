"""H4: who can log in and who can become root, as exact sets."""

import pytest

_PEOPLE = range(1000, 60_000)
_NO_SHELLS = {"/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false"}
_DEBIANS_GRANTS = {"root", "%sudo"}


@pytest.fixture(scope="session")
def accounts(each, probes, installation_hosts):
    """Each host's accounts, keys, powerful groups and sudo rules: by host."""
    return each(installation_hosts, lambda view, _: probes.run(view, "accounts"))


@pytest.fixture
def administrators(target, wanted):
    """The people who may administer the host, with their keys: by name."""
    return {
        entry["name"]: set(entry["keys"])
        for entry in wanted(target, "base", "base_administrators") or ()
    }


def _exactly(what, found, expected):
    """Return what differs between two sets, in words."""
    return [f"{what} beyond the inventory: {one}" for one in sorted(found - expected)] + [
        f"{what} missing: {one}" for one in sorted(expected - found)
    ]


@pytest.mark.control("H4", kind="effective")
def test_exactly_the_listed_people_have_accounts(target, accounts, administrators, wanted):
    """The open accounts of people are the inventory's, and root is the only one with its id"""
    others = set(wanted(target, "base", "base_other_accounts") or ())
    listed = accounts[target.name]["accounts"]
    people = {
        one["name"]
        for one in listed
        if one["uid"] in _PEOPLE and not (one["expired"] and one["shell"] in _NO_SHELLS)
    }
    problems = _exactly("account", people, set(administrators) | others)
    problems += _exactly("superuser", {o["name"] for o in listed if o["uid"] == 0}, {"root"})
    assert not problems, "\n".join(problems)


@pytest.mark.control("H4", kind="effective")
def test_no_account_has_a_password(target, accounts):
    """Nobody logs in with a password, because nobody has one"""
    problems = [
        f"{one['name']}: password is {one['password']}"
        for one in accounts[target.name]["accounts"]
        if one["password"] != "locked"  # noqa: S105 - a state, not a secret
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.control("H4", kind="effective")
def test_exactly_the_listed_keys_open_accounts(target, accounts, administrators):
    """The keys of each account are the inventory's, and no other account has any"""
    found = {(name, key) for name, keys in accounts[target.name]["keys"].items() for key in keys}
    expected = {(name, key) for name, keys in administrators.items() for key in keys}
    problems = _exactly("key", found, expected)
    assert not problems, "\n".join(problems)


@pytest.mark.control("H4", kind="effective")
def test_exactly_the_listed_people_become_root(target, accounts, administrators):
    """sudo grants something to the administrators, and to nobody else"""
    grants = {rule[0] for rule in accounts[target.name]["sudo"]}
    problems = _exactly("sudo rule for", grants - _DEBIANS_GRANTS, set(administrators))
    problems += [
        f"sudo without a password for {rule[0]}"
        for rule in accounts[target.name]["sudo"]
        if not rule[3] and rule[0] not in administrators
    ]
    for group, members in accounts[target.name]["groups"].items():
        strangers = set(members) - set(administrators) - {"root"}
        problems += [f"{name} is in the group {group}" for name in sorted(strangers)]
    assert not problems, "\n".join(problems)
