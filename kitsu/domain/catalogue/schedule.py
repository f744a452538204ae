"""The schedule: the episodes that air on a day."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import DateTime, bindparam, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from kitsu.db import models
from kitsu.db.statements import StatementReader
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows


class ScheduledAnime(msgspec.Struct, rename="camel"):
    """An episode that airs on the day: the first one of its anime."""

    id: Annotated[str, described("The anime.", "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b")]
    name: Annotated[str, described("The title of the anime.", "Death Note")]
    jname: Annotated[str, described("The original title, else the title.", "デスノート")]
    time: Annotated[str, described("`HH:MM` in the time zone.", "18:30")]
    airing_timestamp: Annotated[int, described("Unix time in milliseconds.", 1795687800000)]
    seconds_until_airing: Annotated[int, described("Below zero for one that has aired.", 5400)]
    episode: Annotated[int, described("The number of the episode.", 7)]


_anime, _release, _episode = models.Anime, models.Release, models.Episode
_start, _end = (bindparam(name, type_=DateTime(timezone=True)) for name in ("start", "end"))
_first = (
    select(_anime.id, _anime.title, _anime.title_original, _episode.airs_at, _episode.number)
    .join(_release, _release.anime_id == _anime.id)
    .join(_episode, _episode.release_id == _release.id)
    .where(_episode.airs_at >= _start, _episode.airs_at < _end)
    .ext(distinct_on(_anime.id))
    .order_by(_anime.id, _episode.airs_at, _episode.number)
    .subquery()
)
_DAY: Rows = select(_first).order_by(_first.c.airs_at, func.lower(_first.c.title), _first.c.id)


class ScheduleReader:
    def __init__(self, runner: StatementReader, zone: ZoneInfo) -> None:
        """`zone` is the time zone for requests that name none."""
        self._runner = runner
        self.zone = zone

    async def day(self, day: date, zone: ZoneInfo) -> list[ScheduledAnime]:
        """Return the first episode of each anime that airs on a day of a time zone, by time and title."""
        start = datetime.combine(day, time.min, zone)
        end = datetime.combine(day + timedelta(days=1), time.min, zone)
        now = datetime.now(UTC)
        rows = await self._runner.rows(_DAY, {"start": start.astimezone(UTC), "end": end.astimezone(UTC)})
        return [
            ScheduledAnime(
                id=str(row["id"]),
                name=row["title"],
                jname=row["title_original"] or row["title"],
                time=f"{row['airs_at'].astimezone(zone):%H:%M}",
                airing_timestamp=round(row["airs_at"].timestamp() * 1000),
                seconds_until_airing=round((row["airs_at"] - now).total_seconds()),
                episode=row["number"],
            )
            for row in rows
        ]
