"""The database of a command, and the messages for an operator when it can't be used."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import asyncpg
import click
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.embedded import shared_server
from kitsu.db.engine import create_engine
from kitsu.db.errors import is_unavailable, sqlstate
from kitsu.db.migrations import check_schema
from kitsu.settings import load_database_url

T = TypeVar("T")

EXPECTED = (OSError, UnicodeError, SQLAlchemyError, asyncpg.InterfaceError, asyncpg.PostgresError)
"""The errors of a database that can't be used."""


def open_database(url: URL | None) -> AbstractContextManager[URL]:
    """Return a context with the address of the database; without a URL it runs the embedded PostgreSQL."""
    return shared_server() if url is None else nullcontext(url)


def with_database(work: Callable[[AsyncEngine], Awaitable[T]], *, is_migrated: bool = False) -> T:
    """Run the work on the database of the settings; see `on_database`."""
    with open_database(load_database_url()) as url:
        return on_database(url, work, is_migrated=is_migrated)


def on_database(
    url: URL, work: Callable[[AsyncEngine], Awaitable[T]], *, is_migrated: bool = False, **options: Any
) -> T:
    """Run the work on this database, with `is_migrated` after `check_schema`. Raises SchemaError, ClickException.

    `options` are those of `create_engine`.
    """

    async def run() -> T:
        # The error below reports a broken connection; the event loop must not report it too.
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        engine = create_engine(url, **options)
        try:
            if is_migrated:
                await check_schema(engine)
            return await work(engine)
        finally:
            await engine.dispose()

    try:
        return asyncio.run(run())
    except Exception as error:
        if isinstance(error, EXPECTED) or sqlstate(error) is not None:
            raise click.ClickException(explanation(error, url)) from error
        raise


def explanation(error: BaseException, url: URL) -> str:
    """Return one line that says what to do, without the password that the address may hold."""
    server = f"PostgreSQL at {url.host or url.query.get('host', 'localhost')}:{url.port or 5432}"
    cause = getattr(error, "orig", None) or error
    text = str(cause).strip().split("\n", 1)[0]
    reason = text.removeprefix("<class 'asyncpg.exceptions.").strip() or type(cause).__name__
    match sqlstate(error):
        case "28P01" | "28000":
            return f"{server} refuses the user {url.username!r}: check DB_USER and DB_PASSWORD, or DATABASE_URL."
        case "3D000":
            return f"{server} has no database {url.database!r}: create it, or check DB_NAME or DATABASE_URL."
        case "42501":
            return f"The user {url.username!r} lacks a right on the database {url.database!r}: {reason}"
    if "startup parameter" in text or "prepared statement" in text:
        advice = "set DB_POOLER=transaction, and DATABASE_DIRECT_URL to the address of PostgreSQL itself"
        return f"{server} is a pooler ({reason}): {advice}."
    if isinstance(error, ssl.SSLError):
        return f"{server} has an untrusted certificate ({reason}): check the host, and sslrootcert in DATABASE_URL."
    if is_unavailable(error):
        return f"{server} can't be reached ({reason}): start it, or check DATABASE_URL or DB_HOST and DB_PORT."
    return f"The database refused: {reason}"
