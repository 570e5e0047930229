"""What Vault, a service and a migration may do, and everything that they may not."""

import pytest

testinfra_hosts = ["ansible://trixie1"]
EXPIRED = "2001-02-03 04:05:06+00"


@pytest.fixture(scope="module")
def service(vault, database):
    """A service of `gateway` with its login."""
    name, password = vault.lease("app", "gateway")

    def run(statement):
        return database.login(name, password, statement, database="gateway")

    run.name = name
    return run


@pytest.fixture(scope="module", autouse=True)
def migration(vault, database):
    """A migration of `gateway`, which has made a table to work with and a journal."""
    name, password = vault.lease("migrate", "gateway")

    def run(statement):
        return database.login(name, password, statement, database="gateway")

    made = run(
        "CREATE TABLE device (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);"
        "CREATE SEQUENCE ticket;"
        "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql RETURN 2 * $1;"
        "CREATE TABLE journal.event (at timestamptz DEFAULT now(), id bigserial, what text)"
    )
    assert made.status == 0, made.err
    yield run
    gone = run("DROP TABLE device, journal.event; DROP SEQUENCE ticket; DROP FUNCTION twice")
    assert gone.status == 0, gone.err


class TestService:
    """Works with the tables of its database, and changes nothing else."""

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO device (name) VALUES ('a') RETURNING id",
            "SELECT * FROM device",
            "UPDATE device SET name = 'b'",
            "DELETE FROM device",
            "SELECT nextval('ticket'), twice(2)",
            "INSERT INTO journal.event (what) VALUES ('a')",
        ],
    )
    def test_it_works(self, service, statement):
        done = service(statement)
        assert done.status == 0, done.err

    @pytest.mark.parametrize(
        ("statement", "refusal"),
        [
            ("ALTER TABLE device ADD COLUMN x int", "must be owner of table device"),
            ("DROP TABLE device", "must be owner of table device"),
            ("TRUNCATE device", "permission denied for table device"),
            ("CREATE INDEX ON device (name)", "must be owner of table device"),
            ("CREATE TRIGGER x BEFORE INSERT ON device EXECUTE FUNCTION y()", "permission denied"),
            ("ALTER TABLE device DISABLE ROW LEVEL SECURITY", "must be owner of table device"),
            ("CREATE TABLE x ()", "permission denied for schema public"),
            ("CREATE TABLE journal.x ()", "permission denied for schema journal"),
            ("CREATE VIEW x AS SELECT 1", "permission denied for schema public"),
            ("CREATE FUNCTION x() RETURNS int LANGUAGE sql RETURN 1", "permission denied"),
            ("CREATE SCHEMA x", "permission denied for database gateway"),
            ("CREATE TEMPORARY TABLE x ()", "permission denied to create temporary tables"),
            ("CREATE EXTENSION pgcrypto", "permission denied to create extension"),
            ("CREATE DATABASE x", "permission denied to create database"),
            ("DROP DATABASE gateway", "must be owner of database gateway"),
            ("ALTER DATABASE gateway SET row_security = off", "must be owner of database gateway"),
            ("SELECT lo_create(0)", "permission denied for function lo_create"),
            ("SELECT lo_from_bytea(0, 'x')", "permission denied for function lo_from_bytea"),
            ("CREATE ROLE x", "permission denied to create role"),
            ("SET ROLE gateway_owner", "permission denied to set role"),
            ("SET ROLE gateway_migrate", "permission denied to set role"),
            ("SET ROLE vault", "permission denied to set role"),
            ("SET SESSION AUTHORIZATION postgres", "permission denied to set session auth"),
            ("ALTER SYSTEM SET ssl = off", "ALTER SYSTEM is not allowed in this environment"),
            ("SET log_statement = 'all'", "permission denied to set parameter"),
            ("SET session_replication_role = replica", "permission denied to set parameter"),
            ("COPY device TO PROGRAM 'id'", "permission denied to COPY to or from an external"),
            ("COPY device FROM '/etc/passwd'", "permission denied to COPY from a file"),
            ("SELECT pg_read_file('/etc/passwd')", "permission denied for function"),
            ("SELECT * FROM pg_authid", "permission denied for table pg_authid"),
            ("SELECT * FROM pg_hba_file_rules", "permission denied"),
            ("SELECT pg_reload_conf()", "permission denied for function"),
        ],
    )  # fmt: skip
    def test_it_changes_nothing_else(self, service, statement, refusal):
        done = service(statement)
        assert done.status != 0
        assert refusal in done.err

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE journal.event SET what = 'b'",
            "DELETE FROM journal.event",
            "TRUNCATE journal.event",
            "SELECT * FROM journal.event",
            "INSERT INTO journal.event (what) VALUES ('a') RETURNING what",
            "SELECT setval('journal.event_id_seq', 1)",
            "DROP TABLE journal.event",
            "ALTER TABLE journal.event RENAME TO x",
        ],
    )
    def test_a_journal_is_only_added_to(self, service, statement):
        done = service(statement)
        assert done.status != 0
        assert "permission denied" in done.err or "must be owner" in done.err

    def test_it_comes_to_no_other_database(self, database):
        listed = database.admin(
            "SELECT datname FROM pg_database WHERE has_database_privilege('gateway_app', datname,"
            " 'CONNECT') AND datallowconn"
        )
        assert listed.split() == ["gateway"]


