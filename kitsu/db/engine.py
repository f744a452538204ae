"""SQLAlchemy's engine, the arguments of asyncpg's connections, and the time limits of both."""

import asyncio
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import CursorResult, Executable, event
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from kitsu.db.errors import READ_ONLY, sqlstate
from kitsu.db.hosts import connect
from kitsu.db.pooler import transaction_connection

SERVER_GRACE_SECONDS = 0.2
"""Between the statement timeout of PostgreSQL and that of the client, which is for a server that does not respond."""
REQUEST_GRACE_SECONDS = 0.4  # what a request may take beside a statement that runs into its timeout
SERVER_SETTINGS = {"application_name": "kitsu", "timezone": "UTC"}

asyncpg_dialect: Any = dialect()  # type: ignore[no-untyped-call] # SQLAlchemy types no dialect

checked_out: ContextVar[set[Any] | None] = ContextVar("checked_out", default=None)
"""asyncpg's connections that the request has checked out of the engine, where a deadline collects them.

The deadline terminates them before it cancels the request: a cancelled transaction would wait for the server.
"""


class Timeouts(msgspec.Struct, frozen=True):
    """How long a request waits for its database, in seconds."""

    connect: float = 1.5
    pool: float = 0.5
    statement: float = 2.0
    lock: float = 1.2
    idle_in_transaction: float = 10.0

    @property
    def command(self) -> float:
        """When the client gives a statement up."""
        return self.statement + SERVER_GRACE_SECONDS

    @property
    def request(self) -> float:
        """When a request is refused, however many statements it runs."""
        return self.command + REQUEST_GRACE_SECONDS

    def server_settings(self) -> dict[str, str]:
        """Return the settings of PostgreSQL, in milliseconds."""
        return {
            "statement_timeout": f"{self.statement * 1000:.0f}",
            "lock_timeout": f"{self.lock * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{self.idle_in_transaction * 1000:.0f}",
        }


def address_arguments(url: URL) -> dict[str, Any]:
    """Return the arguments of asyncpg's `connect` that an address contains."""
    arguments: dict[str, Any] = asyncpg_dialect.create_connect_args(url)[1]
    return arguments


def connect_arguments(url: URL, timeouts: Timeouts | None, *, pooler: bool = False) -> dict[str, Any]:
    """Return the arguments of asyncpg's `connect`. Without timeouts, statements may take any time.

    With `pooler` the address is that of a pooler in transaction mode.
    """
    arguments = address_arguments(url)
    if (roots := arguments.pop("sslrootcert", None)) is not None:
        # asyncpg reads this option of libpq's only in an address of its own, and there not for "system".
        context = ssl.create_default_context(cafile=None if roots == "system" else str(roots))
        context.check_hostname = arguments.get("ssl") == "verify-full"
        arguments["ssl"] = context
    arguments["timeout"] = (timeouts or Timeouts()).connect
    limits = timeouts.server_settings() if timeouts else {}
    if pooler:
        arguments["statement_cache_size"] = 0
        arguments["connection_class"] = transaction_connection(limits)
    arguments["server_settings"] = SERVER_SETTINGS | ({} if pooler else limits)
    return arguments


def create_engine(
    url: URL,
    *,
    timeouts: Timeouts | None = None,
    pooler: bool = False,
    debug: bool = False,
    pool_recycle: int = 1800,
    **pool: int,
) -> AsyncEngine:
    """Create an engine. It connects on first use. `pool` has options of SQLAlchemy such as `pool_size`.

    Commands give no `timeouts`: their statements may take any time. `debug` logs statements with their values.
    """
    arguments = connect_arguments(url, timeouts, pooler=pooler) | {"async_creator_fn": connect}
    if timeouts is not None:
        arguments["command_timeout"] = timeouts.command
    if pooler:
        arguments |= {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
    engine = create_async_engine(
        url,
        **pool,
        pool_recycle=pool_recycle,
        pool_timeout=(timeouts or Timeouts()).pool,
        echo=debug,
        hide_parameters=not debug,  # values of users do not belong in a log
    )

    def set_arguments(_dialect: object, _record: object, _positional: object, named: dict[str, Any]) -> None:
        named.clear()  # SQLAlchemy's, which lack some options of the URL
        named.update(arguments)

    event.listen(engine.sync_engine, "do_connect", set_arguments)
    event.listen(engine.sync_engine, "handle_error", _terminate_unresponsive)
    if timeouts is not None:
        event.listen(engine.sync_engine, "handle_error", _terminate_without_transaction)
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    event.listen(engine.sync_engine, "checkout", _note_checkout)
    event.listen(engine.sync_engine, "checkin", _note_checkin)
    return engine


def engine_states(engine: AsyncEngine) -> tuple[int, int]:
    """Return how many connections of an engine are in use, and how many are idle."""
    pool: Any = engine.pool
    return pool.checkedout(), pool.checkedin()


async def execute_core(
    session: AsyncSession, statement: Executable, parameters: Mapping[str, Any] | None = None
) -> CursorResult[Any]:
    """Run a Core statement in the session's transaction, with its parameters by name.

    `session.execute` takes parameters of an INSERT or UPDATE of a mapped class for rows of a bulk operation.
    """
    return await (await session.connection()).execute(statement, parameters)


async def driver_connection(session: AsyncSession) -> asyncpg.Connection:
    """Return asyncpg's connection of a session whose transaction has begun, with its first statement."""
    connection = await session.connection()
    return (await connection.get_raw_connection()).driver_connection


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection that was closed while it was idle, as by a restart of the server."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _note_checkout(connection: Any, _record: object, _proxy: object) -> None:
    if (connections := checked_out.get()) is not None:
        connections.add(connection.driver_connection)


def _note_checkin(connection: Any, _record: object) -> None:
    if (connections := checked_out.get()) is not None and connection is not None:
        connections.discard(connection.driver_connection)


def _terminate_unresponsive(context: ExceptionContext) -> None:
    """Terminate a connection without a response: a rollback or an orderly close would wait once more.

    Also one to a server that no longer accepts writes; the pool replaces all.
    """
    error = context.original_exception
    if isinstance(error, (TimeoutError, asyncio.CancelledError)) or sqlstate(error) == READ_ONLY:
        _terminate(context)


def _terminate_without_transaction(context: ExceptionContext) -> None:
    """Terminate a connection whose BEGIN failed.

    asyncpg keeps the transaction that did not start, so each later one on the connection would be a savepoint of it.
    """
    is_of_statement = context.statement is not None and isinstance(context.sqlalchemy_exception, DBAPIError)
    if is_of_statement and not context.is_disconnect and context.connection is not None:
        raw: Any = context.connection.connection.driver_connection
        if not raw.is_in_transaction():
            _terminate(context)
            context.invalidate_pool_on_disconnect = False


def _terminate(context: ExceptionContext) -> None:
    if context.connection is not None:
        raw: Any = context.connection.connection.driver_connection
        raw.terminate()
        context.is_disconnect = True
