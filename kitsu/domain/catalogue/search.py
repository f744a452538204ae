"""Search by title. The database's function `kitsu_search` finds the titles; the statements here rank the anime."""

import re
from functools import lru_cache
from typing import Annotated, Any
from unicodedata import normalize
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Double, Integer, Text, Uuid, bindparam, case, cast, column, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from kitsu.db import models
from kitsu.db.statements import StatementReader
from kitsu.domain.catalogue.anime import (
    LIST_COLUMNS,
    AnimeListItem,
    AnimeQuery,
    AnimeReader,
    AnimeType,
    Sort,
    Year,
    order_of,
)
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.pagination import Key, Listing, Page, ascending, descending
from kitsu.errors import BadRequest, InvalidRequest

MIN_LENGTH = 2
MAX_LENGTH = 200
"""Characters."""
MAX_SUGGESTIONS = 10
MAX_MEMBERS = 1000
"""Favourites, or library entries, of an anime that are counted; more would take too long."""
MAX_COUNTED = 200
"""Anime, the best matches, whose members are counted."""
_MARKS = '"\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02 '
"""Quotation marks, which visitors type around a title."""
_KANA_OR_KANJI = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_FILTERS: dict[str, Any] = {"type": Text, "status": Text, "year": Integer, "season": Text, "genres": ARRAY(Text)}


class AnimeSuggestion(msgspec.Struct):
    """An anime for the list below a search box."""

    id: UUID
    title: Annotated[str, described("The main title.", "Shingeki no Kyojin")]
    matched: Annotated[str, described("The title that matches best.", "Attack on Titan")]
    year: Year | None
    type: AnimeType
    poster: Annotated[str | None, described("URL of the poster.", "https://pictures.example.org/anime/16498.jpg")]


_anime, _external = models.Anime, models.ExternalId
_parameters: list[Any] = [bindparam(name, type_=kind) for name, kind in {"q": Text, **_FILTERS}.items()]
_matches = func.kitsu_search(*_parameters).table_valued(
    column("anime_id", Uuid), column("matched", Text), column("tier", Integer), column("score", Double)
)
_SAME_TITLE, _SCATTERED_WORDS = 1, 3
"""Tiers of `kitsu_search`: up to the first the title is the same, from the second on it has the words anywhere."""


def _without_scattered() -> Any:
    """Return the matches. If an anime has the very title, of three or more words, others have them side by side."""
    best = func.min(_matches.c.tier).over().label("best")
    rows = select(*_matches.c, best).subquery()
    key = func.kitsu_search_key(_parameters[0])
    are_few = func.cardinality(func.string_to_array(key, " ")) < 3
    are_together = func.strpos(func.kitsu_search_key(rows.c.matched), key) > 0
    wanted = or_(rows.c.tier < _SCATTERED_WORDS, rows.c.best > _SAME_TITLE, are_few, are_together)
    return select(rows.c.anime_id, rows.c.matched, rows.c.tier, rows.c.score).where(wanted).subquery()


_found = _without_scattered()


def _count(model: Any, limit: int | None = None) -> ColumnElement[int]:
    """Return the number of rows that refer to the anime, which are counted up to a limit."""
    rows = select(model.anime_id).where(model.anime_id == _found.c.anime_id).limit(limit).correlate(_found).subquery()
    return select(func.count()).select_from(rows).correlate(_found).scalar_subquery()


_place = func.row_number().over(order_by=(_found.c.tier, _found.c.score.desc()))
_members = _count(models.Favorite, MAX_MEMBERS) + _count(models.LibraryEntry, MAX_MEMBERS)
# Of equal matches the better known is first: by members, then score, then external ids. Ten times the members count as
# much as a ninth of the title.
_relevance = (
    _found.c.score
    + 0.05 * case((_place <= MAX_COUNTED, func.ln(cast(1 + _members, Double))), else_=0.0)
    + 0.001 * func.coalesce(_anime.score, 0.0)
    + 0.00001 * _count(_external)
)


def _ranked(*columns: Any) -> Rows:
    """Return a statement of the anime that match, with tier and relevance, which need a subquery to be compared."""
    rows = select(*columns, _found.c.tier, _relevance.label("relevance"))
    return select(rows.join(_found, _found.c.anime_id == _anime.id).subquery())


def _best_first(rows: Rows) -> tuple[Key, ...]:
    columns = rows.selected_columns
    return ascending(columns.tier), descending(columns.relevance), descending(columns.id)


_suggested = _ranked(*columns_of(AnimeSuggestion, _anime, matched=_found.c.matched))
_SUGGESTIONS: Rows = _suggested.order_by(*(key.order for key in _best_first(_suggested))).limit(MAX_SUGGESTIONS)
_suggestion_of = mapper(AnimeSuggestion, _SUGGESTIONS)


@lru_cache
def listing_of(sort: Sort | None) -> Listing[AnimeListItem]:
    """Return the list of the anime that match, in this order or the best match first."""
    counted = select(_found.c.anime_id)
    if sort is None:
        rows = _ranked(*LIST_COLUMNS)
        return Listing(AnimeListItem, rows, *_best_first(rows), counted=counted)
    rows = select(*LIST_COLUMNS).join(_found, _found.c.anime_id == _anime.id)
    return Listing(AnimeListItem, rows, *order_of(sort), counted=counted)


class SearchReader:
    def __init__(self, runner: StatementReader, anime: AnimeReader) -> None:
        self._runner = runner
        self._anime = anime

    async def page(self, q: str | None, query: AnimeQuery) -> Page[AnimeListItem]:
        """Return the anime with a title that matches `q`; all, best first, for quotation marks around nothing.

        Raises BadRequest for a short `q`, and InvalidRequest.
        """
        if q is not None and (marked := q.strip()) and not marked.strip(_MARKS):
            return await self._anime.page(msgspec.structs.replace(query, sort=query.sort or "-score"))
        filters = {name: value for name, value in query.filters().items() if name in _FILTERS}
        return await listing_of(query.sort).page(self._runner, {"q": _checked(q), **filters}, query.page)

    async def suggestions(self, q: str | None) -> list[AnimeSuggestion]:
        """Return the best matches. Raises BadRequest for one letter, unless it is kana or kanji, and InvalidRequest."""
        shortest = 1 if _KANA_OR_KANJI.search(normalize("NFKC", q or "")) else MIN_LENGTH
        parameters = dict.fromkeys(_FILTERS) | {"q": _checked(q, shortest)}
        return [_suggestion_of(row) for row in await self._runner.rows(_SUGGESTIONS, parameters)]


def _checked(q: str | None, shortest: int = MIN_LENGTH) -> str:
    text = (q or "").strip().strip(_MARKS)
    if "\ufffd" in text:  # Litestar's replacement for bytes that are not UTF-8, such as those of a lone surrogate
        raise InvalidRequest([{"field": "q", "message": "Expected UTF-8"}])
    if len(text) < shortest:
        raise BadRequest(f"Search query must have at least {shortest} characters")
    return text
