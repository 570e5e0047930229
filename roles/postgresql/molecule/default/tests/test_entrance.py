"""Who comes in, from where, and how: nobody without TLS, nobody without a proof, no superuser."""

import subprocess
import sys
from pathlib import Path

import pytest

testinfra_hosts = ["ansible://trixie1"]
_KNOCK = Path(__file__).with_name("knock.py")


def _other(host):
    """The host that the second database's service is on."""
    inventory = host.backend.ansible_inventory
    return host.get_host("ansible://bookworm1", ansible_inventory=inventory)


@pytest.fixture(scope="module")
def knock(host, database, vault):
    """Knock from somewhere: the host itself, another host, the operator's machine."""
    app, _ = vault.lease("app", "gateway")
    other_app, _ = vault.lease("app", "ledger")
    migration, _ = vault.lease("migrate", "ledger")
    users = {"app": app, "other_app": other_app, "migration": migration}
    program = _KNOCK.read_text()

    def ask(place, user, name, how):
        argv = [database.address, users.get(user, user), name, how]
        if place == "outside":
            command = [sys.executable, _KNOCK, *argv]
            return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        client = host if place == "here" else _other(host)
        return client.check_output("python3 -c %s %s %s %s %s", program, *argv)

    return ask


@pytest.mark.parametrize(
    ("place", "user", "name"),
    [
        ("here", "vault", "postgres"),
        ("here", "app", "gateway"),
        ("here", "migration", "ledger"),
        ("there", "other_app", "ledger"),
    ],
)
def test_who_is_listed_must_prove_it_over_tls(knock, place, user, name):
    assert knock(place, user, name, "tls") == "asks for SCRAM"
    refusal = knock(place, user, name, "plain")
    assert "pg_hba.conf rejects connection" in refusal
    assert refusal.endswith("no encryption")


@pytest.mark.parametrize("how", ["tls", "plain"])
@pytest.mark.parametrize(
    ("place", "user", "name"),
    [
        *((place, "postgres", name) for place in ("here", "there", "outside")
          for name in ("postgres", "gateway", "template1")),
        # The maker of logins comes to no data, and from nowhere else.
        ("here", "vault", "gateway"),
        ("here", "vault", "ledger"),
        ("here", "vault", "template1"),
        ("there", "vault", "postgres"),
        ("outside", "vault", "postgres"),
        # Each service from its own hosts and to its own database.
        ("here", "app", "ledger"),
        ("here", "app", "postgres"),
        ("here", "other_app", "ledger"),
        ("there", "app", "gateway"),
        ("there", "migration", "ledger"),
        ("outside", "app", "gateway"),
        ("outside", "other_app", "ledger"),
        # Roles that only contain others, and nobody at all.
        ("here", "nobody", "gateway"),
        ("here", "nobody", "postgres"),
    ],
)  # fmt: skip
def test_everybody_else_is_rejected(knock, place, user, name, how):
    assert "pg_hba.conf rejects connection" in knock(place, user, name, how)


@pytest.mark.parametrize("user", ["gateway_app", "gateway_migrate", "gateway_owner"])
def test_nobody_logs_in_as_a_role(database, user):
    """Not even with a password that somebody gave it."""
    database.admin(f"ALTER ROLE {user} PASSWORD 'not a secret'")
    try:
        done = database.login(user, "not a secret", "SELECT 1", database="gateway")
    finally:
        database.admin(f"ALTER ROLE {user} PASSWORD NULL")
    assert done.status != 0
    assert "not permitted to log in" in done.err or "rejects connection" in done.err


def test_other_accounts_of_the_host_are_nobody(host):
    """The socket is the superuser's alone; root has to become postgres."""
    psql = "/usr/lib/postgresql/17/bin/psql -X -h /run/postgresql -d postgres -c 'SELECT 1'"
    assert host.check_output(f"cd / && /usr/sbin/runuser -u postgres -- {psql}")
    for account in ("nobody", "ops"):
        refused = host.run(
            "cd / && /usr/sbin/runuser -u %s -- sh -c %s", account, f"{psql} -U postgres"
        )
        assert refused.rc != 0
        assert "Permission denied" in refused.stderr
    refused = host.run(f"{psql} -U postgres")
    assert 'Peer authentication failed for user "postgres"' in refused.stderr


def test_the_rules_are_the_listed_ones_and_no_others(host, database):
    """As the server has them loaded; hence without trust, password, md5, ident."""
    own = host.ansible.get_variables()["addresses"]
    other = _other(host).ansible.get_variables()["addresses"]
    loaded = database.admin(
        "SELECT concat_ws(' ', type, array_to_string(database, ','),"
        " array_to_string(user_name, ','), address, netmask, auth_method, error)"
        " FROM pg_hba_file_rules ORDER BY rule_number"
    )

    def lines(database, user, addresses):
        masks = {True: "ffff:" * 7 + "ffff", False: "255.255.255.255"}
        return [
            f"hostssl {database} {user} {address} {masks[':' in address]} scram-sha-256"
            for address in addresses
        ]

    assert loaded.splitlines() == [
        "local all postgres peer",
        "local all all reject",
        "local replication all reject",
        "host all postgres all reject",
        *lines("postgres", "vault", own),
        "host all vault all reject",
        *lines("gateway", "+gateway_app", own),
        *lines("gateway", "+gateway_migrate", own),
        *lines("ledger", "+ledger_app", other),
        *lines("ledger", "+ledger_migrate", own),
        "host all all all reject",
        "host replication all all reject",
    ]
    assert database.admin("SELECT count(*) FROM pg_ident_file_mappings") == "0"


