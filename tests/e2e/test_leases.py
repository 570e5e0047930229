"""Leased logins on live hosts: what they may not do, who gets none, and how they come and go."""

from __future__ import annotations

import base64
import io
import json
import secrets
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import paths
from holdfast.vault.client import Vault
from holdfast.vault.databases import Server, hand_over, why_hand_over
from holdfast.vault.login import deployer
from tests.e2e.conftest import Site
from tests.programs import loaded

_LOGIN = "/run/holdfast/gateway/database.json"
_ROLE = "database/roles/gateway-app"
_CODE = "/var/tmp/leases"
_MENDS = ("vault_settings : Ensure Vault makes and ends the logins of PostgreSQL", "data1")
_password = loaded("roles/postgresql/files/vault_password.py")

_ASK = f"""
import json, sys, psycopg
login = json.load(open({_LOGIN!r}))
for change, statement in json.loads(sys.argv[1]):
    try:
        with psycopg.connect(**{{**login, **change}}) as connection:
            print(json.dumps(["ok", str(connection.execute(statement).fetchone()[0])]))
    except psycopg.Error as error:
        print(json.dumps(["refused", str(error)]))
"""

_TOKENS = """
import json, subprocess, sys, hvac
service, *paths = sys.argv[1:]
settings = json.load(open("/etc/holdfast/vault.json"))
subprocess.run(["/usr/local/lib/holdfast/vault-identity", "hand", service], check=True)
wrapped = open(f"/run/holdfast-agent/{service}/secret-id").read()
client = lambda token=None: hvac.Client(settings["address"], token=token, verify=settings["ca"])
opened = client(wrapped).sys.unwrap()["data"]["secret_id"]
made = client()
made.auth.approle.login(role_id=settings["services"][service]["identity"], secret_id=opened)
for path in paths:
    try:
        made.read(path)
        print("ok")
    except hvac.exceptions.Forbidden:
        print("denied")
made.auth.token.revoke_self()
"""


def python(site: Site, host: str, user: str, text: str, *words: str) -> list[Any]:
    """Run a script on a host; return its lines."""
    coded = base64.b64encode(text.encode()).decode()
    given = " ".join(base64.b64encode(word.encode()).decode() for word in words)
    run = (
        "import base64,sys;a=[base64.b64decode(w).decode() for w in sys.argv[1:]];"
        "sys.argv=[sys.argv[0],*a[1:]];exec(compile(a[0],'script','exec'))"
    )
    command = f'cd / && sudo -u {user} python3 -I -c "{run}" {coded} {given}'
    return site.ssh(host, command).splitlines()


