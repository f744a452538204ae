"""The numbers on the start page of the admin site."""

import msgspec
from sqlalchemy import text

from kitsu.db.statements import StatementRunner
from kitsu.domain.pagination import MAX_TOTAL

TABLES = ("anime", "releases", "episodes", "users")
_SELECTS = [
    f"SELECT '{table}' AS name, "  # noqa: S608 - constants
    f"(SELECT count(*) FROM (SELECT FROM {table} LIMIT {MAX_TOTAL + 1}) AS counted) AS number, "
    f"(SELECT reltuples FROM pg_class WHERE oid = CAST('{table}' AS regclass)) AS estimate"
    for table in TABLES
]
_OPEN_REVIEWS = "SELECT 'open reviews', (SELECT count(*) FROM import_reviews WHERE state = 'open'), 0"
_FAILED_JOBS = "SELECT 'failed jobs', (SELECT count(*) FROM pgqueuer WHERE status = 'failed'), 0"
_COUNTS = text(" UNION ALL ".join([*_SELECTS, _OPEN_REVIEWS, _FAILED_JOBS]))


class Count(msgspec.Struct):
    """How many there are. Large tables are not counted: their number is PostgreSQL's estimate."""

    name: str
    number: int
    is_estimate: bool


class OverviewReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def counts(self) -> list[Count]:
        """Return the numbers of rows of TABLES, and what waits for a person."""
        counts = []
        for name, number, estimate in await self._runner.rows(_COUNTS):
            is_estimate = number > MAX_TOTAL
            counts.append(Count(name, max(round(estimate), MAX_TOTAL) if is_estimate else number, is_estimate))
        return counts
