"""Search: what a search text has to be like, and how often one may search."""

import msgspec

from kitsu.domain.accounts.sessions import Device
from kitsu.domain.catalogue.anime import AnimeListItem, AnimeReader
from kitsu.domain.catalogue.anime_query import AnimeQuery
from kitsu.domain.pagination import Page, PageRequest
from kitsu.domain.rate_limits import Policy, RateLimiter, network_of
from kitsu.errors import BadRequest

MIN_LENGTH = 2
MAX_LENGTH = 255
"""No title is longer."""


class SearchReader:
    """Finds anime by their titles."""

    def __init__(self, anime: AnimeReader, limiter: RateLimiter, policy: Policy) -> None:
        self._anime = anime
        self._limiter = limiter
        self._policy = policy

    async def anime(
        self, q: str | None, query: AnimeQuery, request: PageRequest, device: Device
    ) -> Page[AnimeListItem]:
        """The anime of which any title holds `q`. Raises BadRequest for a `q` of a wrong length, RateLimited."""
        text = _checked(q)
        await self._limiter.hit(self._policy, network_of(device.ip))
        return await self._anime.page(msgspec.structs.replace(query, q=text), request)


def _checked(q: str | None) -> str:
    text = (q or "").strip()
    if len(text) < MIN_LENGTH:
        raise BadRequest(f"Search query must have at least {MIN_LENGTH} characters")
    if len(text) > MAX_LENGTH:
        raise BadRequest(f"Search query must have at most {MAX_LENGTH} characters")
    return text
