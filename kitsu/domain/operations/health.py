"""The state of the parts that the service needs."""

import asyncio
from contextlib import suppress
from typing import Annotated, Literal

import asyncpg
import msgspec
from msgspec import Meta
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db import migrations
from kitsu.db.batch_loader import BatchLoader
from kitsu.db.statements import StatementRunner
from kitsu.domain.fields import described
from kitsu.domain.media.store import MediaStore
from kitsu.errors import ServiceUnavailable

State = Annotated[Literal["ok", "error"], Meta(title="HealthStatus", description="The state of all or of a part.")]

DATABASE_TIMEOUT_SECONDS = 2.5

_SELECT_1 = text("SELECT 1")


class Health(msgspec.Struct):
    """State of the service."""

    status: State


class Readiness(Health):
    """State of the service, and of each part."""

    checks: Annotated[
        dict[str, State], described("The state of each part.", {"database": "ok", "migrations": "ok", "media": "ok"})
    ]


class HealthReader:
    def __init__(self, engine: AsyncEngine, runner: StatementRunner, media: MediaStore) -> None:
        self._engine = engine
        self._runner = runner
        self._media = media
        # Concurrent requests share one statement, so that none is refused for want of a connection.
        self._response = BatchLoader(self._select)

    async def database(self) -> bool:
        """Return whether the database responds."""
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
                await self._response.get(None)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    async def _select(self, _: list[None]) -> dict[None, int]:
        return {None: await self._runner.value(_SELECT_1)}

    async def readiness(self) -> Readiness:
        checks: dict[str, State] = {"database": "error", "migrations": "error", "media": "error"}
        with suppress(ServiceUnavailable):
            await self._media.probe()
            checks["media"] = "ok"
        with suppress(OSError, SQLAlchemyError, migrations.SchemaError):
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
                revision = await migrations.current(self._engine)
            checks["database"] = "ok"
            checks["migrations"] = "error" if migrations.explain(revision) else "ok"
        return Readiness("error" if "error" in checks.values() else "ok", checks)
