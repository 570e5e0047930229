"""PostgreSQL as its administrator, as Vault, and as a service with a leased login sees it."""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[5]
LEASES = REPOSITORY / "roles/postgresql/files/leases"
CONVERGE = Path(__file__).parents[1] / "converge.yml"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
ENV = {**os.environ, "ANSIBLE_FORCE_COLOR": "false"}  # molecule wants colour; we read the text
PSQL = "/usr/lib/postgresql/17/bin/psql -XAtq -v ON_ERROR_STOP=1"
NAME = "trixie1.pg.test"
CA = "/etc/ssl/test-ca.crt"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What psql said."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Play:
    """What a run of the scenario's play said."""

    status: int
    output: str

    @property
    def changed(self):
        """The tasks that changed, or would change, something."""
        found, task = set(), ""
        for line in self.output.splitlines():
            if heading := re.match(r"(?:TASK|RUNNING HANDLER) \[(.+)\] \*", line):
                task = heading[1]
            elif line.startswith("changed: ["):
                found.add(task)
        return found


def wait_for(condition, *, seconds=15):
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


class Database:
    """The ways to the server on one host."""

    def __init__(self, host):
        self.host = host
        self.address = host.ansible.get_variables()["addresses"][0]

    def admin(self, statement, *values, database="postgres"):
        """As postgres over the socket; it must succeed. Each ? is one of the values."""
        for value in values:
            statement = statement.replace("?", f"'{value}'", 1)
        return self.host.check_output(
            f"cd / && /usr/sbin/runuser -u postgres -- {PSQL} -d %s -c %s", database, statement
        )

    def login(self, user, password, statement, *, database, **options):
        """As any login over the network, with a verified server."""
        done = self.host.run(*self._as_client(user, password, statement, database, options))
        return Answer(status=done.rc, out=done.stdout.strip(), err=done.stderr)

    @contextlib.contextmanager
    def going_on(self, user, password, statement, *, database):
        """A session in the background; yields a function that says whether it is still there."""
        command, *arguments = self._as_client(user, password, statement, database, {})
        unit = f"test-{secrets.token_hex(4)}"
        run = f"systemd-run --quiet --collect --unit {unit} --setenv=PGPASSWORD=%s "
        self.host.check_output(run + command.partition("=%s ")[2], *arguments)
        active = "SELECT pid FROM pg_stat_activity WHERE usename = ? AND state = 'active'"
        # Not by its name, which is gone with its role.
        there = "SELECT count(*) FROM pg_stat_activity WHERE pid = ?"
        try:
            wait_for(lambda: self.admin(active, user) != "")
            pid = self.admin(active, user)
            yield lambda: self.admin(there, pid) == "1"
        finally:
            self.host.run("systemctl stop %s", unit)

    def _as_client(self, user, password, statement, database, options):
        where = {
            "host": NAME,
            "hostaddr": self.address,
            "sslmode": "verify-full",
            "sslrootcert": CA,
            "user": user,
            "dbname": database,
            **options,
        }
        words = " ".join(f"{key}={value}" for key, value in where.items())
        return f"PGPASSWORD=%s {PSQL} %s -c %s", password, words, statement

    def presented(self):
        """The certificate that the server shows, in PEM."""
        start = f"openssl s_client -starttls postgres -connect {self.address}:5432"
        return self.host.check_output(f"{start} </dev/null 2>/dev/null | openssl x509")


class Vault:
    """The account `vault`, doing what Vault does, with the statements that it is given."""

    def __init__(self, database):
        self.database = database
        self.made = []
        self.set_password(secrets.token_urlsafe(24))

    def set_password(self, password):
        """As the step does that hands the account over to Vault."""
        program = "/usr/local/lib/holdfast/postgresql-vault-password"
        self.database.host.check_output(f"printf %%s %s | {program}", password)
        self.password = password

    def run(self, statement, *, database="postgres"):
        return self.database.login("vault", self.password, statement, database=database)

    def statements(self, file, name, **values):
        """The text of a file, filled in as Vault and its configuration do."""
        text = (LEASES / f"{file}.sql").read_text()
        for key, value in {"name": name, **values}.items():
            text = text.replace("{{" + key + "}}", value).replace(f"<{key}>", value)
        return f"BEGIN; {text} COMMIT"

    def lease(self, kind, database, *, expiration="infinity"):
        """Return a new login and its password."""
        # As Vault makes them: capital letters and dashes.
        name = f"v-{kind}-{secrets.token_urlsafe(6)}"
        password = secrets.token_urlsafe(24)
        values = {"password": password, "expiration": expiration, "database": database}
        done = self.run(self.statements(kind, name, **values))
        assert done.status == 0, done.err
        self.made.append(name)
        return name, password

    def revoke(self, name):
        done = self.run(self.statements("revoke", name))
        assert done.status == 0, done.err


@pytest.fixture(scope="module")
def database(host):
    return Database(host)


@pytest.fixture(scope="module")
def vault(database):
    made = Vault(database)
    yield made
    for name in made.made:
        made.revoke(name)


@pytest.fixture(scope="module")
def converge():
    """Run the scenario's play, with other variables or options."""

    def run(host, *options, **variables):
        done = subprocess.run(
            _command(host, *options, "--extra-vars", json.dumps(variables)),
            cwd=REPOSITORY,
            env=ENV,
            capture_output=True,
            text=True,
            check=False,
        )
        return Play(status=done.returncode, output=done.stdout + done.stderr)

    return run


@pytest.fixture(scope="module")
def converge_until():
    """Run the scenario's play, and kill it at the task whose name begins so."""

    def run(host, moment):
        with subprocess.Popen(
            _command(host),
            cwd=REPOSITORY,
            env={**ENV, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            seen = []
            for line in process.stdout:
                seen.append(line)
                if line.startswith(f"TASK [{moment}"):
                    # With its workers, which have sessions of their own.
                    process.send_signal(signal.SIGSTOP)
                    subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=True)
                    process.kill()
                    return
            raise AssertionError(f"never at {moment}:\n{''.join(seen)}")

    return run


def _command(host, *options):
    inventory = host.backend.ansible_inventory
    return [PLAYBOOK, "-i", inventory, "--limit", "trixie1", *options, str(CONVERGE)]
