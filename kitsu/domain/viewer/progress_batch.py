"""Batches of watch progress, from a device that was offline: each report is stored or refused by itself."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kitsu.domain.fields import described
from kitsu.domain.idempotency import IdempotentRequest
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.domain.viewer.watch_progress import NewProgress, WatchProgress, WatchProgressRecorder
from kitsu.errors import AppError, ErrorBody, InvalidRequest, NotFound

MAX_REPORTS = 500

_EXAMPLE = {
    "anime_id": "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
    "episode": 7,
    "progress_percent": 95,
    "watched_at": "2026-11-22T08:39:35Z",
}
_REPORTS = "Bodies of `POST /watch/progress`, each with its `watched_at`."
Reports = Annotated[list[dict[str, Any]], described(_REPORTS, [_EXAMPLE], min_length=1, max_length=MAX_REPORTS)]


class NewBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reports of a player."""

    reports: Reports


class ReportResult(msgspec.Struct):
    """What became of a report, as if it had been sent alone."""

    status: Annotated[int, described("200, 400, 404 or 422.", 200)]
    progress: Annotated[WatchProgress | None, described("The position in the anime after this report.")] = None
    error: Annotated[ErrorBody | None, described("Why the report was refused.")] = None


class BatchResults(msgspec.Struct):
    """The results, in the order of the reports."""

    results: Annotated[list[ReportResult], described("One for each report.")]


class BatchRecorder:
    def __init__(self, engine: AsyncEngine, recorder: WatchProgressRecorder) -> None:
        self._engine = engine
        self._recorder = recorder

    async def record(self, user_id: UUID, batch: NewBatch, idempotent: IdempotentRequest | None) -> BatchResults:
        """Store the reports of a batch in one transaction. Raises InvalidRequest for a repeated request.

        Raises Conflict for more plays than a viewer may have; then no report is stored.
        """
        try:
            return await self._record(user_id, batch, idempotent)
        except NotFound:  # an anime may have been merged into another one meanwhile
            return await self._record(user_id, batch, idempotent)

    async def _record(self, user_id: UUID, batch: NewBatch, idempotent: IdempotentRequest | None) -> BatchResults:
        with viewer_constraints():
            async with self._engine.begin() as connection:

                async def work() -> BatchResults:
                    return BatchResults(await self._store(connection, user_id, batch.reports))

                if idempotent is None:
                    return await work()
                return await idempotent.run(connection, user_id, BatchResults, work)

    async def _store(
        self, connection: AsyncConnection, user_id: UUID, reports: Sequence[dict[str, Any]]
    ) -> list[ReportResult]:
        results = [ReportResult(200) for _ in reports]
        news: list[tuple[NewProgress, ReportResult]] = []
        for report, result in zip(reports, results, strict=True):
            try:
                news.append((_checked(report, self._recorder), result))
            except AppError as error:
                _refuse(result, error)
        # As they were watched, and in one order for all batches, which then don't wait for each other's rows.
        now = datetime.now(UTC)
        news.sort(key=lambda each: (each[0].anime_id, each[0].watched_at or now))
        plays = []
        for new, result in news:
            try:
                result.progress, play = await self._recorder.record_uncounted(connection, user_id, new)
                plays.append(play)
            except NotFound as error:
                _refuse(result, error)
        await self._recorder.count_plays(connection, user_id, plays)
        return results


def _checked(report: dict[str, Any], recorder: WatchProgressRecorder) -> NewProgress:
    """Return a report. Raises InvalidRequest, BadRequest."""
    try:
        new = msgspec.convert(report, NewProgress)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest([{"field": path.strip(".`"), "message": message}]) from None
    recorder.check(new)
    return new


def _refuse(result: ReportResult, error: AppError) -> None:
    result.status, result.error = error.status, ErrorBody(error.code, error.message, error.details)
