"""Statistics of what a viewer watched: totals, and sums by year, genre, studio and month."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Annotated, Any
from uuid import UUID

import msgspec
from sqlalchemy import text

from kitsu.db.statements import StatementReader
from kitsu.domain.fields import described

MAX_NAMES = 50  # genres, and studios
MAX_MONTHS = 36

Episodes = Annotated[int, described("The watched episodes, counted each time that they were watched.", 412)]
Minutes = Annotated[int, described("The minutes of these episodes, without anime of unknown duration.", 9476)]
MeanScore = Annotated[float | None, described("The mean of the viewer's scores with one decimal, or null.", 7.4)]


class StatusCounts(msgspec.Struct):
    """The number of library entries of each status."""

    watching: Annotated[int, described("The number of anime that are being watched.", 4)] = 0
    completed: Annotated[int, described("The number of completed anime.", 61)] = 0
    on_hold: Annotated[int, described("The number of paused anime.", 2)] = 0
    dropped: Annotated[int, described("The number of dropped anime.", 5)] = 0
    plan_to_watch: Annotated[int, described("The number of planned anime.", 23)] = 0


class Totals(msgspec.Struct):
    """What a viewer watched in all. An anime that is not in the library counts with its plays."""

    statuses: StatusCounts
    episodes: Episodes
    minutes: Minutes
    mean_score: MeanScore
    scored: Annotated[int, described("The number of library entries with a score.", 58)]
    times_rewatched: Annotated[int, described("The number of complete repetitions.", 9)]


class GroupStatistics(msgspec.Struct):
    """The anime of the library that have a year, a genre or a studio in common."""

    name: Annotated[str, described("The year, or the name in lower case.", "mystery")]
    anime: Annotated[int, described("The number of library entries.", 17)]
    episodes: Episodes
    minutes: Minutes
    mean_score: MeanScore


class MonthStatistics(msgspec.Struct):
    """What was watched in a month."""

    month: Annotated[str, described("The month in the viewer's time zone.", "2026-11")]
    episodes: Episodes
    minutes: Minutes


_MOST = f"at most the {MAX_NAMES} with the most anime. Rarer ones are left out."


class Statistics(Totals):
    """What a viewer watched, in all and by year, genre, studio and month."""

    years: Annotated[list[GroupStatistics], described("By the year in which the anime was first shown, newest first.")]
    genres: Annotated[list[GroupStatistics], described(f"By genre: {_MOST}")]
    studios: Annotated[list[GroupStatistics], described(f"By studio: {_MOST}")]
    months: Annotated[
        list[MonthStatistics], described(f"The last {MAX_MONTHS} months with plays, newest first, from the history.")
    ]


# With an array, the anime are looked up by their ids: for a join, PostgreSQL would read the whole table. One of unknown
# length has at least the episodes that are watched now.
_WATCHED = """
    WITH own_plays AS (
        SELECT anime_id, watched_at FROM plays WHERE user_id = :user_id
    ), played AS (
        SELECT anime_id, count(*) AS plays FROM own_plays GROUP BY anime_id
    ), entries AS (
        SELECT * FROM library_entries WHERE user_id = :user_id
    ), watched AS (
        SELECT a.id, a.year, a.genre_keys, a.studios, CAST(a.duration_seconds AS double precision) AS seconds,
            e.status, e.score, e.times_rewatched, greatest(p.plays, e.episodes_watched
                + CAST(e.times_rewatched AS bigint) * coalesce(a.episode_count, e.episodes_watched)) AS episodes
        FROM entries e FULL JOIN played p ON p.anime_id = e.anime_id LEFT JOIN (
            SELECT * FROM anime WHERE id = ANY (ARRAY(SELECT anime_id FROM entries UNION SELECT anime_id FROM played))
        ) a ON a.id = coalesce(e.anime_id, p.anime_id)
    )
"""


def _sums(kind: str, name: str, rows: str, groups: str) -> str:
    """Return the sums over groups of the viewer's anime."""
    # Seconds are floating-point numbers: viewers may store any number of episodes, and editors any duration.
    return f"""(
        SELECT '{kind}' AS kind, {name} AS name, count(*) AS anime, coalesce(sum(episodes), 0) AS episodes,
            round(CAST(coalesce(sum(episodes * seconds), 0) AS numeric) / 60) AS minutes,
            round(CAST(avg(score) AS numeric), 1) AS mean_score, count(score) AS scored,
            coalesce(sum(times_rewatched), 0) AS times_rewatched
        FROM {rows} GROUP BY {groups}
    )"""  # noqa: S608 - constants


