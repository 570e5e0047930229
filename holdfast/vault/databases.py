"""Leased logins: what Vault's database engine is to hold, and how it gets the account for it.

Each host with PostgreSQL has one connection, as the account `vault`, whose password nobody knows:
the first one lives for as long as it takes Vault to change it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import Error
from holdfast.vault.client import Refused
from holdfast.vault.desired import HOUR, Desired, Family, Setting, is_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from holdfast.vault.desired import Api

MOUNT = "database"
PLUGIN = "postgresql-database-plugin"
_CATALOGUE = f"sys/plugins/catalog/database/{PLUGIN}"
ACCOUNT = "vault"

# How long a login lasts if nobody renews it, and at most.
_LIVES = {"app": (HOUR, 24 * HOUR), "migrate": (HOUR // 4, HOUR)}
# The account may have twenty; the cluster's other nodes want some, too.
_CONNECTIONS = 4
_PASSWORD_BYTES = 48


class NotHandedOver(Error):
    """Vault could not take the account over."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A host with PostgreSQL: its name in its certificate, and its databases."""

    host: str
    name: str
    databases: tuple[str, ...]

    @property
    def logins(self) -> tuple[str, ...]:
        """The engine's roles, as services name them."""
        return tuple(f"{database}-{kind}" for database in self.databases for kind in _LIVES)


@dataclass(frozen=True, kw_only=True)
class Statements:
    """The SQL that makes, renews and ends logins, with <database> for a name."""

    create: Mapping[str, str]
    renew: str
    revoke: str

    @classmethod
    def read(cls, folder: Path) -> Statements:
        """Read the files that role postgresql has for this."""
        # Stripped, as Vault keeps them.
        texts = {path.stem: path.read_text().strip() for path in folder.glob("*.sql")}
        return cls(
            create={kind: texts[kind] for kind in _LIVES},
            renew=texts["renew"],
            revoke=texts["revoke"],
        )


def desired(servers: Sequence[Server], statements: Statements) -> Desired:
    """Work out the engine and its roles; the connections come when the servers are there."""
    roles = [_role(server, name, statements) for server in servers for name in server.databases]
    return Desired(
        settings=(
            Setting(path=f"sys/mounts/{MOUNT}", wanted={"type": "database"}),
            *(setting for settings in roles for setting in settings),
        ),
        # The engine is the installation's own: whatever else is there is nobody's.
        families=(
            Family(
                path=f"{MOUNT}/roles",
                names=frozenset(name for server in servers for name in server.logins),
                prefix="",
            ),
            Family(
                path=f"{MOUNT}/config",
                names=frozenset(server.host for server in servers if server.databases),
                prefix="",
            ),
        ),
    )


def _role(server: Server, database: str, statements: Statements) -> Iterator[Setting]:
    for kind, (life, longest) in _LIVES.items():
        yield Setting(
            path=f"{MOUNT}/roles/{database}-{kind}",
            wanted={
                "db_name": server.host,
                "creation_statements": [statements.create[kind].replace("<database>", database)],
                "renew_statements": [statements.renew],
                "revocation_statements": [statements.revoke],
                "default_ttl": life,
                "max_ttl": longest,
            },
        )


def plugin(
    api: Api, wanted: Mapping[str, str] | None
) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """Yield what registers the plugin, by `sha256` and `command`; None: it is built in."""
    found = api.read(_CATALOGUE)
    if wanted is None:
        if found and not found.get("builtin"):
            yield _CATALOGUE, None
    elif not found or any(found.get(key) != value for key, value in wanted.items()):
        yield _CATALOGUE, wanted


def why_hand_over(api: Api, server: Server, *, ca: str) -> str | None:
    """Tell why Vault has to be given the account of a server, or None when it can use it.

    Vault tries to log in anew; what others ask it for at this moment is done first.
    """
    found = api.read(f"{MOUNT}/config/{server.host}")
    if found is None:
        return "Vault does not know it"
    shown = {**dict(found.get("connection_details") or {}), **found}
    wrong = [key for key, value in _connection(server, ca).items() if not is_as(shown, key, value)]
    if wrong:
        return f"not as wanted: {', '.join(wrong)}"
    try:
        api.write(f"{MOUNT}/reset/{server.host}", {})
    except Refused:
        return "Vault cannot log in"
    return None


def hand_over(api: Api, server: Server, *, ca: str, give: Callable[[str], None]) -> None:
    """Have Vault take the account over: `give` sets a password there, which Vault changes at once.

    Until the last step nothing is leased, so that a run that is killed in between is seen by the
    next. Raises NotHandedOver.
    """
    path = f"{MOUNT}/config/{server.host}"
    wanted = _connection(server, ca)
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    give(password)
    try:
        api.write(path, {**wanted, "allowed_roles": [], "password": password})
        api.write(f"{MOUNT}/rotate-root/{server.host}", {})
        # Logs in with the new one.
        api.write(path, {"allowed_roles": wanted["allowed_roles"]})
    except Refused as error:
        reason = str(error).replace(password, "[password]")
        raise NotHandedOver(
            f"Vault cannot use its account on {server.host}: {reason} Look there whether "
            "PostgreSQL runs (`systemctl status postgresql@17-main`), and at the flow from vault "
            "to database; then run site.yml again."
        ) from None


def _connection(server: Server, ca: str) -> dict[str, Any]:
    return {
        "plugin_name": PLUGIN,
        "connection_url": "postgresql://{{username}}:{{password}}@"
        f"{server.name}:5432/postgres?sslmode=verify-full",
        "tls_ca": ca,
        "username": ACCOUNT,
        "password_authentication": "scram-sha-256",
        "max_open_connections": _CONNECTIONS,
        "allowed_roles": list(server.logins),
        "verify_connection": True,
    }