class TestMigration:
    """Owns what it makes as the owner role, and does not own the database."""

    def test_what_it_made_is_the_owner_role_s(self, database):
        owners = database.admin(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('public', 'journal')",
            database="gateway",
        )
        assert owners == "gateway_owner"

    def test_it_may_alter(self, migration):
        done = migration("ALTER TABLE device ADD COLUMN more text; CREATE TEMPORARY TABLE x ()")
        assert done.status == 0, done.err

    @pytest.mark.parametrize(
        ("statement", "refusal"),
        [
            ("DROP DATABASE gateway", "must be owner of database gateway"),
            ("ALTER DATABASE gateway SET log_statement = 'none'", "must be owner of database"),
            ("SET ROLE NONE; CREATE TABLE public.x ()", "permission denied for schema public"),
            ("SET ROLE NONE; SELECT * FROM public.device", "permission denied for schema public"),
            ("CREATE ROLE x", "permission denied to create role"),
            ("GRANT gateway_owner TO gateway_app", "permission denied to grant role"),
            ("COPY device TO PROGRAM 'id'", "permission denied to COPY"),
            ("CREATE EXTENSION file_fdw", "permission denied to create extension"),
            (
                "CREATE FUNCTION x() RETURNS int LANGUAGE c AS 'x'",
                "permission denied for language c",
            ),
        ],
    )
    def test_it_is_no_administrator(self, migration, statement, refusal):
        done = migration(statement)
        assert done.status != 0
        assert refusal in done.err


