"""The engine: one pool of connections a process, and how it is set up; how long anything of a database may take."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import msgspec
from sqlalchemy import CursorResult, Executable, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

SERVER_GRACE_SECONDS = 0.2
"""Seconds between the end that PostgreSQL makes of a statement and the one that is made here, if it does not answer."""
REQUEST_GRACE_SECONDS = 0.4
"""Seconds beside a statement that takes as long as one may, for all else that a request waits for."""

checked_out: ContextVar[set[Any] | None] = ContextVar("checked_out", default=None)
"""asyncpg's connections that a request has of the engine, noted where it wants to know.

Whoever is out of time ends them first: a cancelled transaction is left in order, for which the server is waited for.
"""


class Timeouts(msgspec.Struct, frozen=True):
    """How long a request waits for its database, in seconds."""

    connect: float = 1.5
    pool: float = 0.5
    """For a connection that is free."""
    statement: float = 2.0
    lock: float = 1.2
    idle_in_transaction: float = 10.0

    @property
    def command(self) -> float:
        """When a statement counts as lost."""
        return self.statement + SERVER_GRACE_SECONDS

    @property
    def request(self) -> float:
        """When a request is refused, however many statements it needs, each of which may end in time."""
        return self.command + REQUEST_GRACE_SECONDS

    def of_server(self) -> dict[str, str]:
        """What PostgreSQL is told, in its own words."""
        return {
            "statement_timeout": _milliseconds(self.statement),
            "lock_timeout": _milliseconds(self.lock),
            "idle_in_transaction_session_timeout": _milliseconds(self.idle_in_transaction),
        }


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


SERVER_SETTINGS = {"application_name": "kitsu", "timezone": "UTC"}


def create_engine(
    url: URL,
    *,
    pool_size: int = 5,
    max_overflow: int = 10,
    pool_recycle: int = 1800,
    pool_pre_ping: bool = False,
    debug: bool = False,
    timeouts: Timeouts | None = None,
) -> AsyncEngine:
    """Build the engine; it connects on first use. Times in seconds; `debug` logs every statement with its values.

    Without `timeouts` statements take as long as they take: for commands, whose work is long and watched.
    """
    waits = timeouts or Timeouts()
    connect_args: dict[str, Any] = {"timeout": waits.connect, "server_settings": SERVER_SETTINGS}
    if timeouts is not None:
        connect_args["server_settings"] = SERVER_SETTINGS | timeouts.of_server()
        connect_args["command_timeout"] = timeouts.command
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_recycle=pool_recycle,
        pool_pre_ping=pool_pre_ping,
        pool_timeout=waits.pool,
        echo=debug,
        # What a request asked for does not belong in a log.
        hide_parameters=not debug,
        connect_args=connect_args,
    )
    event.listen(engine.sync_engine, "handle_error", _end_unanswered)
    if timeouts is not None:
        event.listen(engine.sync_engine, "handle_error", _end_unbegun)
    event.listen(engine.sync_engine, "checkout", _note)
    event.listen(engine.sync_engine, "checkin", _forget)
    verify = verification(url)
    event.listen(engine.sync_engine, "do_connect", lambda _dialect, _record, _args, arguments: verify(arguments))
    return engine


def engine_states(engine: AsyncEngine) -> tuple[int, int]:
    """Return how many connections of an engine are in use, and how many are idle."""
    pool: Any = engine.pool
    return pool.checkedout(), pool.checkedin()


def verification(url: URL) -> Callable[[dict[str, Any]], None]:
    """What puts the certificates of `sslrootcert`, if the address names any, into asyncpg's arguments.

    asyncpg takes that word of libpq's in an address of its own alone, and there not for the system's certificates.
    """
    roots = url.query.get("sslrootcert")
    if roots is None:
        return lambda _: None
    context = ssl.create_default_context(cafile=None if roots == "system" else str(roots))
    context.check_hostname = url.query.get("ssl") == "verify-full"

    def verify(arguments: dict[str, Any]) -> None:
        del arguments["sslrootcert"]
        arguments["ssl"] = context

    return verify


def _note(connection: Any, _record: object, _proxy: object) -> None:
    connections = checked_out.get()
    if connections is not None:
        connections.add(connection.driver_connection)


def _forget(connection: Any, _record: object) -> None:
    connections = checked_out.get()
    if connections is not None and connection is not None:
        connections.discard(connection.driver_connection)


def _end_unanswered(context: ExceptionContext) -> None:
    """A connection that did not answer is not asked to roll back, nor to say goodbye: that would wait once more."""
    if (
        isinstance(context.original_exception, (TimeoutError, asyncio.CancelledError))
        and context.connection is not None
    ):
        raw: Any = context.connection.connection.driver_connection
        raw.terminate()
        context.is_disconnect = True


def _end_unbegun(context: ExceptionContext) -> None:
    """End a connection whose BEGIN failed.

    asyncpg keeps the transaction that did not start, so each later one on the connection would be a savepoint of it.
    """
    is_of_statement = context.statement is not None and isinstance(context.sqlalchemy_exception, DBAPIError)
    if not is_of_statement or context.is_disconnect or context.connection is None:
        return
    raw: Any = context.connection.connection.driver_connection
    if not raw.is_in_transaction():
        raw.terminate()
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False


async def execute_core(
    session: AsyncSession, statement: Executable, parameters: Mapping[str, Any] | None = None
) -> CursorResult[Any]:
    """Run a Core statement in the session's transaction, with its parameters by name.

    `session.execute` takes parameters of an INSERT or UPDATE of a mapped class for rows of a bulk operation.
    """
    return await (await session.connection()).execute(statement, parameters)
