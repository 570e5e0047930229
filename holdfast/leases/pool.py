"""Pools of connections whose login changes under them, and whoever borrows one does not notice."""

from __future__ import annotations

import select
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

# Debian's, on the hosts; the operator's machine has neither.
import psycopg  # type: ignore[import-not-found]
import psycopg_pool  # type: ignore[import-not-found]

from holdfast.leases.login import Lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

# Seconds to wait for a connection, and for the server to answer a new one.
_PATIENCE = 30.0
_CONNECT_SECONDS = 5


class Pool:
    """Connections for threads, by the login in the file at `path`.

    A connection that is borrowed has the newest login. One with an older login is closed when it
    would be borrowed next: a login ends minutes after its successor came, so that nothing fails
    that takes less. `options` are those of psycopg_pool.ConnectionPool.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        self._lease = Lease(path)
        self._pool = psycopg_pool.ConnectionPool(
            connection_class=_Connecting(self._lease), open=False, **options
        )

    def open(self) -> None:
        """Begin to connect."""
        self._pool.open()

    def close(self) -> None:
        """End every connection."""
        self._pool.close()

    @contextmanager
    def connection(self, *, patience: float = _PATIENCE) -> Iterator[Any]:
        """Borrow a connection, in a transaction that is committed at the end.

        Raises psycopg_pool.PoolTimeout after `patience` seconds without one.
        """
        deadline = time.monotonic() + patience
        while True:
            found = self._pool.getconn(timeout=max(deadline - time.monotonic(), 0.0))
            if _is_good(found, self._lease):
                break
            found.close()
            self._pool.putconn(found)  # makes another in its place
        try:
            with found:  # one of a pool is not closed by this
                yield found
        finally:
            self._pool.putconn(found)


class AsyncPool:
    """The same for coroutines. `options` are those of psycopg_pool.AsyncConnectionPool."""

    def __init__(self, path: Path, **options: Any) -> None:
        self._lease = Lease(path)
        self._pool = psycopg_pool.AsyncConnectionPool(
            connection_class=_AsyncConnecting(self._lease), open=False, **options
        )

    async def open(self) -> None:
        """Begin to connect."""
        await self._pool.open()

    async def close(self) -> None:
        """End every connection."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self, *, patience: float = _PATIENCE) -> AsyncIterator[Any]:
        """Borrow a connection, as from Pool."""
        deadline = time.monotonic() + patience
        while True:
            found = await self._pool.getconn(timeout=max(deadline - time.monotonic(), 0.0))
            if _is_good(found, self._lease):
                break
            await found.close()
            await self._pool.putconn(found)
        try:
            async with found:
                yield found
        finally:
            await self._pool.putconn(found)


class _Connecting:
    """What a pool takes for the class of its connections: it connects by the newest login."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def connect(self, _: str = "", **options: Any) -> Any:
        login = self._lease.login()
        try:
            made = psycopg.Connection.connect(**_given(options), **login.parameters)
        except psycopg.OperationalError as error:
            self._lease.refused(login, str(error))
            raise
        return _noted(made, self._lease, login)


class _AsyncConnecting:
    """The same for coroutines."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def connect(self, _: str = "", **options: Any) -> Any:
        login = self._lease.login()
        try:
            made = await psycopg.AsyncConnection.connect(**_given(options), **login.parameters)
        except psycopg.OperationalError as error:
            self._lease.refused(login, str(error))
            raise
        return _noted(made, self._lease, login)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {"connect_timeout": _CONNECT_SECONDS, **options}


def _noted(connection: Any, lease: Lease, login: object) -> Any:
    lease.accepted()
    connection.holdfast_login = login
    return connection


def _is_good(connection: Any, lease: Lease) -> bool:
    """Tell whether its login is the newest, and the server has not ended it."""
    return lease.is_current(connection.holdfast_login) and not _has_word(connection)


def _has_word(connection: Any) -> bool:
    """Tell whether the server said something to a connection that nobody uses: that it ends."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
