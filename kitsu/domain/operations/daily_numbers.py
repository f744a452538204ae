"""Numbers by day: what viewers did, registrations, and searches without a result."""

from datetime import date

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.statements import StatementRunner

DAYS = 30

# Of days that have ended, and once: a row of a viewer has only the last time. The tables have no index by time, which
# would cost each write of a player.
_STORE = text(f"""
    WITH missing AS (
        SELECT greatest(max(day) + 1, current_date - {DAYS}) AS since FROM daily_numbers
    ), activity AS (
        SELECT last_viewed_at::date AS day, user_id, 1 AS episodes FROM views, missing
        WHERE last_viewed_at >= since AND last_viewed_at < current_date
        UNION ALL
        SELECT last_watched_at::date, user_id, 0 FROM watch_progress, missing
        WHERE last_watched_at >= since AND last_watched_at < current_date
    ), counted AS (
        SELECT day, count(DISTINCT user_id) AS viewers, sum(episodes) AS episodes FROM activity GROUP BY day
    )
    INSERT INTO daily_numbers (day, active_viewers, watched_episodes)
    SELECT each::date, coalesce(viewers, 0), coalesce(episodes, 0)
    FROM missing, generate_series(since, current_date - 1, interval '1 day') AS each
    LEFT JOIN counted ON day = each::date
    ON CONFLICT (day) DO NOTHING
""")  # noqa: S608 - a constant
_NUMBERS = text(f"""
    SELECT each::date AS day, active_viewers, watched_episodes,
        (SELECT count(*) FROM users WHERE created_at >= each AND created_at < each + interval '1 day') AS registrations,
        (SELECT coalesce(sum(count), 0)::int FROM missed_searches m WHERE m.day = each::date) AS missed_searches
    FROM generate_series(current_date - {DAYS - 1}, current_date, interval '1 day') AS each
    LEFT JOIN daily_numbers d ON d.day = each::date
    ORDER BY each
""")  # noqa: S608 - a constant
_MISSED = text(f"""
    SELECT query, sum(count)::int AS count FROM missed_searches WHERE day > current_date - {DAYS}
    GROUP BY query ORDER BY sum(count) DESC, query LIMIT 10
""")  # noqa: S608 - a constant


class Day(msgspec.Struct):
    """The numbers of a day. What viewers did is known after its end."""

    day: date
    registrations: int
    missed_searches: int
    active_viewers: int | None
    watched_episodes: int | None


class DailyNumbersReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def days(self) -> list[Day]:
        """Return the last DAYS days, the oldest first."""
        return [Day(**dict(row)) for row in await self._runner.rows(_NUMBERS)]

    async def missed(self) -> list[tuple[str, int]]:
        """Return the most frequent texts of searches without a result in the last DAYS days."""
        return [(row["query"], row["count"]) for row in await self._runner.rows(_MISSED)]


async def store_daily_numbers(engine: AsyncEngine) -> None:
    """Store what viewers did on the days that have ended since the last call, up to DAYS days ago."""
    async with engine.begin() as connection:
        await connection.execute(_STORE)
