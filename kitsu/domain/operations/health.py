"""The state of the parts that the service needs."""

import asyncio
from contextlib import suppress
from typing import Annotated, Literal

import asyncpg
import msgspec
import structlog
from msgspec import Meta
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db import migrations
from kitsu.db.batch_loader import BatchLoader
from kitsu.db.statements import StatementRunner
from kitsu.domain.fields import described
from kitsu.domain.media.store import MediaStore
from kitsu.domain.operations.clock import clock_difference, is_too_large
from kitsu.errors import ServiceUnavailable

State = Annotated[Literal["ok", "error"], Meta(title="HealthStatus", description="The state of all or of a part.")]

DATABASE_TIMEOUT_SECONDS = 2.5

log = structlog.get_logger("kitsu.health")

_SELECT_1 = text("SELECT 1")


class Health(msgspec.Struct):
    """State of the service."""

    status: State


class Readiness(Health):
    """State of the service, and of each part."""

    checks: Annotated[
        dict[str, State], described("The state of each part.", {"database": "ok", "migrations": "ok", "media": "ok"})
    ]
    clock_difference_seconds: Annotated[
        float | None,
        described(
            "By how much this machine's clock is ahead of the database's; negative: behind, null: unknown. It does not "
            "change the status.",
            0.0,
        ),
    ] = None


class HealthReader:
    def __init__(self, engine: AsyncEngine, runner: StatementRunner, media: MediaStore) -> None:
        self._engine = engine
        self._runner = runner
        self._media = media
        # Concurrent requests share one statement, so that none is refused for want of a connection.
        self._response = BatchLoader(self._select)
        self._is_clock_right = True

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
        difference = None
        with suppress(OSError, SQLAlchemyError, migrations.SchemaError):
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS):
                problem = await migrations.problem(self._engine)
                checks["database"] = "ok"
                checks["migrations"] = "error" if problem else "ok"
                difference = await clock_difference(self._engine)
            self._log_clock(difference)
        return Readiness("error" if "error" in checks.values() else "ok", checks, difference)

    def _log_clock(self, difference: float) -> None:
        """Log a difference that users notice, once until it has ended."""
        # Not a failed check: if the database's clock is the wrong one, no machine would be ready.
        was_right, self._is_clock_right = self._is_clock_right, not is_too_large(difference)
        if was_right and not self._is_clock_right:
            log.warning("clock difference found", seconds=difference)
