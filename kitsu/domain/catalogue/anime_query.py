"""Which anime a list or a search asks for, in which order, as statements that are built once and kept."""

from functools import lru_cache
from typing import Any, Literal, TypeVar
from unicodedata import normalize

import msgspec
from sqlalchemy import ColumnElement, Text, and_, bindparam, case, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from kitsu.db import models
from kitsu.domain.mapping import columns_of
from kitsu.domain.pagination import Key, Listing, ascending, descending

T = TypeVar("T", bound=msgspec.Struct)

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
        names = ("type", "status", "year", "season")
        parameters = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.q is not None:
            parameters["q" if len(normalize("NFKC", self.q)) >= TRIGRAM else "short_q"] = self.q
        if self.genres:
            parameters["genres"] = list(self.genres)
        return parameters


TRIGRAM = 3
"""From so many letters on the search's index helps; for fewer it would be read whole, longer than the table itself."""

_anime = models.Anime


def _wanted(name: str) -> ColumnElement[str]:
    """The text searched for, folded as the database folded the titles; as a subquery that happens once, not per row."""
    return select(func.kitsu_fold(bindparam(name, type_=Text), type_=Text)).scalar_subquery()


def _pattern(name: str) -> ColumnElement[str]:
    """The text searched for anywhere. Wildcards are made letters after folding, which turns some letters into one."""
    letters: ColumnElement[str] = func.kitsu_fold(bindparam(name, type_=Text), type_=Text)
    for wildcard in ("\\", "%", "_"):
        letters = func.replace(letters, wildcard, "\\" + wildcard, type_=Text)
    return select("%" + letters + "%").scalar_subquery()


_FILTERS: dict[str, ColumnElement[bool]] = {
    # Accents alone fold to nothing, which would be a part of every title.
    "q": and_(_wanted("q") != "", _anime.search_text.like(_pattern("q"))),
    "short_q": and_(_wanted("short_q") != "", (_anime.search_text + "").like(_pattern("short_q"))),
    "type": _anime.type == bindparam("type"),
    "status": func.lower(_anime.status) == func.lower(bindparam("status", type_=Text)),
    "year": _anime.year == bindparam("year"),
    "season": _anime.season == bindparam("season"),
    "genres": _anime.genre_keys.contains(bindparam("genres", type_=ARRAY(Text))),
}

_NEWEST = (descending(_anime.created_at), descending(_anime.id))
_ORDERS: dict[Sort, tuple[Key, ...]] = {
    "created_at": (ascending(_anime.created_at), ascending(_anime.id)),
    "-created_at": _NEWEST,
    "title": (ascending(_anime.title_key), ascending(_anime.id)),
    "-title": (descending(_anime.title_key), descending(_anime.id)),
    "year": (ascending(_anime.year, unknown_last=True), ascending(_anime.id)),
    "-year": (descending(_anime.year, unknown_last=True), descending(_anime.id)),
    "score": (ascending(_anime.score, unknown_last=True), ascending(_anime.id)),
    "-score": (descending(_anime.score, unknown_last=True), descending(_anime.id)),
}


def _best_match(name: str) -> tuple[Key, ...]:
    """The title itself, then those that begin so, those that hold it, and last the ones that are known so elsewhere."""
    wanted = _wanted(name)
    rank = case(
        (_anime.title_key == wanted, 0),
        (func.starts_with(_anime.title_key, wanted), 1),
        (func.strpos(_anime.title_key, wanted) > 0, 2),
        else_=3,
    )
    return (ascending(rank), *_NEWEST)


@lru_cache(maxsize=1024)
def listing_of(kind: type[T], filters: frozenset[str], sort: Sort | None) -> Listing[T]:
    """Return the list of anime that pass these filters, whose values are its parameters, as Structs of this kind."""
    search = filters & {"q", "short_q"}
    unsorted = _best_match(next(iter(search))) if search else _NEWEST
    where = [_FILTERS[name] for name in sorted(filters)]
    rows = select(*columns_of(kind, _anime)).where(*where)
    return Listing(kind, rows, *(_ORDERS[sort] if sort else unsorted), counted=select(_anime.id).where(*where))
