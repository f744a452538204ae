"""Single statements on asyncpg itself: what a request needs, in one round trip, at a third of what an engine costs.

The statements are SQLAlchemy's, built at import and compiled once. Each is a transaction of its own, committed when it
returns. Work of several statements is the engine's.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import asyncpg
import msgspec
import structlog
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.engine import URL

from kitsu.db.engine import SERVER_SETTINGS, Timeouts, verification
from kitsu.db.errors import is_disconnect
from kitsu.db.pool import ConnectionPool

log = structlog.get_logger("kitsu.sql")

_NONE: Mapping[str, Any] = {}
_dialect: Any = dialect()  # type: ignore[no-untyped-call] # SQLAlchemy types no dialect


class Compiled(NamedTuple):
    """A statement as PostgreSQL gets it."""

    sql: str
    names: tuple[str, ...]
    """Of the parameters, in the order of their numbers."""
    constants: Mapping[str, Any]
    """Those that the statement brings along."""


class StatementRunner:
    """Runs statements on a pool of asyncpg's."""

    def __init__(
        self,
        url: URL,
        *,
        size: int,
        recycle: int,
        timeouts: Timeouts,
        debug: bool = False,
        on_query: Callable[[Any], None] | None = None,
    ) -> None:
        """Up to `size` connections, each replaced `recycle` seconds after it was made; -1 for never.

        `on_query` hears of each statement that ends: asyncpg's `LoggedQuery`.
        """
        listeners = [listener for listener in (_log_query if debug else None, on_query) if listener]
        self._pool = ConnectionPool(
            connect_arguments(url, timeouts),
            size=size,
            recycle=recycle,
            init=partial(_init, listeners=listeners),
            timeouts=timeouts,
        )
        self.states = self._pool.states

    def close(self) -> None:
        """Close all connections at once, those in use too."""
        self._pool.close()

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """All rows of a statement that only reads."""
        try:
            return await self._fetch(statement, parameters)
        except Exception as error:
            if not is_disconnect(error):
                raise
            # The database has closed this connection, and probably the others. A read can be repeated, a write can't:
            # it may have been committed.
            self._pool.expire()
            return await self._fetch(statement, parameters)

    async def row(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first row of a statement that only reads, None without one."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    async def value(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row of a statement that only reads, None without one."""
        rows = await self.rows(statement, parameters)
        return rows[0][0] if rows else None

    async def write(self, statement: Executable, parameters: Mapping[str, Any]) -> Any:
        """The first row that a statement returns which writes, None without one."""
        rows = await self._fetch(statement, parameters)
        return rows[0] if rows else None

    async def _fetch(self, statement: Executable, parameters: Mapping[str, Any] | None) -> Sequence[Any]:
        rows: Sequence[Any] = await self._pool.run(PoolConnectionProxy.fetch, *_query(statement, parameters or _NONE))
        return rows


def address_arguments(url: URL) -> dict[str, Any]:
    """What an address of SQLAlchemy's says, by the names that asyncpg has for it."""
    arguments: dict[str, Any] = _dialect.create_connect_args(url)[1]
    return arguments


def connect_arguments(url: URL, timeouts: Timeouts) -> dict[str, Any]:
    """What asyncpg's `connect` takes for an address of SQLAlchemy's."""
    arguments = address_arguments(url)
    verification(url)(arguments)
    return {**arguments, "timeout": timeouts.connect, "server_settings": SERVER_SETTINGS | timeouts.of_server()}


@lru_cache(maxsize=2048)
def compiled_statement(statement: Executable) -> Compiled:
    """The text and the parameters of a statement, worked out once."""
    compiled: Any = statement.compile(dialect=_dialect)  # type: ignore[attr-defined]
    if compiled.post_compile_params:
        raise ValueError("a list in IN () is another statement for each length: compare with any_() of an array")
    return Compiled(compiled.string, tuple(compiled.positiontup), compiled.params)


def _query(statement: Executable, parameters: Mapping[str, Any]) -> list[Any]:
    """Return the text of a statement and its values, in the order of their numbers."""
    compiled = compiled_statement(statement)
    constants = compiled.constants
    values = [parameters[name] if name in parameters else constants[name] for name in compiled.names]
    return [compiled.sql, *values]


async def _init(connection: asyncpg.Connection, listeners: Sequence[Callable[[Any], None]]) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=_encode, decoder=msgspec.json.decode, format="text"
        )
    for listener in listeners:
        connection.add_query_logger(listener)


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _log_query(said: Any) -> None:
    log.info(said.query, arguments=said.args)
