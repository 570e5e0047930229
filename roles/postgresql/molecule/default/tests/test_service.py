"""PostgreSQL as a service: confined, discreet, told of new material, found again after a kill."""

import json
import re
import subprocess

import pytest

testinfra_hosts = ["ansible://trixie1"]
UNIT = "postgresql@17-main.service"
DATA = "/var/lib/postgresql/17/main"
TLS = "/run/holdfast/postgresql"


@pytest.fixture
def own_certificate(host):
    """Afterwards the server has its own certificate again."""
    yield
    host.check_output("systemctl restart holdfast-tls-postgresql.service")
    host.check_output(f"systemctl start {UNIT} && systemctl reload {UNIT}")


def _new_certificate(host, *, key=True):
    """Put another certificate in place, with or without its key."""
    host.check_output(
        "cd /run && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
        " -subj /CN=new -addext subjectAltName=DNS:trixie1.pg.test -keyout new.key -out new.crt"
        f" 2>&1 && cat new.crt > {TLS}/tls.crt && rm new.crt"
    )
    host.check_output(f"cat /run/new.key > {TLS}/tls.key" if key else "true")
    host.check_output("rm /run/new.key")
    return host.check_output(f"cat {TLS}/tls.crt")


def _prop(host, name):
    return host.check_output("systemctl show --value -p %s %s", name, UNIT)


class TestReload:
    """`systemctl reload` tells the truth, and loses no connection."""

    @pytest.mark.usefixtures("own_certificate")
    def test_it_takes_a_new_certificate_and_keeps_sessions(self, host, database, vault):
        name, password = vault.lease("app", "gateway")
        before = _prop(host, "MainPID")
        going_on = database.going_on(name, password, "SELECT pg_sleep(50)", database="gateway")
        with going_on as alive:
            new = _new_certificate(host)
            assert database.presented() != new
            host.check_output(f"systemctl reload {UNIT}")
            assert database.presented() == new
            assert alive()
        assert _prop(host, "MainPID") == before

    @pytest.mark.usefixtures("own_certificate")
    def test_it_fails_when_the_key_is_another_s(self, host, database):
        shown = database.presented()
        _new_certificate(host, key=False)
        before = host.check_output("date +%s")
        assert host.run(f"systemctl reload {UNIT}").rc != 0
        assert database.presented() == shown
        said = host.check_output(f"journalctl -u {UNIT} --since=@%s", before)
        assert f"it does not show the certificate in {TLS}/tls.crt" in said

    @pytest.mark.parametrize(
        ("file", "line", "reason"),
        [
            ("postgresql.conf", "nonsense = 1", "unrecognized configuration parameter"),
            ("postgresql.conf", "nonsense", "syntax error"),
            ("pg_hba.conf", "host all all all nonsense", "invalid authentication method"),
            ("pg_ident.conf", "nonsense", "missing entry"),
        ],
    )
    def test_it_fails_for_what_the_server_does_not_take(self, host, database, file, line, reason):
        path = f"/etc/postgresql/17/main/{file}"
        host.check_output("cp -p %s /run/test.kept && echo %s >> %s", path, line, path)
        before = host.check_output("date +%s")
        try:
            assert host.run(f"systemctl reload {UNIT}").rc != 0
            assert database.admin("SELECT 1") == "1"
        finally:
            host.check_output("mv /run/test.kept %s", path)
            host.check_output(f"systemctl reload {UNIT}")
        assert reason in host.check_output(f"journalctl -u {UNIT} --since=@%s", before)


@pytest.mark.usefixtures("own_certificate")
def test_without_its_certificate_it_waits_and_says_so(host, database):
    """As after a boot with a sealed Vault: then it starts by itself."""
    host.check_output(f"mv {TLS}/tls.key /run/test.key && systemctl stop {UNIT}")
    try:
        host.check_output(f"systemctl start --no-block {UNIT} && sleep 3")
        assert _prop(host, "ActiveState") == "activating"
        text = f"waits for its TLS material, which postgres cannot read: {TLS}/tls.key"
        assert _prop(host, "StatusText") == text
        assert text in host.check_output(f"journalctl -u {UNIT} -n 5")
    finally:
        host.check_output(f"mv /run/test.key {TLS}/tls.key")
    host.check_output(f"timeout 20 sh -c 'until systemctl is-active {UNIT}; do sleep 0.3; done'")
    assert database.admin("SELECT 1") == "1"


def test_it_comes_back_after_a_crash(host, database):
    host.check_output("kill -KILL %s", _prop(host, "MainPID"))
    host.check_output(f"timeout 30 sh -c 'until systemctl is-active {UNIT}; do sleep 0.3; done'")
    assert database.admin("SELECT 1") == "1"


def test_an_update_of_its_package_brings_it_back_as_it_was(host, database):
    before = _prop(host, "MainPID")
    host.check_output(
        "DEBIAN_FRONTEND=noninteractive apt-get -qq install --reinstall postgresql-17 2>&1"
    )
    assert host.service(UNIT).is_running
    assert _prop(host, "MainPID") != before
    assert database.admin("SHOW cluster_name") == "17/main"
    assert host.check_output("pg_lsclusters --no-header").split()[:4] == [
        "17", "main", "5432", "online",
    ]  # fmt: skip


