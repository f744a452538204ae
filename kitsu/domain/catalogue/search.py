"""Search: which search texts are valid, and the anime that match."""

import msgspec

from kitsu.domain.catalogue.anime import AnimeListItem, AnimeReader
from kitsu.domain.catalogue.anime_query import AnimeQuery
from kitsu.domain.pagination import Page, PageRequest
from kitsu.errors import BadRequest

MIN_LENGTH = 2
MAX_LENGTH = 255
"""No title is longer."""


class SearchReader:
    """Finds anime by their titles."""

    def __init__(self, anime: AnimeReader) -> None:
        self._anime = anime

    async def anime(self, q: str | None, query: AnimeQuery, request: PageRequest) -> Page[AnimeListItem]:
        """Return the anime of which any title contains `q`. Raises BadRequest for a `q` of a wrong length."""
        return await self._anime.page(msgspec.structs.replace(query, q=_checked(q)), request)


def _checked(q: str | None) -> str:
    text = (q or "").strip()
    if len(text) < MIN_LENGTH:
        raise BadRequest(f"Search query must have at least {MIN_LENGTH} characters")
    if len(text) > MAX_LENGTH:
        raise BadRequest(f"Search query must have at most {MAX_LENGTH} characters")
    return text
