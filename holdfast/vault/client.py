"""A small typed layer over hvac: one node of Vault, its errors as a person reads them.

What may be repeated safely is repeated when a node does not answer; nothing else ever is.
"""

from __future__ import annotations

import ssl
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
from hvac import adapters, exceptions  # type: ignore[import-untyped]  # hvac ships no types

from holdfast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PORT = 8200
_CONNECT_SECONDS = 5
# How Vault says that nothing is mounted there (yet).
_UNMOUNTED = ("no handler for route", "No auth engine at", "No secret engine mount at")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


class Unreachable(Error):
    """Nothing answers there, or not in time."""


class Untrusted(Unreachable):
    """Something answers that cannot prove to be the installation's Vault."""


class NotReady(Error):
    """Vault is up and cannot work yet: it has no leader, or just gets one."""


class Sealed(Error):
    """Vault is closed until enough operators gave their shares."""


class Standby(Error):
    """Another node is the leader, and only the leader can do this."""


class NotInitialised(Error):
    """This Vault was never brought to life."""


class Denied(Error):
    """The token does not allow it, or is none any more."""


class Refused(Error):
    """Vault understood and said no; the message has its words."""


class _Missing(Error):
    """Nothing is at that path."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """A login. `seconds` is how long it was good for when it was given, 0 for ever."""

    value: str = field(repr=False)
    seconds: float = 0
    renewable: bool = False
    given: float = field(default_factory=time.monotonic, repr=False)

    def is_due(self) -> bool:
        """Tell whether less than a third of its life is left."""
        return bool(self.seconds) and time.monotonic() - self.given > self.seconds * 2 / 3


@dataclass(frozen=True, kw_only=True)
class Wrapped:
    """An answer that can be opened once. `accessor` names, for revoking it, what is in there."""

    token: str = field(repr=False)
    accessor: str


@dataclass(frozen=True, kw_only=True)
class SealStatus:
    """What a node tells about itself to everybody. `cluster_id` is "" while it is sealed.

    A node that has found a leader and is still to join it has no `threshold` and no `shares`.
    """

    initialised: bool
    sealed: bool
    threshold: int
    shares: int
    progress: int
    version: str
    cluster_id: str


class Vault:
    """One node, over TLS that `ca` vouches for. Proxies and VAULT_* of the caller are not heeded.

    `address` is an IP address or a name, and must stand in the node's certificate. `certificate`
    is a client certificate and its key, as paths. `login` gives a new token when there is none,
    when the old one ran out, and when it cannot be renewed. `patience` is how many seconds a read
    is tried again for while the node does not answer.
    """

    def __init__(
        self,
        address: str,
        *,
        ca: Path,
        name: str = "",
        port: int = PORT,
        certificate: tuple[Path, Path] | None = None,
        token: Token | None = None,
        login: Callable[[], Token] | None = None,
        timeout: float = 30,
        patience: float = 5,
    ) -> None:
        if not ca.exists():
            raise Untrusted(
                f"The certificate of the operators' authority is not at {ca}, so no Vault can be "
                "trusted; copy the installation's folder vault/ from where it was made."
            )
        self.name = name or address
        self.address = address
        self.token = token
        self._login = login
        self._timeout = timeout
        self._patience = patience
        session = requests.Session()
        session.trust_env = False
        session.verify = str(ca)
        if certificate:
            session.cert = (str(certificate[0]), str(certificate[1]))
        self._adapter = adapters.JSONAdapter(
            base_uri=f"https://[{address}]:{port}"
            if ":" in address
            else f"https://{address}:{port}",
            session=session,
            allow_redirects=False,
        )
        weakref.finalize(self, session.close)

    def read(self, path: str) -> Mapping[str, Any] | None:
        """Return the data at `path`, or None."""
        try:
            answer = self._patiently("get", path)
        except _Missing:
            return None
        data: Mapping[str, Any] = answer.get("data") or {}
        return data

    def list(self, path: str) -> list[str]:
        """Return the names below `path`."""
        try:
            answer = self._patiently("list", path)
        except _Missing:
            return []
        return [str(key) for key in (answer.get("data") or {}).get("keys", ())]

    def write(self, path: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write `data` to `path` and return the data of the answer. Never repeated."""
        answer = self._with_token("post", path, data)
        found: Mapping[str, Any] = answer.get("data") or {}
        return found

    def wrapped(self, path: str, data: Mapping[str, Any], *, seconds: int) -> Wrapped:
        """Write, and return what yields the answer once, within `seconds`."""
        answer = self._with_token("post", path, data, wrap_ttl=f"{seconds}s")["wrap_info"]
        return Wrapped(token=answer["token"], accessor=answer.get("wrapped_accessor", ""))

    def delete(self, path: str) -> None:
        """Remove what is at `path`."""
        self._with_token("delete", path)

    def ask(self, path: str) -> dict[str, Any]:
        """Read a path that needs no token, and return the whole answer."""
        return self._repeating(lambda: self._request("get", path))

    def tell(
        self, path: str, data: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Write to a path that needs no token, and return the whole answer. Never repeated."""
        return self._request("put", path, data, timeout=timeout)

    def withdraw(self, path: str, data: Mapping[str, Any] | None = None) -> None:
        """Delete at a path that needs no token."""
        self._request("delete", path, data)

    def seal_status(self) -> SealStatus:
        """Return whether this node is open."""
        return as_seal_status(self.ask("sys/seal-status"))

    def is_leader(self) -> bool:
        """Tell whether this node is the one that works, and is ready to."""
        try:
            return bool(self.ask("sys/leader").get("is_self")) and self._is_active()
        except (Sealed, NotInitialised, NotReady):
            return False

    def _is_active(self) -> bool:
        """A node is leader a moment before it answers as one."""
        try:
            self._request("get", "sys/health")
        except (Error, _Missing):
            return False
        return True

    def login_by_certificate(self, *, role: str, mount: str = "cert") -> Token:
        """Log in with the client certificate that this client was made with."""
        answer = self.tell(f"auth/{mount}/login", {"name": role})
        self.token = _token(answer["auth"])
        return self.token

    def revoke_own_token(self) -> None:
        """End the login; the token is good for nothing afterwards."""
        self._with_token("post", "auth/token/revoke-self", {})
        self.token = None

    def _patiently(self, method: str, path: str) -> dict[str, Any]:
        return self._repeating(lambda: self._with_token(method, path))

    def _repeating(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        deadline = time.monotonic() + self._patience
        pause = _FIRST_PAUSE
        while True:
            try:
                return work()
            except Untrusted:
                raise
            except (Unreachable, NotReady):
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _with_token(
        self, method: str, path: str, data: Mapping[str, Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        fresh = self._keep_token_fresh()
        try:
            return self._request(method, path, data, token=self.token, **options)
        except Denied:
            # Denied is not done, so that it can be tried again: once, with a new login.
            if fresh or self._login is None:
                raise
        self.token = self._login()
        return self._request(method, path, data, token=self.token, **options)

    def _keep_token_fresh(self) -> bool:
        """Renew the token, or log in, when it is time; tell whether there is a new login."""
        if self.token and not self.token.is_due():
            return False
        if self.token and self.token.renewable:
            try:
                answer = self._request("post", "auth/token/renew-self", {}, token=self.token)
            except (Denied, Refused):  # Revoked, ended, or at the end of its longest life.
                pass
            else:
                renewed = _token(answer["auth"])
                # What nears its longest life is renewed for less and less: then log in anew.
                if renewed.seconds > self.token.seconds / 3 or self._login is None:
                    self.token = renewed
                    return False
        if self._login is None:
            return False
        self.token = self._login()
        return True

    def _request(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any] | None = None,
        *,
        token: Token | None = None,
        timeout: float | None = None,
        wrap_ttl: str | None = None,
    ) -> dict[str, Any]:
        try:
            answer = self._adapter.request(
                method,
                f"/v1/{path}",
                headers={"X-Vault-Token": token.value} if token else {},
                json=None if data is None else dict(data),
                timeout=(_CONNECT_SECONDS, timeout or self._timeout),
                wrap_ttl=wrap_ttl,
            )
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            if _is_distrust(error):
                raise Untrusted(
                    f"{self.name} does not show a certificate of the operators' authority for "
                    f"{self.address}; renew its listener's certificate (run site.yml), and find "
                    "out who else answers there."
                ) from error
            raise Unreachable(
                f"Vault on {self.name} ({self.address}) does not answer; look at vault.service "
                f"there (`holdfast logs {self.name}`), and at the firewall in between."
            ) from error
        except exceptions.VaultError as error:
            raise self._understood(error, path) from error
        if isinstance(answer, dict):
            return answer
        if answer.is_redirect:
            raise self._standby()
        return {}

    def _standby(self) -> Standby:
        return Standby(
            f"{self.name} is not the leader of Vault's cluster; ask the one that is "
            "(`holdfast vault status` names it)."
        )

    def _understood(self, error: exceptions.VaultError, path: str) -> Error:
        words = ("; ".join(error.errors or ()) or str(error.text or "")).strip().rstrip(".")
        known: Error | None = None
        absent = isinstance(error, exceptions.InvalidPath) and not error.errors
        if absent or any(phrase in words for phrase in _UNMOUNTED):
            known = _Missing(
                f"Vault on {self.name} has nothing at {path}; run site.yml, which sets it up."
            )
        elif isinstance(error, exceptions.Forbidden):
            known = Denied(
                f"Vault denies {path} to this login; log in again, or ask somebody whose policy "
                "allows it."
            )
        elif "Vault is sealed" in words:
            known = Sealed(f"Vault on {self.name} is sealed; run `holdfast vault unseal`.")
        elif "not initialized" in words or "not yet initialized" in words:
            known = NotInitialised(
                f"Vault on {self.name} was never initialised; run `holdfast vault init`."
            )
        elif "node not active" in words or isinstance(error, exceptions.BadGateway):
            known = NotReady(
                f"Vault on {self.name} has no leader yet; wait a moment and run again. If it stays "
                "so, too few nodes are up: `holdfast vault status`."
            )
        elif "standby" in words:
            known = self._standby()
        return known or Refused(f"Vault on {self.name} refuses {path}: {words or error}.")


def as_seal_status(answer: Mapping[str, Any]) -> SealStatus:
    """Make a SealStatus of what sys/seal-status and sys/unseal answer."""
    return SealStatus(
        initialised=bool(answer["initialized"]),
        sealed=bool(answer["sealed"]),
        threshold=int(answer["t"]),
        shares=int(answer["n"]),
        progress=int(answer["progress"]),
        version=str(answer["version"]),
        cluster_id=str(answer.get("cluster_id", "")),
    )


def _is_distrust(error: BaseException) -> bool:
    """Tell a certificate that does not hold from a connection that just ended."""
    cause: BaseException | None = error
    while cause and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _token(auth: Mapping[str, Any]) -> Token:
    return Token(
        value=auth["client_token"],
        seconds=float(auth["lease_duration"]),
        renewable=bool(auth["renewable"]),
    )
