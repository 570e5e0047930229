"""Leased logins: what the engine is to hold, and an account that Vault alone has, in any order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from holdfast import paths
from holdfast.vault.client import Refused
from holdfast.vault.databases import (
    NotHandedOver,
    Server,
    Statements,
    desired,
    hand_over,
    plugin,
    why_hand_over,
)
from holdfast.vault.desired import differences

SERVER = Server(host="data1", name="data1.test", databases=("gateway", "ledger"))
STATEMENTS = Statements.read(paths.repository() / "roles/postgresql/files/leases")
CATALOGUE = "sys/plugins/catalog/database/postgresql-database-plugin"
CA = "the root"


class Killed(BaseException):
    """As when the machine dies."""


class Engine:
    """Vault and PostgreSQL, as far as a login from one to the other goes."""

    def __init__(self) -> None:
        self.data: dict[str, dict[str, Any]] = {}
        self.known: str | None = None  # what Vault has
        self.accepted: str | None = None  # what PostgreSQL takes
        self.killed_at = 0
        self.writes = 0

    def read(self, path: str) -> Mapping[str, Any] | None:
        return self.data.get(path)

    def list(self, path: str) -> list[str]:
        return [one.removeprefix(f"{path}/") for one in self.data if one.startswith(f"{path}/")]

    def delete(self, path: str) -> None:
        del self.data[path]

    def write(self, path: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        self.writes += 1
        if self.writes == self.killed_at:
            raise Killed
        if path.startswith("database/rotate-root/"):
            self.known = self.accepted = f"vault's own {self.writes}"
        elif path.startswith("database/config/"):
            password = data.get("password", self.known)
            if password != self.accepted:
                raise Refused(f"password {password} is wrong.")
            self.known = password
            shown = {key: value for key, value in data.items() if key != "password"}
            self.data[path] = {**self.data.get(path, {}), **shown}
        elif path.startswith("database/reset/"):
            if self.known != self.accepted:
                raise Refused("wrong password")
        else:
            self.data[path] = dict(data)
        return {}

    def give(self, password: str) -> None:
        self.accepted = password

    def converge(self) -> str | None:
        reason = why_hand_over(self, SERVER, ca=CA)
        if reason:
            hand_over(self, SERVER, ca=CA, give=self.give)
        return reason


@pytest.fixture
def engine() -> Engine:
    return Engine()


def test_the_engine_holds_two_roles_for_each_database_and_nothing_else(engine: Engine) -> None:
    engine.data["database/roles/mine"] = {}
    engine.data["database/config/gone"] = {}
    for path, data in list(differences(engine, desired([SERVER], STATEMENTS))):
        if data is None:
            engine.delete(path)
        else:
            engine.write(path, data)
    assert sorted(engine.list("database/roles")) == list(SERVER.logins)
    assert engine.list("database/config") == []
    assert list(differences(engine, desired([SERVER], STATEMENTS))) == []


def test_a_login_is_of_its_own_database_and_for_its_time() -> None:
    roles = {one.path: one.wanted for one in desired([SERVER], STATEMENTS).settings}
    app, migrate = roles["database/roles/ledger-app"], roles["database/roles/ledger-migrate"]
    assert '"ledger_app"' in app["creation_statements"][0]
    assert '"ledger_migrate"' in migrate["creation_statements"][0]
    assert [(one["default_ttl"], one["max_ttl"]) for one in (app, migrate)] == [
        (3600, 86400),
        (900, 3600),
    ]
    for one in (app, migrate):
        text = str(dict(one))
        assert "gateway" not in text
        assert "<database>" not in text
        # Vault takes the end of the lines away, and what it shows must be what we wanted.
        assert all(part == part.strip() for part in one["creation_statements"])


def test_the_first_password_is_nobodys_afterwards(engine: Engine) -> None:
    given: list[str] = []

    def give(password: str) -> None:
        given.append(password)
        engine.give(password)

    hand_over(engine, SERVER, ca=CA, give=give)
    assert len(given[0]) > 40
    assert engine.accepted != given[0]
    assert given[0] not in str(engine.data)
    assert engine.data["database/config/data1"]["allowed_roles"] == list(SERVER.logins)


def test_a_second_run_changes_nothing(engine: Engine) -> None:
    assert engine.converge()
    before = engine.accepted
    assert engine.converge() is None
    assert engine.accepted == before


@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_run_killed_anywhere_is_mended_by_the_next(engine: Engine, write: int) -> None:
    given: list[str] = []

    def give(password: str) -> None:
        given.append(password)
        engine.give(password)

    engine.killed_at = write
    with pytest.raises(Killed):
        hand_over(engine, SERVER, ca=CA, give=give)
    assert engine.converge()
    assert engine.accepted not in given
    assert engine.converge() is None


def test_a_database_that_was_made_anew_gets_the_account_again(engine: Engine) -> None:
    engine.converge()
    engine.accepted = None
    assert engine.converge() == "Vault cannot log in"
    assert engine.converge() is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("connection_url", "postgresql://x?sslmode=disable"), ("tls_ca", "x"), ("username", "root")],
)
def test_a_connection_that_was_changed_is_put_back(engine: Engine, key: str, value: str) -> None:
    engine.converge()
    engine.data["database/config/data1"][key] = value
    assert engine.converge() == f"not as wanted: {key}"
    assert engine.data["database/config/data1"][key] != value


def test_what_vault_says_never_tells_the_password(engine: Engine) -> None:
    given: list[str] = []
    with pytest.raises(NotHandedOver) as raised:
        hand_over(engine, SERVER, ca=CA, give=given.append)
    assert given[0] not in str(raised.value)
    assert "[password] is wrong" in str(raised.value)
    assert "site.yml" in str(raised.value)


WANTED = {"sha256": "a" * 64, "command": "postgresql"}


@pytest.mark.parametrize(
    ("found", "wanted", "todo"),
    [
        (None, WANTED, [(CATALOGUE, WANTED)]),
        ({**WANTED, "builtin": False}, WANTED, []),
        ({**WANTED, "sha256": "b" * 64}, WANTED, [(CATALOGUE, WANTED)]),
        ({"builtin": True, "sha256": ""}, None, []),
        (None, None, []),
        # Vault's own program was put in the place of the minimal one.
        ({**WANTED, "builtin": False}, None, [(CATALOGUE, None)]),
    ],
)
def test_the_plugin_is_the_one_that_is_there(
    engine: Engine, found: dict[str, Any] | None, wanted: dict[str, str] | None, todo: list[Any]
) -> None:
    if found:
        engine.data[CATALOGUE] = found
    assert list(plugin(engine, wanted)) == todo