class TestVault:
    """Makes and ends logins, and nothing else."""

    def test_a_login_lives_as_long_as_its_lease(self, vault, database):
        name, password = vault.lease("app", "gateway", expiration=EXPIRED)
        ask = (name, password, "SELECT 1")
        assert "password authentication failed" in database.login(*ask, database="gateway").err
        renewed = vault.run(vault.statements("renew", name, expiration="2999-01-01 00:00:00+00"))
        assert renewed.status == 0, renewed.err
        assert database.login(*ask, database="gateway").out == "1"
        vault.revoke(name)
        assert database.login(*ask, database="gateway").status != 0
        assert database.admin("SELECT count(*) FROM pg_roles WHERE rolname = ?", name) == "0"
        # As when Vault asks again because an answer was lost.
        vault.revoke(name)

    def test_revoking_ends_what_is_going_on(self, vault, database):
        name, password = vault.lease("app", "gateway")
        other, other_password = vault.lease("app", "gateway")
        sleep = "SELECT pg_sleep(50)"
        with (
            database.going_on(name, password, sleep, database="gateway") as alive,
            database.going_on(other, other_password, sleep, database="gateway") as other_alive,
        ):
            vault.revoke(name)
            assert not alive()
            assert other_alive()

    def test_a_login_that_left_something_behind_is_shut_all_the_same(self, vault, database):
        """It cannot be dropped from outside its database; nothing of it works any more."""
        name, password = vault.lease("app", "gateway")
        left = database.login(
            name, password, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
            database="gateway",
        )  # fmt: skip
        assert left.status == 0, left.err
        try:
            vault.revoke(name)
            refused = database.login(name, password, "SELECT 1", database="gateway")
            assert refused.status != 0
            found = database.admin(
                "SELECT rolcanlogin, (SELECT count(*) FROM pg_auth_members WHERE member = role.oid)"
                " FROM pg_roles AS role WHERE rolname = ?",
                name,
            )
            assert found == "f|0"
            vault.revoke(name)
        finally:
            database.admin(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"', database="gateway")

    def test_it_sees_no_data(self, vault):
        """In the one database that it comes into there is none."""
        assert vault.run("SELECT * FROM pg_tables WHERE schemaname !~ '^(pg_|inf)'").out == ""
        assert "rejects connection" in vault.run("SELECT 1", database="gateway").err

    def test_giving_itself_a_role_leads_nowhere(self, vault, database):
        done = vault.run("GRANT gateway_app TO vault WITH INHERIT TRUE, SET TRUE")
        try:
            assert done.status == 0
            assert "rejects connection" in vault.run("SELECT 1", database="gateway").err
        finally:
            database.admin("REVOKE gateway_app FROM vault GRANTED BY vault")

    @pytest.mark.parametrize(
        ("statement", "refusal"),
        [
            ("ALTER ROLE vault SUPERUSER", "permission denied to alter role"),
            ("ALTER ROLE vault BYPASSRLS", "permission denied to alter role"),
            ("ALTER ROLE vault REPLICATION", "permission denied to alter role"),
            ("ALTER ROLE vault CREATEDB", "permission denied to alter role"),
            ("CREATE ROLE x SUPERUSER", "permission denied to create role"),
            ("CREATE ROLE x REPLICATION", "permission denied to create role"),
            ("CREATE ROLE x BYPASSRLS", "permission denied to create role"),
            ("CREATE ROLE x IN ROLE gateway_owner", "permission denied to grant role"),
            ("CREATE ROLE x IN ROLE postgres", "permission denied to grant role"),
            ("CREATE ROLE x IN ROLE pg_read_all_data", "permission denied to grant role"),
            ("CREATE ROLE x IN ROLE pg_execute_server_program", "permission denied to grant role"),
            ("ALTER ROLE postgres PASSWORD 'x'", "permission denied to alter role"),
            ("ALTER ROLE gateway_owner LOGIN", "permission denied to alter role"),
            ("DROP ROLE gateway_owner", "permission denied to drop role"),
            ("DROP ROLE gateway_app", "some objects depend on it"),
            ("SET ROLE gateway_app", "permission denied to set role"),
            ("SET ROLE postgres", "permission denied to set role"),
            ("CREATE TABLE x ()", "permission denied for schema public"),
            ("CREATE TEMPORARY TABLE x ()", "permission denied to create temporary tables"),
            ("SELECT rolpassword FROM pg_authid", "permission denied for table pg_authid"),
            ("SELECT pg_read_file('/etc/passwd')", "permission denied for function"),
            ("COPY pg_roles TO PROGRAM 'id'", "permission denied to COPY"),
            ("GRANT SET ON PARAMETER log_statement TO vault", "permission denied for parameter"),
        ],
    )
    def test_it_is_no_administrator(self, vault, statement, refusal):
        done = vault.run(f"BEGIN; {statement}; ROLLBACK")
        assert done.status != 0
        assert refusal in done.err

    def test_a_service_cannot_shut_it_out(self, database):
        """A few connections are kept for it and for the administrator."""
        listed = database.admin(
            "SELECT current_setting('reserved_connections'),"
            " current_setting('superuser_reserved_connections'),"
            " pg_has_role('vault', 'pg_use_reserved_connections', 'USAGE'),"
            " pg_has_role('gateway_app', 'pg_use_reserved_connections', 'USAGE')"
        )
        assert listed == "5|3|t|f"


def test_there_is_one_superuser_and_no_role_that_nobody_listed(database):
    """Beside leased logins."""
    found = database.admin("SELECT rolname FROM pg_roles WHERE rolname !~ '^(pg_|v-)'")
    roles = {f"{name}_{role}" for name in ("gateway", "ledger")
             for role in ("app", "migrate", "owner")}  # fmt: skip
    assert set(found.split()) == {"postgres", "vault", *roles}
    assert database.admin("SELECT rolname FROM pg_roles WHERE rolsuper") == "postgres"
    found = database.admin(
        "SELECT rolname FROM pg_roles WHERE rolcreatedb OR rolreplication OR rolbypassrls"
        " OR rolcreaterole AND rolname <> 'vault'"
    )
    assert found == "postgres"


def test_the_public_may_nothing(database):
    """Neither connect, nor make temporary tables, nor use a schema."""
    granted = database.admin(
        "SELECT datname, privilege_type FROM pg_database, aclexplode(datacl)"
        " WHERE grantee = 0 AND datallowconn"
    )
    assert granted == ""
    assert database.admin("SELECT count(*) FROM pg_database WHERE datacl IS NULL") == "0"
    for name in ("gateway", "ledger"):
        granted = database.admin(
            "SELECT nspname FROM pg_namespace, aclexplode(nspacl)"
            " WHERE grantee = 0 AND nspname !~ '^(pg_|information_schema)'",
            database=name,
        )
        assert granted == ""
