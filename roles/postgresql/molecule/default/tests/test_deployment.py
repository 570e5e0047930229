"""What the role does: refuse what is wrong, mend what differs, finish what was killed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

testinfra_hosts = ["ansible://trixie1"]
_REPOSITORY = Path(__file__).resolve().parents[5]
UNIT = "postgresql@17-main.service"
DATA = "/var/lib/postgresql/17/main"

_GOOD = {"name": "gateway", "clients": ["app"]}


def _databases(*entries):
    return {"postgresql_databases": list(entries)}


# Wrong input, and what the message must name.
WRONG = {
    "bookworm": ({"__release": "bookworm"}, "PostgreSQL 17, which Debian bookworm does not have"),
    "two_of_a_name": (_databases(_GOOD, _GOOD), "stands there once"),
    "odd_name": (_databases({**_GOOD, "name": "a-b"}), "small letters, digits and _"),
    "quoted_name": (_databases({**_GOOD, "name": 'a"; DROP'}), "small letters, digits and _"),
    "long_name": (_databases({**_GOOD, "name": "a" * 41}), "at most 40 small letters"),
    "system_name": (_databases({**_GOOD, "name": "pg_x"}), "not with pg_"),
    "reserved_name": (_databases({**_GOOD, "name": "all"}), "is none of all, postgres"),
    "administrator_s": (_databases({**_GOOD, "name": "postgres"}), "is none of all, postgres"),
    "no_clients": (_databases({**_GOOD, "clients": []}), "each database needs clients"),
    "unknown_client": (_databases({**_GOOD, "clients": ["nobody"]}), "there is no group nobody"),
    "no_host": (_databases({**_GOOD, "clients": ["empty"]}), "has no host or address"),
    "everybody": (_databases({**_GOOD, "clients": ["anywhere"]}), "let everybody in"),
    "everybody_migrates": (_databases({**_GOOD, "migrations": ["0.0.0.0/0"]}), "let everybody in"),
    "everybody_is_vault": ({"postgresql_vault_clients": ["::/0"]}, "let everybody in"),
    "every_address": ({"postgresql_listen": ["::"]}, "must be addresses of the host"),
    "a_name": ({"postgresql_listen": ["localhost"]}, "must be addresses of the host"),
    "no_address": ({"postgresql_listen": []}, "must be addresses of the host"),
    "relative_path": ({"postgresql_tls_key": "tls.key"}, "must be absolute paths"),
    "odd_path": ({"postgresql_tls_ca": "/x'; #"}, "must be absolute paths"),
    "little_memory": ({"postgresql_memory_mb": 100}, "256 at least"),
    "few_connections": ({"postgresql_max_connections": 8}, "is 20 to 1000"),
    "weak_scram": ({"postgresql_scram_iterations": 1000}, "is 4096 (RFC 7677)"),
    "no_archiving": ({"postgresql_archive_command": " "}, "until the disk is full"),
    "two_lines": ({"postgresql_archive_command": "a\nb"}, "must be a command in one line"),
    "log_of_statements": ({"postgresql_log_level": "debug1"}, "postgresql_log_level"),
}
RIGHT = {
    "nothing": _databases(),
    "plain": _databases(_GOOD, {"name": "ledger", "clients": ["app", "192.0.2.0/24"]}),
    "nobody_is_vault": {"postgresql_vault_clients": []},
}


@pytest.fixture(scope="module")
def wishes(tmp_path_factory):
    """What is said of the wishes of one pretended host per case."""
    folder = tmp_path_factory.mktemp("wishes")
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "__release": "trixie",
        "addresses": ["192.0.2.7"],
        "postgresql_vault_clients": ["app"],
    }
    cases = {name: values for name, (values, _) in WRONG.items()} | RIGHT
    hosts = {**cases, "app1": {"addresses": ["192.0.2.8"]}}
    groups = {"app": {"hosts": {"app1": {}}}, "empty": {}}
    inventory = folder / "inventory.json"
    listed = {"hosts": hosts, "vars": common, "children": groups}
    inventory.write_text(json.dumps({"all": listed}))
    play = {
        "hosts": "all:!app",
        "gather_facts": False,
        "become": False,
        "tasks": [
            {
                "set_fact": {
                    "ansible_facts": {
                        "distribution_release": "{{ __release }}",
                        "virtualization_type": "podman",
                    }
                }
            },
            {"check_inventory": None},
            {"ansible.builtin.import_role": {"name": "postgresql"}, "when": False},
        ],
    }
    playbook = folder / "play.json"
    playbook.write_text(json.dumps([play]))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook],
        cwd=_REPOSITORY,
        env={
            **os.environ,
            "ANSIBLE_FORCE_COLOR": "false",
            "ANSIBLE_ANY_ERRORS_FATAL": "false",
            "ANSIBLE_STRATEGY": "linear",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_with_the_fix(wishes, case):
    failures = re.findall(rf"^(?:fatal|failed): \[{case}\].*", wishes, re.MULTILINE)
    assert failures, wishes[-3000:]
    assert WRONG[case][1] in failures[0].replace("\\n", " ")


@pytest.mark.parametrize("case", RIGHT)
def test_right_input_passes(wishes, case):
    assert re.search(rf"^{case} .* failed=0 ", wishes, re.MULTILINE), wishes[-3000:]


# What somebody does behind our back. A database's statements begin with its name.
_AS_POSTGRES = [
    "GRANT CONNECT ON DATABASE gateway TO PUBLIC",
    "GRANT TEMPORARY ON DATABASE postgres TO vault",
    "ALTER DATABASE gateway OWNER TO gateway_owner",
    "ALTER DATABASE gateway SET row_security = off",
    "ALTER ROLE postgres SET log_statement = 'all'",
    "ALTER ROLE vault CREATEDB CONNECTION LIMIT -1",
    "ALTER ROLE gateway_app LOGIN PASSWORD 'x' BYPASSRLS",
    "GRANT gateway_owner TO gateway_app",
    "GRANT pg_read_all_data TO vault",
    "GRANT ledger_app TO vault WITH INHERIT TRUE, SET TRUE",
    "REVOKE gateway_migrate FROM vault",
    "DROP DATABASE ledger",
]
_DEFAULT = "ALTER DEFAULT PRIVILEGES FOR ROLE gateway_owner"
_INSIDE = [
    "GRANT UPDATE (a), DELETE ON journal.drift TO gateway_app",
    "GRANT SELECT ON drift TO PUBLIC",
    "GRANT TRUNCATE, TRIGGER ON drift TO gateway_app",
    "GRANT CREATE ON SCHEMA public TO gateway_app",
    "GRANT USAGE ON SCHEMA journal TO PUBLIC",
    "ALTER SCHEMA journal OWNER TO postgres",
    f"{_DEFAULT} IN SCHEMA journal GRANT UPDATE ON TABLES TO gateway_app",
    f"{_DEFAULT} IN SCHEMA public REVOKE INSERT ON TABLES FROM gateway_app",
    f"{_DEFAULT} GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
    "GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC",
]
_ON_DISK = [
    "sed -i '1i host all all all trust' /etc/postgresql/17/main/pg_hba.conf",
    "echo 'work_mem = 1GB' >> /etc/postgresql/17/main/postgresql.conf",
    f"echo \"log_statement = 'all'\" >> {DATA}/postgresql.auto.conf",
    f"systemctl reload {UNIT}",
    "chmod 644 /etc/postgresql/17/main/pg_ident.conf",
    "echo '# mine' >> /usr/local/lib/holdfast/postgresql-vault-password",
    "echo create_main_cluster = true > /etc/postgresql-common/createcluster.conf",
]


def _everything(host, database):
    """All that there is in the cluster, but for data and passwords."""
    granted = database.admin(
        "SELECT datname, acl.* FROM pg_database, aclexplode(datacl) AS acl ORDER BY 1, 2, 3, 4"
    )
    return granted + host.check_output(
        "cd / && /usr/sbin/runuser -u postgres -- pg_dumpall --schema-only --no-role-passwords"
        # A random word of each dump.
        " | grep -v restrict"
    )


def test_a_check_foresees_what_is_mended_and_all_of_it_is(host, database, converge):
    for table in ("drift", "journal.drift"):
        database.admin(f"CREATE TABLE {table} (a int)", database="gateway")
    before = _everything(host, database)
    for command in _ON_DISK:
        host.check_output(command)
    for statement in _AS_POSTGRES:
        database.admin(statement)
    for statement in _INSIDE:
        database.admin(statement, database="gateway")
    rules = "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'trust'"
    assert database.admin(rules) == "1"
    checked = converge(host, "--check", "--diff")
    assert checked.status == 0, checked.output
    assert database.admin(rules) == "1"
    mended = converge(host)
    assert mended.status == 0, mended.output
    assert mended.changed == checked.changed
    assert converge(host).changed == set()
    assert _everything(host, database) == before
    assert database.admin(rules) == "0"
    database.admin("DROP TABLE drift, journal.drift", database="gateway")


def test_what_a_killed_run_left_unread_is_read_by_the_next(host, converge):
    """It was killed after it had written the rules, and before PostgreSQL read them."""
    rules = "/etc/postgresql/17/main/pg_hba.conf"
    host.check_output("cp -p %s /run/test.kept && echo 'host all x all md5' >> %s", rules, rules)
    host.check_output(f"systemctl reload {UNIT} && mv /run/test.kept {rules}")
    done = converge(host)
    assert done.changed == {"postgresql : Ensure that PostgreSQL runs with what is there"}
    assert converge(host).changed == set()


def test_another_superuser_is_named_and_nothing_is_touched(host, database, converge):
    database.admin("CREATE ROLE stranger SUPERUSER")
    try:
        refused = converge(host)
        assert refused.status != 0
        assert "has other superusers than postgres: stranger" in refused.output
        assert refused.changed == set()
    finally:
        database.admin("DROP ROLE stranger")


class TestRestart:
    """A living database is restarted when somebody says so."""

    def test_without_leave_the_rest_is_done_and_the_fix_named(self, host, database, converge):
        pid = host.check_output("systemctl show --value -p MainPID %s", UNIT)
        change = {"postgresql_max_connections": 90, "postgresql_lock_timeout": 11}
        refused = converge(host, **change)
        assert refused.status != 0
        assert "max_connections takes effect only when PostgreSQL is restarted" in refused.output
        assert database.admin("SHOW lock_timeout") == "11s"
        assert database.admin("SHOW max_connections") == "100"
        assert host.check_output("systemctl show --value -p MainPID %s", UNIT) == pid
        allowed = {"postgresql_restart_allowed": True}
        foreseen = converge(host, "--check", **change, **allowed)
        done = converge(host, **change, **allowed)
        assert done.status == 0, done.output
        assert len(done.changed) == 1
        assert done.changed == foreseen.changed
        assert done.changed.pop().endswith("for the sake of max_connections")
        assert database.admin("SHOW max_connections") == "90"

    def test_another_cage_needs_one_too(self, host, database, converge):
        """This goes back, too, to the connections that there were."""
        host.check_output(f"echo '# mine' >> /etc/systemd/system/{UNIT}.d/holdfast.conf")
        host.check_output("systemctl daemon-reload")
        refused = converge(host)
        named = "max_connections, its unit takes effect only when PostgreSQL is restarted"
        assert named in refused.output
        # It stays said until it is done.
        again = converge(host)
        assert again.status != 0
        assert again.changed == set()
        done = converge(host, postgresql_restart_allowed=True)
        assert done.status == 0, done.output
        assert database.admin("SHOW max_connections") == "100"
        assert converge(host).changed == set()


class TestCertificate:
    """Without material that PostgreSQL takes, nothing is changed."""

    def test_it_must_be_there(self, host, converge):
        refused = converge(host, postgresql_tls_certificate="/nonexistent/tls.crt")
        assert refused.status != 0
        assert "/nonexistent/tls.crt, " in refused.output
        assert "must exist on trixie1 before role postgresql runs" in refused.output
        assert refused.changed == set()

    @pytest.mark.parametrize(
        ("owner", "mode"), [("root:postgres", 644), ("postgres:postgres", 640)]
    )
    def test_the_key_must_be_one_that_postgresql_takes(self, host, converge, owner, mode):
        host.check_output(
            f"install -d /run/test && cat /run/holdfast/postgresql/tls.* > /run/test/tls.pem"
            f" && chown {owner} /run/test/tls.pem && chmod {mode} /run/test/tls.pem"
        )
        refused = converge(host, postgresql_tls_key="/run/test/tls.pem")
        host.check_output("rm -r /run/test")
        assert refused.status != 0
        assert "PostgreSQL takes a key only as root:postgres 0640" in refused.output
        assert refused.changed == set()

    def test_certificate_and_key_may_be_one_file(self, host, database, converge):
        host.check_output(
            "cat /run/holdfast/postgresql/tls.key /run/holdfast/postgresql/tls.crt > /run/tls.pem"
            " && chown root:postgres /run/tls.pem && chmod 640 /run/tls.pem"
        )
        # To wait for its start, the cage names the files.
        one = {f"postgresql_tls_{each}": "/run/tls.pem" for each in ("certificate", "key")}
        done = converge(host, **one, postgresql_restart_allowed=True)
        assert done.status == 0, done.output
        assert database.admin("SHOW ssl_key_file") == "/run/tls.pem"
        assert database.presented() in host.check_output("cat /run/tls.pem")
        assert host.run(f"systemctl reload {UNIT}").rc == 0
        assert converge(host, postgresql_restart_allowed=True).status == 0


@pytest.fixture
def gone(host):
    """The host as it is before the role has run, but for its packages."""
    host.check_output(f"systemctl disable --now {UNIT}")
    host.check_output(
        "rm -r /var/lib/postgresql/17 /etc/postgresql/17 /usr/local/lib/holdfast/postgresql-*"
        f" /etc/systemd/system/{UNIT}.d"
    )
    host.check_output("systemctl daemon-reload")


def _stands(host, database, converge):
    """One more run ends in the state that all others end in."""
    done = converge(host)
    assert done.status == 0, done.output
    assert database.admin("SHOW data_checksums") == "on"
    assert database.admin("SELECT count(*) FROM pg_database WHERE datname = 'gateway'") == "1"


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize(
    "moment",
    [
        "postgresql : Ensure that helpers are there",
        "postgresql : Ensure that PostgreSQL runs with what is there",
        "postgresql : Ensure that roles and databases are as wanted",
    ],
)
def test_a_run_that_is_killed_is_finished_by_the_next(
    host, database, converge, converge_until, moment
):
    converge_until(host, moment)
    _stands(host, database, converge)


@pytest.mark.usefixtures("gone")
def test_a_cluster_that_was_killed_when_half_made_is_made_anew(host, database, converge):
    host.check_output("install -d -o postgres -g postgres /var/lib/postgresql/17")
    host.check_output(
        "cd / && timeout --signal=KILL 0.4 /usr/sbin/runuser -u postgres --"
        " /usr/lib/postgresql/17/bin/initdb -D /var/lib/postgresql/17/.new >/dev/null; true"
    )
    assert host.file("/var/lib/postgresql/17/.new").exists
    _stands(host, database, converge)
    assert not host.file("/var/lib/postgresql/17/.new").exists
    assert converge(host).changed == set()


@pytest.mark.usefixtures("own_data")
def test_data_of_an_earlier_host_are_taken_over(host, database, converge):
    """Its number for postgres was another: the disk stayed, the host is new."""
    done = converge(host)
    assert done.status == 0, done.output
    assert database.admin("SELECT a FROM kept") == "1"
    assert host.check_output(f"find {DATA} -not -user postgres") == ""
    assert converge(host).changed == set()
    database.admin("DROP TABLE kept")


@pytest.fixture
def own_data(host, database):
    """A disk with data, on a host that knows nothing of it."""
    database.admin("CREATE TABLE kept AS SELECT 1 AS a")
    host.check_output(f"systemctl disable --now {UNIT}")
    host.check_output(f"rm -r /etc/postgresql/17 && chown -R games:games {DATA}")


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("echo 16 > PG_VERSION", "holds data of PostgreSQL 16"),
        ("mv PG_VERSION mine", "holds something that is no cluster"),
    ],
)
def test_data_that_are_no_cluster_of_this_version_are_not_touched(host, converge, content, finding):
    keep = f"cd {DATA} && cp -a PG_VERSION /run/test.version"
    host.check_output(f"{keep} && {content}")
    try:
        refused = converge(host)
        assert refused.status != 0
        assert finding in refused.output
        assert "restore a backup of PostgreSQL 17" in refused.output
        assert refused.changed == set()
    finally:
        host.check_output(f"rm -f {DATA}/mine && mv /run/test.version {DATA}/PG_VERSION")
