"""H10: PostgreSQL lets in whom the inventory lists, over TLS, by a password that soon ends."""

import ipaddress
import json
import re

import pytest

from holdfast import flows as planning

_PORT = 5432
_LEASE = re.compile(r"^v-")
_LONGEST = 24 * 3600
_ALLOWED = {("local", "peer"), ("hostssl", "scram-sha-256")}
_ASK = """
SELECT json_build_object(
  'rules', (SELECT json_agg(rule) FROM pg_hba_file_rules AS rule),
  'unread', (SELECT modification > pg_conf_load_time()
             FROM pg_stat_file(current_setting('hba_file'))),
  'roles', (SELECT json_agg(json_build_object(
      'name', rolname, 'login', rolcanlogin, 'super', rolsuper, 'createdb', rolcreatedb,
      'createrole', rolcreaterole, 'replication', rolreplication, 'bypass', rolbypassrls,
      'password', left(rolpassword, 14),
      'seconds', extract(epoch FROM rolvaliduntil - now()),
      'member', ARRAY(SELECT role.rolname FROM pg_auth_members AS m
                      JOIN pg_roles AS role ON role.oid = m.roleid WHERE m.member = pg_authid.oid)
    )) FROM pg_authid),
  'settings', (SELECT json_object_agg(name, setting) FROM pg_settings WHERE name IN
     ('ssl', 'ssl_min_protocol_version', 'password_encryption', 'data_checksums', 'fsync',
      'full_page_writes')));
"""
_SETTINGS = {
    "ssl": {"on"},
    "ssl_min_protocol_version": {"TLSv1.2", "TLSv1.3"},
    "password_encryption": {"scram-sha-256"},
    "data_checksums": {"on"},
    "fsync": {"on"},
    "full_page_writes": {"on"},
}


@pytest.fixture(scope="session")
def clusters(each, inventory):
    """What each PostgreSQL says of itself: by host."""
    names = [host.name for host in inventory.group("database")]

    def ask(view, _):
        # From a folder that postgres may enter.
        said = view.check_output("cd / && runuser -u postgres -- psql -XAtq -c %s", _ASK)
        return json.loads(said)

    return each(names, ask)


@pytest.fixture
def databases(target, wanted):
    """The databases that the inventory lists for the host."""
    return wanted(target, "postgresql", "postgresql_databases") or []


@pytest.fixture
def entrances(target, wanted, plan, databases):
    """Who may come from where: a set of (database, user, network)."""
    _, installation = plan
    words = [("postgres", "vault", wanted(target, "postgresql", "postgresql_vault_clients"))]
    for one in databases:
        words.append((one["name"], f"+{one['name']}_app", one["clients"]))
        words.append(
            (one["name"], f"+{one['name']}_migrate", one.get("migrations", one["clients"]))
        )
    return {
        (database, user, str(network))
        for database, user, sources in words
        for network in planning.word_networks(sources, installation=installation)
    }


@pytest.mark.control("H10", kind="effective", on="database")
def test_exactly_the_listed_may_come_in(target, clusters, entrances):
    """The rules of pg_hba.conf that let in are those of the inventory, and the last ones refuse"""
    rules = clusters[target.name]["rules"]
    assert not clusters[target.name]["unread"], "pg_hba.conf has changed since it was read"
    problems = [f"line {rule['line_number']}: {rule['error']}" for rule in rules if rule["error"]]
    inviting = [rule for rule in rules if rule["auth_method"] != "reject"]
    problems += [
        f"line {rule['line_number']}: {rule['type']} by {rule['auth_method']}"
        for rule in inviting
        if (rule["type"], rule["auth_method"]) not in _ALLOWED
    ]
    found = {
        (database, user, _network(rule))
        for rule in inviting
        if rule["type"] != "local"
        for database in rule["database"]
        for user in rule["user_name"]
    }
    inside = {
        (database, user)
        for rule in inviting
        if rule["type"] == "local"
        for database in rule["database"]
        for user in rule["user_name"]
    }
    problems += [f"let in beyond the inventory: {one}" for one in sorted(found - entrances)]
    problems += [f"not let in: {one}" for one in sorted(entrances - found)]
    problems += [f"let in on the host: {one}" for one in sorted(inside - {("all", "postgres")})]
    last = {tuple(rule["database"]): rule for rule in rules if rule["type"] == "host"}
    problems += [
        f"no last rule refuses {name}"
        for name in ("all", "replication")
        if last.get((name,), {}).get("auth_method") != "reject"
    ]
    assert not problems, "\n".join(problems)


def _network(rule):
    """The network of a rule in CIDR notation; PostgreSQL writes IPv6's masks as addresses, too."""
    if not rule["netmask"]:
        return rule["address"]  # a word
    length = bin(int(ipaddress.ip_address(rule["netmask"]))).count("1")
    return f"{rule['address']}/{length}"


@pytest.mark.control("H10", kind="effective", on="database")
def test_logins_are_leased(target, clusters, databases):
    """Beside the administrator, without a password, and Vault's account every login soon ends"""
    roles = {one["name"]: one for one in clusters[target.name]["roles"]}
    usable = {f"{one['name']}_{kind}" for one in databases for kind in ("app", "migrate")}
    problems = []
    for name, role in sorted(roles.items()):
        powers = {
            p for p in ("super", "createdb", "createrole", "replication", "bypass") if role[p]
        }
        allowed = {"postgres": powers, "vault": {"createrole"}}.get(name, set())
        if powers - allowed:
            problems.append(f"{name} has {', '.join(sorted(powers - allowed))}")
        if role["password"] and role["password"] != "SCRAM-SHA-256$"[:14]:
            problems.append(f"the password of {name} is not kept by SCRAM-SHA-256")
        if not role["login"]:
            continue
        if name == "postgres":
            problems += ["postgres has a password"] if role["password"] else []
        elif _LEASE.match(name):
            seconds = role["seconds"]
            if seconds is None or seconds > _LONGEST:
                problems.append(f"the login {name} does not end within a day")
            if set(role["member"]) - usable or len(role["member"]) != 1:
                problems.append(f"the login {name} is a member of {role['member']}")
        elif name != "vault":
            problems.append(f"{name} is a login that Vault did not make")
    assert not problems, "\n".join(problems)


@pytest.mark.control("H10", kind="effective", on="database")
def test_what_is_written_is_kept(target, clusters):
    """TLS is on, passwords are kept by SCRAM, pages have checksums and reach the disk"""
    found = clusters[target.name]["settings"]
    problems = [
        f"{name} is {found[name]}, not {' or '.join(sorted(values))}"
        for name, values in _SETTINGS.items()
        if found[name] not in values
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.control("H10", kind="behavioural", on="database")
def test_no_door_opens_without_tls_and_a_password(target, views, probes, inventory):
    """From Vault's host: in clear nothing, over TLS a SCRAM exchange, for postgres a refusal"""
    client = next(host.name for host in inventory.group("vault"))
    answers = probes.run(
        views[client],
        "postgresql",
        doors=[
            {"address": address, "port": _PORT, "user": user, "database": "postgres", "tls": tls}
            for address in target.addresses
            for user, tls in (("vault", False), ("vault", True), ("postgres", True))
        ],
    )
    problems = []
    for answer in answers:
        door = f"{answer['user']} {'over TLS' if answer['tls'] else 'in clear'}"
        expected = "sasl" if answer["tls"] and answer["user"] == "vault" else "refused"
        if answer["said"] != expected:
            problems.append(f"{door} at {answer['address']}: {answer['said']}, not {expected}")
    assert answers, "no address was tried"
    assert not problems, "\n".join(problems)