@pytest.fixture(scope="module", autouse=True)
def library(site: Site) -> None:
    """What the gateway's host will have."""
    site.ssh(
        "app1",
        "sudo DEBIAN_FRONTEND=noninteractive apt-get -qq install"
        " python3-psycopg python3-psycopg-pool 2>&1",
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("holdfast/__init__.py", "holdfast/leases", "tests/leases_load.py"):
            tar.add(paths.repository() / name, arcname=name, filter=_source)
    coded = base64.b64encode(packed.getvalue()).decode()
    site.ssh(
        "app1",
        f"sudo rm -rf {_CODE} && sudo mkdir {_CODE}"
        f" && echo {coded} | base64 -d | sudo tar xz -C {_CODE} && sudo chmod -R a+rX {_CODE}",
    )


def _source(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name else entry


@pytest.fixture(scope="module")
def vault(site: Site) -> Vault:
    """Vault, as an operator configures it."""
    assert site.holdfast("vault", "login", "--if-needed").returncode == 0
    record = json.loads((site.installation.folder / "servers.json").read_text())
    return deployer(site.installation, {"vault1": record["hosts"]["vault1"]["addresses"][0]})


@pytest.fixture
def ask(site: Site) -> Callable[..., list[str]]:
    """Ask the database as the service does, or otherwise."""

    def run(statement: str, **change: str) -> list[str]:
        words = json.dumps([[change, statement]])
        [line] = python(site, "app1", "holdfast-gateway", _ASK, words)
        found: list[str] = json.loads(line)
        return found

    return run


def user(site: Site) -> str:
    return str(json.loads(site.ssh("app1", f"sudo cat {_LOGIN}"))["user"])


def load(site: Site, seconds: int, during: Callable[[], None]) -> dict[str, Any]:
    """Work for so long; meanwhile do something. Return what the work has seen."""
    command = (
        f"cd / && sudo -u holdfast-gateway python3 -I {_CODE}/tests/leases_load.py"
        f" {_CODE} {_LOGIN} {seconds} 4"
    )
    holdfast = Path(sys.executable).with_name("holdfast")
    with subprocess.Popen(
        [holdfast, "--name", site.installation.name, "ssh", "app1", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        during()
        out, err = process.communicate(timeout=seconds + 120)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_service_has_a_login_in_memory_only(site: Site, ask: Callable[..., list[str]]) -> None:
    shown = site.ssh(
        "app1", f"sudo stat -c '%U %G %a' {_LOGIN}; sudo findmnt -no FSTYPE -T {_LOGIN}"
    )
    assert shown.split()[:3] == ["holdfast-gateway", "holdfast-gateway", "640"]
    state, name = ask("SELECT current_user")
    assert (state, name[:2]) == ("ok", "v-")
    assert ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == ["ok", "True"]


@pytest.mark.parametrize(
    ("statement", "change", "reason"),
    [
        ("CREATE TABLE x ()", {}, "permission denied for schema public"),
        ("CREATE TEMPORARY TABLE x ()", {}, "permission denied"),
        ("CREATE ROLE x", {}, "permission denied"),
        ("ALTER SCHEMA public RENAME TO x", {}, "must be owner"),
        ("DROP SCHEMA journal", {}, "must be owner"),
        ("ALTER DATABASE gateway RESET ALL", {}, "must be owner"),
        ("SET ROLE gateway_owner", {}, "permission denied"),
        ("SELECT rolpassword FROM pg_authid", {}, "permission denied"),
        ("SELECT 1", {"dbname": "postgres"}, "pg_hba.conf rejects"),
        ("SELECT 1", {"dbname": "template1"}, "pg_hba.conf rejects"),
        ("SELECT 1", {"user": "vault"}, "pg_hba.conf rejects"),
        ("SELECT 1", {"user": "postgres"}, "pg_hba.conf rejects"),
        ("SELECT 1", {"user": "gateway_app"}, ""),
        ("SELECT 1", {"password": "x" * 20}, "password authentication failed"),
        (
            "SELECT 1",
            {"sslmode": "disable", "channel_binding": "disable"},
            "no encryption",
        ),
        ("SELECT 1", {"sslrootcert": "/etc/holdfast/operators-ca.crt"}, "certificate verify"),
    ],
)
def test_a_login_may_not(
    ask: Callable[..., list[str]], statement: str, change: dict[str, str], reason: str
) -> None:
    state, said = ask(statement, **change)
    assert state == "refused", said
    assert reason in said


def test_no_other_host_uses_it(site: Site) -> None:
    """Not even the database's own; and others do not reach it."""
    name = user(site)
    where = f"host=data1.{site.installation.domain} dbname=gateway user={name} sslmode=require"
    said = site.ssh("data1", f"PGPASSWORD=x psql '{where}' -c 'SELECT 1' 2>&1 || true")
    assert "pg_hba.conf rejects connection" in said
    knock = "timeout 3 bash -c '</dev/tcp/data1/5432' 2>&1 && echo open || echo closed"
    assert site.ssh("app1", knock).split()[-1] == "open"
    assert site.ssh("web1", knock).split()[-1] == "closed"


@pytest.mark.parametrize(
    ("host", "service", "answers"),
    [("web1", "web", ["denied", "denied"]), ("app1", "gateway", ["ok", "denied"])],
)
def test_a_service_leases_its_own_logins_only(
    site: Site, host: str, service: str, answers: list[str]
) -> None:
    paths_ = ["database/creds/gateway-app", "database/creds/gateway-migrate"]
    assert python(site, host, "root", _TOKENS, service, *paths_) == answers


def test_logins_change_every_few_seconds_and_no_query_fails(site: Site, vault: Vault) -> None:
    role = dict(vault.read(_ROLE) or {})
    vault.write(_ROLE, {**role, "default_ttl": 6, "max_ttl": 12})
    try:
        restart = "sudo systemctl restart holdfast-agent-gateway"
        site.ssh("app1", restart)
        found = load(site, 45, lambda: None)
    finally:
        vault.write(_ROLE, role)
        site.ssh("app1", "sudo systemctl restart holdfast-agent-gateway")
    assert found["failed"] == []
    assert found["queries"] > 300
    assert len(found["logins"]) >= 4
    # Those that ended can do nothing any more.
    gone = found["logins"][0]
    roles = site.ssh(
        "data1", "cd / && sudo -u postgres psql -XAt -c 'SELECT rolname FROM pg_roles'"
    )
    assert gone not in roles.split()
    assert found["logins"][-1].startswith("v-approle-gateway-")


def test_a_lease_that_is_ended_under_a_service_is_replaced(site: Site, vault: Vault) -> None:
    before = user(site)

    def revoke() -> None:
        time.sleep(8)
        vault.write("sys/leases/revoke-prefix/database/creds/gateway-app", {})

    found = load(site, 60, revoke)
    after = user(site)
    assert after != before
    assert found["logins"] == [before, after]
    # Whoever was in the middle of it failed, and nobody in the last half minute.
    assert [one for one in found["failed"] if one[0] < 30] == []


def test_nobody_knows_the_password_of_vaults_account(site: Site, vault: Vault) -> None:
    """The one that the site gives it is good until Vault has taken it, and never again."""
    domain = site.installation.domain
    server = Server(host="data1", name=f"data1.{domain}", databases=("gateway",))
    ca = (site.installation.folder / "vault" / "root-ca.crt").read_text()
    given = []

    def accepts(password: str) -> bool:
        kept = site.ssh(
            "data1",
            "cd / && sudo -u postgres psql -XAt -c "
            "\"SELECT rolpassword FROM pg_authid WHERE rolname = 'vault'\"",
        ).strip()
        rounds, salt = kept.split("$")[1].split(":")
        made = _password.verifier(password, base64.b64decode(salt), int(rounds))
        return bool(made == kept)

    def give(password: str) -> None:
        _set_password(site, password)
        given.append(password)
        assert accepts(password)

    hand_over(vault, server, ca=ca, give=give)
    assert not accepts(given[0])
    assert why_hand_over(vault, server, ca=ca) is None


def _set_password(site: Site, password: str) -> None:
    site.ssh(
        "data1", f"printf %s {password} | sudo /usr/local/lib/holdfast/postgresql-vault-password"
    )


def _lock_out(site: Site, _: Vault) -> None:
    """As when another database was put in place."""
    _set_password(site, secrets.token_urlsafe(24))


def _half_done(_: Site, vault: Vault) -> None:
    """As when a run was killed before Vault had changed the password."""
    vault.write("database/config/data1", {"allowed_roles": []})


def _redirected(_: Site, vault: Vault) -> None:
    """As when somebody wants to know what Vault sends."""
    vault.write(
        "database/config/data1",
        {
            "connection_url": "postgresql://{{username}}:{{password}}@192.0.2.1/postgres",
            "verify_connection": False,
        },
    )


@pytest.mark.parametrize("broken", [_lock_out, _half_done, _redirected])
def test_an_account_that_vault_cannot_use_is_handed_over_again(
    site: Site, vault: Vault, broken: Callable[[Site, Vault], None]
) -> None:
    broken(site, vault)
    checked = site.play("--check", "--limit", "vault,database,app")
    assert checked.status == 0, checked.output
    assert checked.changed == {_MENDS}
    mended = site.play("--limit", "vault,database,app")
    assert mended.status == 0, mended.output
    assert mended.changed == {_MENDS}
    assert site.play("--limit", "vault,database,app").changed == set()


def test_a_run_killed_while_it_hands_over_is_mended(site: Site, vault: Vault) -> None:
    _lock_out(site, vault)
    site.play_until(_MENDS[0])
    assert site.play().status == 0
    assert set(site.play().recap.values()) == {0}


def test_a_role_that_was_changed_or_added_is_put_right(site: Site, vault: Vault) -> None:
    vault.write(_ROLE, {**dict(vault.read(_ROLE) or {}), "max_ttl": 10**6})
    vault.write("database/roles/mine", {"db_name": "data1", "creation_statements": ["SELECT 1"]})
    mended = site.play("--limit", "vault")
    assert mended.status == 0, mended.output
    assert (vault.read(_ROLE) or {})["max_ttl"] == 86400
    assert "mine" not in vault.list("database/roles")


def test_a_database_that_no_host_has_is_told_before_anything_changes(
    site: Site, tmp_path: Path
) -> None:
    more = tmp_path / "more.yml"
    more.write_text(
        "vault_agent_services: [{service: gateway, 'on': app, user: holdfast-gateway,"
        " group: holdfast-gateway, database: gatway-app}]"
    )
    refused = site.play("--extra-vars", f"@{more}")
    assert refused.status != 0
    assert "leases logins of gatway-app, which no host has" in refused.output.replace("\n", " ")
    assert set(refused.recap.values()) == {0}
