"""Classification of the errors of a real PostgreSQL, and of one that is away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kitsu.db.engine import Timeouts, create_engine
from kitsu.db.errors import is_bad_value, is_disconnect, is_unavailable, sqlstate
from tests.cli.process import free_port
from tests.databases import execute


@pytest.fixture
async def engine(database: URL) -> AsyncIterator[AsyncEngine]:
    """An engine on a database at the newest schema."""
    engine = create_engine(database)
    yield engine
    await engine.dispose()


async def error_of(engine: AsyncEngine, *statements: str, parameters: Sequence[object] = ()) -> BaseException:
    """Return what the statements raise, in one transaction."""
    try:
        async with engine.begin() as connection:
            for statement in statements:
                named = {f"p{number}": value for number, value in enumerate(parameters)}
                await connection.execute(text(statement), named)
    except Exception as error:  # noqa: BLE001 - the test checks it
        return error
    raise AssertionError("nothing was raised")


async def connecting(url: URL) -> BaseException:
    """Return what a connection to this address raises."""
    engine = create_engine(url)
    try:
        return await error_of(engine, "SELECT 1")
    finally:
        await engine.dispose()


async def test_refused_connection_is_unavailable(server: URL) -> None:
    error = await connecting(server.set(host="127.0.0.1", port=free_port(), query={}))
    assert isinstance(error, ConnectionRefusedError)
    assert (is_unavailable(error), sqlstate(error)) == (True, None)


@pytest.mark.parametrize("host", ["/nonexistent", "nowhere.invalid"])
async def test_address_without_server_is_unavailable(server: URL, host: str) -> None:
    assert is_unavailable(await connecting(server.set(query={"host": host})))


async def test_server_without_response_is_unavailable() -> None:
    async def send_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(send_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with asyncio.timeout(2 * Timeouts().connect):
        error = await connecting(URL.create("postgresql+asyncpg", "kitsu", host="127.0.0.1", port=port, database="x"))
    assert is_unavailable(error)
    for writer in writers:
        writer.close()
    silent.close()


async def test_empty_pool_is_unavailable(database: URL) -> None:
    engine = create_async_engine(database, pool_size=1, max_overflow=0, pool_timeout=0.05)
    async with engine.connect():
        error = await error_of(engine, "SELECT 1")
    await engine.dispose()
    assert isinstance(error, PoolTimeoutError)
    assert is_unavailable(error)


async def test_too_many_connections_is_unavailable(database: URL, server: URL) -> None:
    role = f"crowd_{uuid4().hex}"
    await execute(server, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")
    try:
        error = await connecting(database.set(username=role))
    finally:
        await execute(server, f"DROP ROLE {role}")
    assert (sqlstate(error), is_unavailable(error)) == ("53300", True)


async def test_terminated_connection_is_a_disconnect(engine: AsyncEngine) -> None:
    error = await error_of(engine, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert isinstance(error, DBAPIError)
    assert (is_unavailable(error), is_disconnect(error)) == (True, True)


@pytest.mark.parametrize(
    ("statements", "state"),
    [
        (["SET LOCAL statement_timeout = 1", "SELECT pg_sleep(5)"], "57014"),
        (["SET LOCAL transaction_read_only = on", "DELETE FROM anime"], "25006"),
        (["DO $$ BEGIN RAISE SQLSTATE '57P03'; END $$"], "57P03"),
        (["DO $$ BEGIN RAISE SQLSTATE '53100'; END $$"], "53100"),
        (["DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"], "40001"),
        (["DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$"], "40P01"),
        (["DO $$ BEGIN RAISE SQLSTATE '58030'; END $$"], "58030"),
    ],
    ids=["statement-timeout", "read-only", "starting-up", "disk-full", "serialization", "deadlock", "io-error"],
)
async def test_temporary_error_is_unavailable(engine: AsyncEngine, statements: list[str], state: str) -> None:
    error = await error_of(engine, *statements)
    assert (sqlstate(error), is_unavailable(error), is_bad_value(error)) == (state, True, False)


async def test_lock_timeout_is_unavailable(engine: AsyncEngine) -> None:
    async with engine.begin() as holder:
        await holder.execute(text("LOCK TABLE anime"))
        error = await error_of(engine, "SET LOCAL lock_timeout = 1", "DELETE FROM anime")
    assert (sqlstate(error), is_unavailable(error)) == ("55P03", True)


ADD = "INSERT INTO anime (id, title) VALUES ('00000000-0000-4000-8000-000000000000', 'a')"


@pytest.mark.parametrize(
    ("statements", "state"),
    [
        (["SELECT * FROM missing"], "42P01"),
        (["SELECT missing FROM anime"], "42703"),
        (["SELEC 1"], "42601"),
        ([ADD, ADD], "23505"),
        (["INSERT INTO releases (id, anime_id, title) VALUES (gen_random_uuid(), gen_random_uuid(), 'a')"], "23503"),
        (["INSERT INTO anime (id) VALUES (gen_random_uuid())"], "23502"),
    ],
)
async def test_refused_statement_is_not_unavailable(engine: AsyncEngine, statements: list[str], state: str) -> None:
    error = await error_of(engine, *statements)
    assert isinstance(error, DBAPIError)
    assert (sqlstate(error), is_unavailable(error)) == (state, False)
    assert (is_disconnect(error), is_bad_value(error)) == (False, False)


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("SELECT CAST(:p0 AS text)", "a\0b"),
        ("SELECT CAST(:p0 AS int)", 2**40),
        ("SELECT CAST(:p0 AS bigint)", 2**70),
        ("SELECT CAST(:p0 AS text)", "\ud800"),
        ("SELECT CAST(CAST(:p0 AS text) AS uuid)", "x"),
    ],
)
async def test_value_that_can_not_be_stored_is_a_bad_value(engine: AsyncEngine, statement: str, value: object) -> None:
    error = await error_of(engine, statement, parameters=[value])
    assert (is_bad_value(error), is_unavailable(error)) == (True, False)


def test_python_errors_are_classified() -> None:
    assert not is_unavailable(ValueError("x"))
    assert sqlstate(ValueError("x")) is None
    assert is_unavailable(TimeoutError())
    assert is_unavailable(ConnectionResetError())


@pytest.mark.parametrize("length", [1, 2])
def test_cycle_of_causes_has_no_sqlstate(length: int) -> None:
    errors = [ValueError(number) for number in range(length)]
    for error, cause in zip(errors, [*errors[1:], errors[0]], strict=True):
        error.__cause__ = cause
    assert sqlstate(errors[0]) is None
    assert not is_unavailable(errors[0])