def _names(kind: str, names: str) -> str:
    rows = f"watched, LATERAL (SELECT DISTINCT unnest({names})) AS names (name) WHERE status IS NOT NULL"
    return _sums(kind, "name", rows, f"name ORDER BY anime DESC, name LIMIT {MAX_NAMES}")


# Comparing each play with the beginnings of the months takes a quarter of the time of converting it to the time zone. A
# beginning is computed from the end before it, since clocks may repeat or skip the first hour.
_MONTHS = f"""(
    WITH months AS (
        SELECT array_agg(to_char(start, 'YYYY-MM') ORDER BY start) AS names, array_agg(
                timezone(u.timezone, start - interval '1 microsecond') + interval '1 microsecond' ORDER BY start
            ) AS starts
        FROM users u, LATERAL (
            SELECT timezone(u.timezone, min(watched_at)) AS first, timezone(u.timezone, max(watched_at)) AS last
            FROM own_plays
        ) p, generate_series(date_trunc('month', p.first), p.last, interval '1 month') start
        WHERE u.id = :user_id
    ), counted AS (
        SELECT width_bucket(watched_at, (SELECT starts FROM months)) AS number, count(*) AS episodes,
            coalesce(sum(seconds), 0) AS seconds
        FROM own_plays JOIN watched ON watched.id = own_plays.anime_id
        GROUP BY number ORDER BY number DESC LIMIT {MAX_MONTHS}
    )
    SELECT 'months', names[number], 0, episodes, round(CAST(seconds AS numeric) / 60), NULL, 0, 0 FROM counted, months
)"""  # noqa: S608 - a constant
_TOTALS = (
    _sums("total", "NULL", "watched", "()"),
    _sums("statuses", "status", "watched WHERE status IS NOT NULL", "status"),
)
_GROUPS = (
    _sums("years", "CAST(year AS text)", "watched WHERE status IS NOT NULL AND year IS NOT NULL", "year"),
    _names("genres", "genre_keys"),
    _names("studios", "kitsu_lower(studios)"),
)
TOTALS = text(_WATCHED + " UNION ALL ".join(_TOTALS))
STATISTICS = text(_WATCHED + " UNION ALL ".join((*_TOTALS, *_GROUPS, _MONTHS)))


class StatisticsReader:
    def __init__(self, runner: StatementReader) -> None:
        self._runner = runner

    async def totals(self, user_id: UUID) -> Totals:
        """Return what a viewer watched in all."""
        return Totals(**_totals(_by_kind(await self._runner.rows(TOTALS, {"user_id": user_id}))))

    async def read(self, user_id: UUID) -> Statistics:
        """Return all statistics of a viewer."""
        rows = _by_kind(await self._runner.rows(STATISTICS, {"user_id": user_id}))
        years, months = [sorted(rows[kind], key=itemgetter("name"), reverse=True) for kind in ("years", "months")]
        genres, studios = [
            sorted(rows[kind], key=lambda row: (-row["anime"], row["name"])) for kind in ("genres", "studios")
        ]
        return Statistics(
            **_totals(rows),
            years=[_group(row) for row in years],
            genres=[_group(row) for row in genres],
            studios=[_group(row) for row in studios],
            months=[MonthStatistics(row["name"], int(row["episodes"]), int(row["minutes"])) for row in months],
        )


def _by_kind(rows: Iterable[Any]) -> Mapping[str, list[Any]]:
    """Return the rows by their kind, such as `years`."""
    kinds: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        kinds[row["kind"]].append(row)
    return kinds


def _totals(rows: Mapping[str, list[Any]]) -> Mapping[str, Any]:
    """Return the fields of Totals."""
    (total,) = rows["total"]
    return {
        "statuses": StatusCounts(**{row["name"]: row["anime"] for row in rows["statuses"]}),
        "scored": total["scored"],
        "times_rewatched": total["times_rewatched"],
        **_common(total),
    }


def _common(row: Any) -> Mapping[str, Any]:
    """Return the fields that all sums over anime have."""
    mean = row["mean_score"]
    mean_score = None if mean is None else float(mean)
    return {"episodes": int(row["episodes"]), "minutes": int(row["minutes"]), "mean_score": mean_score}


def _group(row: Any) -> GroupStatistics:
    return GroupStatistics(name=row["name"], anime=row["anime"], **_common(row))
