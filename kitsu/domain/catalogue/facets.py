"""Facets: the genres, studios and seasons that anime have, with their counts, for filter menus."""

from typing import Annotated, Any

import msgspec
from sqlalchemy import func, select

from kitsu.db import models
from kitsu.db.statements import StatementReader
from kitsu.domain.catalogue.anime import Season, Year
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, mapper

Count = Annotated[int, described("The number of anime.", 42)]


class NameCount(msgspec.Struct):
    """A genre or a studio, and the number of its anime."""

    name: Annotated[str, described("The name, in lower case.", "mystery")]
    count: Count


class SeasonCount(msgspec.Struct):
    """A season of a year, and the number of its anime."""

    year: Year
    season: Season
    count: Count


_anime = models.Anime
_count = func.count().label("count")


def _names(names: Any) -> Rows:
    rows = select(_anime.id, func.unnest(names).label("name")).distinct().subquery()
    return select(rows.c.name, _count).group_by(rows.c.name).order_by(_count.desc(), rows.c.name)


_GENRES, _STUDIOS = _names(_anime.genre_keys), _names(func.kitsu_lower(_anime.studios))
_in_year = func.array_position(["WINTER", "SPRING", "SUMMER", "FALL"], _anime.season)
_SEASONS: Rows = (
    select(_anime.year, _anime.season, _count)
    .where(_anime.year.is_not(None), _anime.season.is_not(None))
    .group_by(_anime.year, _anime.season)
    .order_by(_anime.year.desc(), _in_year.desc())
)
_name_of, _season_of = mapper(NameCount, _GENRES), mapper(SeasonCount, _SEASONS)


class FacetReader:
    def __init__(self, runner: StatementReader) -> None:
        self._runner = runner

    async def genres(self) -> list[NameCount]:
        """Return all genres, the most frequent first."""
        return [_name_of(row) for row in await self._runner.rows(_GENRES)]

    async def studios(self) -> list[NameCount]:
        """Return all studios, the most frequent first."""
        return [_name_of(row) for row in await self._runner.rows(_STUDIOS)]

    async def seasons(self) -> list[SeasonCount]:
        """Return all seasons, the newest first."""
        return [_season_of(row) for row in await self._runner.rows(_SEASONS)]
