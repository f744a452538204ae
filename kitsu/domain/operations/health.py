"""Health: the state of the parts that the service needs."""

import asyncio
from contextlib import suppress
from typing import Literal

import asyncpg
import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db import migrations
from kitsu.db.batch_loader import BatchLoader
from kitsu.db.statements import StatementRunner
from kitsu.domain.media.store import MediaStore
from kitsu.errors import ServiceUnavailable

State = Literal["ok", "error"]

TIMEOUT = 2.5
"""Seconds until a database that does not respond counts as away."""

_ALIVE = text("SELECT 1")


class Health(msgspec.Struct):
    """State of the service."""

    status: State


class Readiness(Health):
    """State of the service, and of each part."""

    checks: dict[str, State]


class HealthReader:
    """Reads the state of the parts."""

    def __init__(self, engine: AsyncEngine, runner: StatementRunner, media: MediaStore) -> None:
        self._engine = engine
        self._runner = runner
        self._media = media
        # Concurrent requests share one statement, and are never refused.
        self._alive = BatchLoader(self._select)

    async def database(self) -> bool:
        """Return whether the database responds."""
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._alive.get(_ALIVE)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    async def _select(self, _: list[TextClause]) -> dict[TextClause, bool]:
        await self._runner.value(_ALIVE)
        return {_ALIVE: True}

    async def readiness(self) -> Readiness:
        """Return the state of each part."""
        checks: dict[str, State] = {"database": "error", "migrations": "error", "media": "error"}
        with suppress(ServiceUnavailable):
            await self._media.probe()
            checks["media"] = "ok"
        try:
            async with asyncio.timeout(TIMEOUT):
                revision = await migrations.current(self._engine)
            checks["database"] = "ok"
            checks["migrations"] = "error" if migrations.explain(revision) else "ok"
        except (OSError, SQLAlchemyError, migrations.SchemaError):
            pass
        return Readiness("ok" if set(checks.values()) == {"ok"} else "error", checks)
