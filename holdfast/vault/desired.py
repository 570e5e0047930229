"""What Vault is to hold for an installation: worked out from the inventory, compared with what is.

Every setting is a path of Vault's API and the parameters that it should have there. What the API
adds by itself is left alone; what carries our prefix and is wanted no longer is removed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PREFIX = "holdfast-"
SERVERS = "pki-servers"

HOUR = 3600
CERTIFICATE = 72 * HOUR
# Longer than an outage of Vault that nobody should notice.
TOKEN = 24 * HOUR
_SECRET_ID = HOUR // 6
_HOST_TOKEN = HOUR // 12


class Api(Protocol):
    """The part of a Vault client that is needed here; absent things are None and []."""

    def read(self, path: str) -> Mapping[str, Any] | None:
        """Return the data at `path`."""

    def list(self, path: str) -> Sequence[str]:
        """Return the names below `path`."""

    def write(self, path: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write `data` to `path`."""

    def delete(self, path: str) -> None:
        """Remove what is at `path`."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """Something on a host that has an identity of its own."""

    host: str
    name: str
    addresses: tuple[str, ...]
    names: tuple[str, ...] = ()
    database: str | None = None

    @property
    def role(self) -> str:
        """The name of its AppRole, and of its role in the mount of server certificates."""
        return f"{PREFIX}{self.host}-{self.name}"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Parameters at a path. `once` are given at creation only, because they cannot be read."""

    path: str
    wanted: Mapping[str, Any]
    once: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Names below a path: of those with the prefix, only the wanted ones may be there."""

    path: str
    names: frozenset[str]
    prefix: str = PREFIX


@dataclass(frozen=True, kw_only=True)
class Desired:
    """Everything, in an order in which it can be written."""

    settings: tuple[Setting, ...]
    families: tuple[Family, ...]


_MOUNTS = (
    Setting(path="sys/auth/approle", wanted={"type": "approle"}),
    Setting(path=f"sys/mounts/{SERVERS}", wanted={"type": "pki"}),
    Setting(path=f"sys/mounts/{SERVERS}/tune", wanted={"max_lease_ttl": 365 * 24 * HOUR}),
    Setting(
        path=f"{SERVERS}/config/crl",
        wanted={"auto_rebuild": True, "expiry": "168h", "disable": False},
    ),
    # The store stays as small as what is valid.
    Setting(
        path=f"{SERVERS}/config/auto-tidy",
        wanted={
            "enabled": True,
            "interval_duration": 24 * HOUR,
            "tidy_cert_store": True,
            "tidy_revoked_certs": True,
            "safety_buffer": CERTIFICATE,
        },
    ),
)


def desired(services: Sequence[Service]) -> Desired:
    """Work out what Vault is to hold for these services."""
    hosts = {service.host: service.addresses for service in services}
    with_names = [service for service in services if service.names]
    settings = [
        *_MOUNTS,
        *(_server_role(service) for service in with_names),
        *(_policy(service.role, _service_rules(service)) for service in services),
        *(_policy(f"{PREFIX}{host}", _host_rules(host, services)) for host in hosts),
        *(_service_identity(service) for service in services),
        *(_host_identity(host, addresses) for host, addresses in hosts.items()),
    ]
    identities = frozenset({*(service.role for service in services), *map(PREFIX.__add__, hosts)})
    families = (
        Family(path=f"{SERVERS}/roles", names=frozenset(service.role for service in with_names)),
        Family(path="auth/approle/role", names=identities),
        Family(path="sys/policies/acl", names=identities),
    )
    return Desired(settings=tuple(settings), families=families)


def differences(api: Api, wanted: Desired) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """Yield each path that is not as wanted, with what to write there; None is to remove it."""
    for family in wanted.families:
        for name in api.list(family.path):
            if name.startswith(family.prefix) and name not in family.names:
                yield f"{family.path}/{name}", None
    for setting in wanted.settings:
        found = api.read(setting.path)
        if found is None:
            yield setting.path, {**setting.once, **setting.wanted}
        elif any(not is_as(found, key, value) for key, value in setting.wanted.items()):
            yield setting.path, setting.wanted


def is_as(found: Mapping[str, Any], key: str, wanted: object) -> bool:
    """Tell whether a parameter is as wanted; lists are in no order."""
    value = found.get(key)
    if isinstance(wanted, list) and isinstance(value, list):
        return sorted(map(str, value)) == sorted(map(str, wanted))
    return bool(value == wanted)


def _server_role(service: Service) -> Setting:
    return Setting(
        path=f"{SERVERS}/roles/{service.role}",
        wanted={
            "allowed_domains": list(service.names),
            "allow_bare_domains": True,
            "allow_subdomains": False,
            "allow_glob_domains": False,
            "allow_wildcard_certificates": False,
            "allow_localhost": False,
            "allow_any_name": False,
            "allow_ip_sans": False,
            "enforce_hostnames": True,
            "server_flag": True,
            "client_flag": False,
            "key_type": "ec",
            "key_bits": 256,
            "key_usage": ["DigitalSignature"],
            "max_ttl": CERTIFICATE,
            "ttl": CERTIFICATE,
            "require_cn": False,
            "no_store": False,
        },
    )


def _policy(name: str, rules: Sequence[tuple[str, str]]) -> Setting:
    text = "".join(f'path "{path}" {{\n  {body}\n}}\n' for path, body in rules)
    return Setting(path=f"sys/policies/acl/{name}", wanted={"policy": text})


def _service_rules(service: Service) -> list[tuple[str, str]]:
    rules = []
    if service.names:
        rules.append((f"{SERVERS}/issue/{service.role}", 'capabilities = ["update"]'))
    if service.database:
        rules.append((f"database/creds/{service.database}", 'capabilities = ["read"]'))
    return rules


def _host_rules(host: str, services: Sequence[Service]) -> list[tuple[str, str]]:
    """A host hands its services identities that only the addressee can unwrap, and no more."""
    return [
        (
            f"auth/approle/role/{service.role}/secret-id",
            'capabilities = ["update"]\n  min_wrapping_ttl = "1s"\n  max_wrapping_ttl = "5m"',
        )
        for service in services
        if service.host == host
    ]


def _service_identity(service: Service) -> Setting:
    return _identity(
        service.role,
        service.addresses,
        secret_id_num_uses=1,
        secret_id_ttl=_SECRET_ID,
        token_period=TOKEN,
        token_ttl=0,
        token_num_uses=0,
    )


def _host_identity(host: str, addresses: Sequence[str]) -> Setting:
    return _identity(
        f"{PREFIX}{host}",
        addresses,
        secret_id_num_uses=0,
        secret_id_ttl=0,
        token_period=0,
        token_ttl=_HOST_TOKEN,
        token_num_uses=0,
    )


def _identity(name: str, addresses: Sequence[str], **limits: int) -> Setting:
    networks = [f"{address}/{128 if ':' in address else 32}" for address in addresses]
    return Setting(
        path=f"auth/approle/role/{name}",
        # No secret: a name that hosts know without asking.
        once={"role_id": name},
        wanted={
            "bind_secret_id": True,
            "secret_id_bound_cidrs": networks,
            # Written without the length of the network, and read so.
            "token_bound_cidrs": list(addresses),
            "token_policies": [name],
            "token_no_default_policy": False,
            "token_type": "service",
            **limits,
        },
    )