class TestCage:
    def test_it_has_no_power(self, host):
        status = host.check_output("cat /proc/%s/status", _prop(host, "MainPID"))
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert set(fields["Uid"].split()) == {host.check_output("id -u postgres")}
        assert fields["NoNewPrivs"] == "1"
        assert fields["CapBnd"] == fields["CapEff"] == "0" * 16
        assert fields["Seccomp"] == "2"

    def test_even_its_superuser_is_confined(self, host, database):
        """What runs through the server sees and writes little more than the data."""
        seen = database.admin("COPY (SELECT 1) TO PROGRAM 'id -un > /var/lib/postgresql/test'")
        assert seen == ""
        assert host.check_output("cat /var/lib/postgresql/test") == "postgres"
        host.check_output("rm /var/lib/postgresql/test")
        # Folders of its own, which nothing but the cage keeps it from.
        for folder in ("/srv/test", "/run/test", "/var/log/postgresql"):
            host.check_output("install -d -o postgres %s", folder)
            as_postgres = "cd / && /usr/sbin/runuser -u postgres -- "
            host.check_output(as_postgres + "touch %s/x && rm %s/x", folder, folder)
            refused = host.run(
                as_postgres + "psql -X -c %s", f"COPY (SELECT 1) TO PROGRAM 'touch {folder}/x'"
            )
            assert refused.rc != 0
            assert "exited with exit code 1" in refused.stderr
        host.check_output("rmdir /srv/test /run/test")
        inside = f"nsenter --mount --target {_prop(host, 'MainPID')} "
        assert host.check_output(inside + "ls -A /home") == ""

    def test_its_files_are_closed(self, host):
        for path, owner, group, mode in (
            (DATA, "postgres", "postgres", 0o700),
            ("/etc/postgresql/17/main", "root", "postgres", 0o750),
            ("/etc/postgresql/17/main/pg_hba.conf", "root", "postgres", 0o640),
            ("/run/postgresql/.s.PGSQL.5432", "postgres", "postgres", 0o700),
        ):
            found = host.file(path)
            assert (found.user, found.group, found.mode) == (owner, group, mode)
        assert sorted(host.file("/etc/postgresql/17/main").listdir()) == [
            "pg_hba.conf", "pg_ident.conf", "postgresql.conf",
        ]  # fmt: skip


class TestLog:
    """Who came, and never what about."""

    def test_it_has_no_statement_value_or_row(self, host, database, vault):
        name, password = vault.lease("app", "gateway")
        before = host.check_output("date +%s")
        for statement in (
            "SELECT 'marker-a'::int",
            "SELECT marker_b",
            "INSERT INTO marker_c VALUES (1)",
            "DO $$ BEGIN RAISE WARNING 'marker-d'; END $$",
            "DO $$ BEGIN RAISE LOG 'x' USING DETAIL = 'marker-e'; END $$",
            "SET statement_timeout = 100; SELECT pg_sleep(1), 'marker-f'",
            "SELECT 1/0, 'marker-g'",
        ):
            database.login(name, password, statement, database="gateway")
        database.admin(
            "CREATE TABLE marker (a text UNIQUE); INSERT INTO marker VALUES ('marker-h');"
            "DROP TABLE marker"
        )
        log = host.check_output(f"journalctl -u {UNIT} --since=@%s", before)
        assert f"connection authorized: user={name} database=gateway" in log
        assert "disconnection: session time" in log
        assert password not in log
        assert "marker" not in log

    def test_a_refusal_is_seen(self, host, database):
        before = host.check_output("date +%s")
        database.login("vault", "x" * 32, "SELECT 1", database="postgres")
        log = host.check_output(f"journalctl -u {UNIT} --since=@%s", before)
        assert 'FATAL:  password authentication failed for user "vault"' in log

    def test_nothing_is_kept_beside_the_journal(self, host):
        assert host.check_output("find /var/log/postgresql -type f") == ""


def test_pages_have_checksums(host, database):
    assert database.admin("SHOW data_checksums") == "on"
    version = host.check_output(f"/usr/lib/postgresql/17/bin/pg_controldata {DATA}")
    assert re.search(r"Data page checksum version: +1", version)


def test_settings_are_those_of_the_configuration(database):
    """Nothing else is read, and nothing in it is ignored."""
    wrong = database.admin(
        "SELECT name FROM pg_file_settings WHERE NOT applied OR sourcefile !~ '/postgresql.conf$'"
    )
    assert wrong == ""
    shown = database.admin(
        "SELECT json_object_agg(name, setting) FROM pg_settings WHERE source <> 'default'"
    )
    settings = json.loads(shown)
    wanted = {
        "ssl_min_protocol_version": "TLSv1.2",
        "password_encryption": "scram-sha-256",
        "archive_mode": "on",
        "archive_command": "/bin/true",
        "shared_buffers": "16384",  # a quarter of 512 MiB
        "statement_timeout": "60000",
    }
    assert {name: settings[name] for name in wanted} == wanted
    assert database.admin("SHOW wal_level") == "replica"


def test_a_finished_log_is_archived(database):
    """Into nothing, so far; but files do not pile up."""
    database.admin("SELECT pg_switch_wal()")
    waits = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
    for _ in range(50):
        if database.admin(waits) == "0":
            break
        subprocess.run(["sleep", "0.2"], check=True)
    assert database.admin(waits) == "0"
    assert database.admin("SELECT failed_count FROM pg_stat_archiver") == "0"
