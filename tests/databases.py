"""Databases without Kitsu's code: asyncpg connections, and copies of a template."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.engine import create_engine

COPY_TIMEOUT_SECONDS = 20
"""How long a copy waits for other sessions on its template."""


async def execute(url: URL, *statements: str) -> None:
    """Run statements on a database, each in its own transaction."""
    connection = await connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def column(database: URL, query: str) -> list[Any]:
    """Return the first column of a query."""
    connection = await connect(database)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def connect(url: URL) -> asyncpg.Connection:
    """Return an asyncpg connection to a database."""
    return await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))


async def copy_database(server: URL, template: str, name: str) -> None:
    """Create a database as a copy of another, after the last session on that one has ended."""
    # Without fsync, FILE_COPY takes half the time of the default.
    statement = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"
    async with asyncio.timeout(COPY_TIMEOUT_SECONDS):
        while True:
            try:
                return await execute(server, statement)
            except asyncpg.ObjectInUseError:  # by a session that is about to end, or autovacuum
                await asyncio.sleep(0.05)


@asynccontextmanager
async def copy_of(template: URL, server: URL) -> AsyncIterator[URL]:
    """Copy a database, and drop the copy at the end."""
    name = f"test_{uuid4().hex}"
    await copy_database(server, str(template.database), name)
    try:
        yield server.set(database=name)
    finally:
        await execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def engine_of(url: URL) -> AsyncIterator[AsyncEngine]:
    """Create an engine as Kitsu's commands do, and dispose of it at the end."""
    async with AsyncExitStack() as stack:
        engine = create_engine(url)
        stack.push_async_callback(engine.dispose)
        yield engine
