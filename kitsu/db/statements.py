"""Single statements on asyncpg itself: what a request needs, in one round trip, at a third of what an engine costs.

The statements are SQLAlchemy's, built at import and compiled once. Each is a transaction of its own, committed when it
returns. Work of several statements is the engine's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import asyncpg
import msgspec
import structlog
from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.engine import URL

from kitsu.db.engine import SERVER_SETTINGS, Timeouts, verification
from kitsu.db.errors import is_disconnect
from kitsu.db.pool import Pool

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
        self._timeouts = timeouts
        self._pool = Pool(
            connect_arguments(url, timeouts),
            size=size,
            recycle=recycle,
            init=partial(_init, listeners=listeners),
            timeouts=timeouts,
        )
        self.states = self._pool.states

    def close(self) -> None:
        """Close all connections, those in use too."""
        self._pool.close()

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """All rows of a statement that only reads."""
        try:
            return await self._fetch(statement, parameters)
        except Exception as error:
            # The database had closed this connection, and with it the other idle ones. A read may be said twice.
            if not is_disconnect(error):
                raise
            self._pool.end_idle()
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

    async def change(self, statement: Executable, parameters: Mapping[str, Any]) -> int:
        """How many rows a statement changed or deleted."""
        compiled = compiled_statement(statement)
        status: str = await self._run(asyncpg.Connection.execute, compiled, parameters)
        return int(status.rpartition(" ")[2])

    async def _fetch(self, statement: Executable, parameters: Mapping[str, Any] | None) -> Sequence[Any]:
        rows: Sequence[Any] = await self._run(
            asyncpg.Connection.fetch, compiled_statement(statement), parameters or _NONE
        )
        return rows

    async def _run(self, verb: Callable[..., Awaitable[Any]], compiled: Compiled, parameters: Mapping[str, Any]) -> Any:
        began = time.monotonic()
        lent = await self._pool.take()
        # Whoever waited for a connection has the less time left.
        left = self._timeouts.command - (time.monotonic() - began)
        try:
            said = await verb(lent.connection, compiled.sql, *_arguments(compiled, parameters), timeout=left)
        except asyncpg.PostgresError as error:
            if is_disconnect(error):
                self._pool.end(lent)
            else:
                self._pool.give_back(lent)
            raise
        except asyncio.CancelledError:
            self._pool.end_cancelled(lent)
            raise
        except BaseException:
            self._pool.end(lent)
            raise
        self._pool.give_back(lent)
        return said


def address_arguments(url: URL) -> dict[str, Any]:
    """What an address of SQLAlchemy's says, by the names that asyncpg has for it."""
    arguments: dict[str, Any] = _dialect.create_connect_args(url)[1]
    return arguments


def connect_arguments(url: URL, timeouts: Timeouts) -> dict[str, Any]:
    """What asyncpg's `connect` takes for an address of SQLAlchemy's."""
    arguments = address_arguments(url)
    verification(url)(arguments)
    return {
        **arguments,
        "timeout": timeouts.connect,
        "server_settings": SERVER_SETTINGS | timeouts.of_server(),
    }


@lru_cache(maxsize=2048)
def compiled_statement(statement: Executable) -> Compiled:
    """The text and the parameters of a statement, worked out once."""
    compiled: Any = statement.compile(dialect=_dialect)  # type: ignore[attr-defined]
    if compiled.post_compile_params:
        raise ValueError("a list in IN () is another statement for each length: compare with any_() of an array")
    return Compiled(compiled.string, tuple(compiled.positiontup), compiled.params)


def _arguments(compiled: Compiled, parameters: Mapping[str, Any]) -> list[Any]:
    constants = compiled.constants
    return [parameters[name] if name in parameters else constants[name] for name in compiled.names]


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
