"""Which anime a list or a search asks for, in which order, as statements that are built once and kept."""

from functools import lru_cache
from typing import Any, Literal

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Select, Text, bindparam, case, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from kitsu.db import models

AnimeType = Literal["TV", "MOVIE", "OVA", "ONA", "SPECIAL", "UNKNOWN"]
Season = Literal["WINTER", "SPRING", "SUMMER", "FALL"]
Sort = Literal["created_at", "-created_at", "title", "-title", "year", "-year", "score", "-score"]


class AnimeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filters, of which an anime has to pass all, and the order."""

    q: str | None = None
    """Part of any title, case and accents aside."""
    type: AnimeType | None = None
    status: str | None = None
    """Case aside."""
    year: int | None = None
    season: Season | None = None
    genres: tuple[str, ...] = ()
    """In lower case; the anime has all of them."""
    sort: Sort | None = None
    """None: the best match first with `q`, else newest first."""

    def parameters(self) -> dict[str, Any]:
        """The filters that are set, by name."""
        names = ("q", "type", "status", "year", "season")
        parameters = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.genres:
            parameters["genres"] = list(self.genres)
        return parameters


_anime = models.Anime

# The database folds what is searched for as it folded the titles, and only then are wildcards taken for letters:
# folding turns some letters, such as a full-width percent sign, into one.
_wanted: ColumnElement[str] = func.kitsu_fold(bindparam("q", type_=Text), type_=Text)
_letters = _wanted
for _wildcard in ("\\", "%", "_"):
    _letters = func.replace(_letters, _wildcard, "\\" + _wildcard, type_=Text)

_FILTERS: dict[str, ColumnElement[bool]] = {
    "q": _anime.search_text.like("%" + _letters + "%"),
    "type": _anime.type == bindparam("type"),
    "status": func.lower(_anime.status) == func.lower(bindparam("status", type_=Text)),
    "year": _anime.year == bindparam("year"),
    "season": _anime.season == bindparam("season"),
    "genres": _anime.genres.contains(bindparam("genres", type_=ARRAY(Text))),
}

_NEWEST = (_anime.created_at.desc(), _anime.id.desc())
_ORDERS: dict[Sort, tuple[ColumnElement[Any], ...]] = {
    "created_at": (_anime.created_at.asc(), _anime.id.asc()),
    "-created_at": _NEWEST,
    "title": (_anime.title_key.asc(), _anime.id.asc()),
    "-title": (_anime.title_key.desc(), _anime.id.desc()),
    # An unknown year or score stands last both ways.
    "year": (_anime.year.asc(), _anime.id.asc()),
    "-year": (_anime.year.desc().nulls_last(), _anime.id.desc()),
    "score": (_anime.score.asc(), _anime.id.asc()),
    "-score": (_anime.score.desc().nulls_last(), _anime.id.desc()),
}
# The title itself, then titles that begin so, then those that hold it, last the ones that are known so elsewhere.
_BEST_MATCH = (
    case(
        (_anime.title_key == _wanted, 0),
        (func.starts_with(_anime.title_key, _wanted), 1),
        (func.strpos(_anime.title_key, _wanted) > 0, 2),
        else_=3,
    ),
    *_NEWEST,
)


@lru_cache(maxsize=1024)
def page_statement(columns: tuple[str, ...], filters: frozenset[str], sort: Sort | None) -> Select[Any]:
    """A page of anime: these columns, with the filters' values, `limit` and `offset` as parameters."""
    unsorted = _BEST_MATCH if "q" in filters else _NEWEST
    return (
        select(*(getattr(_anime, name) for name in columns))
        .where(*_where(filters))
        .order_by(*(_ORDERS[sort] if sort else unsorted))
        .limit(bindparam("limit", type_=BigInteger))
        .offset(bindparam("offset", type_=BigInteger))
    )


@lru_cache(maxsize=64)
def count_statement(filters: frozenset[str]) -> Select[Any]:
    """How many anime pass the filters, whose values are its parameters."""
    return select(func.count()).select_from(_anime).where(*_where(filters))


def _where(filters: frozenset[str]) -> list[ColumnElement[bool]]:
    return [_FILTERS[name] for name in sorted(filters)]