def test_it_listens_on_the_listed_addresses_only(host):
    sockets = host.check_output("ss --listening --numeric --tcp --no-header").splitlines()
    found = {line.split()[3] for line in sockets if line.split()[3].endswith(":5432")}
    four, six = sorted(host.ansible.get_variables()["addresses"], key=lambda each: ":" in each)
    assert found == {f"{four}:5432", f"[{six}]:5432"}


class TestTls:
    """A client that verifies gets what it asks for, and nothing weaker."""

    def test_verified_in_full(self, vault, database):
        statement = "SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        done = vault.run(statement)
        assert done.status == 0, done.err
        assert done.out.startswith("TLSv1.3|")
        old = {"database": "postgres", "ssl_max_protocol_version": "TLSv1.2"}
        done = database.login("vault", vault.password, statement, **old)
        assert done.out.startswith("TLSv1.2|ECDHE-ECDSA-")

    def test_another_authority_is_not_trusted(self, host, vault, database):
        host.check_output(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
            " -subj /CN=other -keyout /dev/null -out /tmp/other-ca.crt 2>&1"
        )
        other = {"database": "postgres", "sslrootcert": "/tmp/other-ca.crt"}
        done = database.login("vault", vault.password, "SELECT 1", **other)
        assert done.status != 0
        assert "certificate verify failed" in done.err

    def test_another_name_is_not_the_server(self, vault, database):
        other = {"database": "postgres", "host": "trixie2.pg.test"}
        done = database.login("vault", vault.password, "SELECT 1", **other)
        assert done.status != 0
        assert 'does not match host name "trixie2.pg.test"' in done.err

    @pytest.mark.parametrize("mode", ["disable", "allow"])
    def test_without_tls_nobody_is_asked_for_a_password(self, vault, database, mode):
        done = database.login(
            "vault", vault.password, "SELECT 1", database="postgres", sslmode=mode
        )
        if mode == "allow":  # libpq tries in clear, is refused, and comes back with TLS
            assert done.status == 0
        else:
            assert "pg_hba.conf rejects connection" in done.err

    @pytest.mark.parametrize("version", ["tls1", "tls1_1"])
    def test_old_versions_are_refused(self, host, database, version):
        said = host.run(
            f"openssl s_client -starttls postgres -{version} -cipher 'ALL:@SECLEVEL=0'"
            f" -connect {database.address}:5432 </dev/null 2>&1"
        ).stdout
        assert "alert protocol version" in said
        assert "no peer certificate available" in said

    @pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA"])
    def test_weak_ciphers_are_refused(self, host, database, cipher):
        said = host.run(
            f"openssl s_client -starttls postgres -tls1_2 -cipher '{cipher}:@SECLEVEL=0'"
            f" -connect {database.address}:5432 </dev/null 2>&1"
        ).stdout
        assert "alert handshake failure" in said


class TestPassword:
    """Vault's password is known to Vault."""

    def test_a_wrong_one_is_refused(self, database):
        done = database.login("vault", "x" * 32, "SELECT 1", database="postgres")
        assert "password authentication failed" in done.err

    def test_there_is_none_until_it_is_set(self, database, vault):
        kept = "SELECT rolpassword FROM pg_authid WHERE rolname = 'vault'"
        before = database.admin(kept)
        database.admin("ALTER ROLE vault PASSWORD NULL")
        try:
            done = vault.run("SELECT 1")
            assert "password authentication failed" in done.err
        finally:
            database.admin(f"ALTER ROLE vault PASSWORD '{before}'")
        assert vault.run("SELECT 1").out == "1"

    def test_the_server_keeps_a_proof_only(self, database):
        kept = database.admin("SELECT rolpassword FROM pg_authid WHERE rolname = 'vault'")
        assert kept.startswith("SCRAM-SHA-256$10000:")
        assert database.admin("SELECT count(*) FROM pg_authid WHERE rolpassword LIKE 'md5%'") == "0"

    def test_not_even_a_log_of_everything_has_it(self, host, database, vault):
        """The server is told the proof; a wrong one is refused before it is told anything."""
        database.admin("ALTER ROLE postgres SET log_statement = 'all'")
        before = host.check_output("date +%s")
        try:
            vault.set_password("canary-canary-canary-canary")
            wrong = host.run("echo canary | /usr/local/lib/holdfast/postgresql-vault-password")
        finally:
            database.admin("ALTER ROLE postgres RESET log_statement")
        log = host.check_output("journalctl -u postgresql@17-main --since=@%s", before)
        assert "ALTER ROLE vault PASSWORD 'SCRAM-SHA-256$" in log
        assert "canary" not in log
        assert wrong.rc == 1
        assert "20 to 128 printable ASCII characters" in wrong.stderr
        assert vault.run("SELECT 1").out == "1"

    def test_vault_rotates_it(self, vault):
        """With the statement that Vault's plugin has for it."""
        password = "rotated-" * 4
        done = vault.run(f"ALTER ROLE \"vault\" WITH PASSWORD '{password}'")
        assert done.status == 0, done.err
        assert "password authentication failed" in vault.run("SELECT 1").err
        vault.password = password
        assert vault.run("SELECT 1").out == "1"
