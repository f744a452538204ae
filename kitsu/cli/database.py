"""How a command gets its database, and what it says when there is a problem with it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import asyncpg
import click
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.embedded import EmbeddedError, shared_server
from kitsu.db.engine import create_engine
from kitsu.db.errors import is_unavailable, sqlstate
from kitsu.db.migrations import SchemaError
from kitsu.settings import SettingsError, load_database_url

T = TypeVar("T")


@contextmanager
def the_database(url: URL | None) -> Iterator[URL]:
    """The address of the database; without one the embedded PostgreSQL, for as long as the context lasts."""
    if url is not None:
        yield url
        return
    try:
        with shared_server() as embedded_url:
            yield embedded_url
    except EmbeddedError as error:
        raise click.ClickException(str(error)) from error


def with_database(work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Run the work on the database that the settings name. Raises ClickException with one line for the operator."""
    try:
        url = load_database_url()
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    with the_database(url) as address:
        return on_database(address, work)


def on_database(url: URL, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Run the work on this database. Raises ClickException with one line for the operator."""

    async def run() -> T:
        # A connection that breaks is told of once, by the error below, and not by the event loop as well.
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        async with _engine(url) as engine:
            return await work(engine)

    try:
        return asyncio.run(run())
    except SchemaError as error:
        raise click.ClickException(str(error)) from error
    except (OSError, UnicodeError, SQLAlchemyError, asyncpg.InterfaceError) as error:
        raise _explained(error, url) from error
    except Exception as error:
        if sqlstate(error) is None:
            raise
        raise _explained(error, url) from error


@asynccontextmanager
async def _engine(url: URL) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()


def _explained(error: BaseException, url: URL) -> click.ClickException:
    """One line that names what to do, without the password that the address may hold."""
    where = f"{url.host or url.query.get('host', 'localhost')}:{url.port or 5432}"
    state = sqlstate(error)
    if state in {"28P01", "28000"}:
        return click.ClickException(
            f"PostgreSQL at {where} refuses the user {url.username!r}: check DB_USER and DB_PASSWORD, or DATABASE_URL."
        )
    if state == "3D000":
        return click.ClickException(
            f"PostgreSQL at {where} has no database {url.database!r}: create it, or check DB_NAME or DATABASE_URL."
        )
    if state == "42501":
        return click.ClickException(
            f"The user {url.username!r} lacks a right on the database {url.database!r}: {_first_line(error)}"
        )
    if isinstance(error, ssl.SSLError):
        return click.ClickException(
            f"PostgreSQL at {where} has a certificate that is not to be trusted ({_first_line(error)}): "
            "check the host, and sslrootcert in DATABASE_URL."
        )
    if is_unavailable(error):
        return click.ClickException(
            f"PostgreSQL at {where} can't be reached ({_first_line(error)}): "
            "start it, or check DATABASE_URL or DB_HOST and DB_PORT."
        )
    return click.ClickException(f"The database refused: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    text = str(cause).strip().split("\n", 1)[0]
    return text.removeprefix("<class 'asyncpg.exceptions.").strip() or type(cause).__name__
