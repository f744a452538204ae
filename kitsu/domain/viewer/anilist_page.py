"""The anime of a list of AniList that the front end's import page shows."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Text, any_, bindparam, select, text

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows

MAX_TITLES = 1_000
"""Titles of a list that are looked up, those of anime without a known id."""
_STATUSES = {
    **dict.fromkeys(("CURRENT", "REPEATING"), "watching"),
    "COMPLETED": "completed",
    "PLANNING": "plan to watch",
    "DROPPED": "dropped",
    "PAUSED": "on hold",
}


class ListedTitle(msgspec.Struct):
    """The titles of an anime at AniList."""

    english: Annotated[str | None, described("The English title.", "Death Note")] = None


class ListedMedia(msgspec.Struct, rename="camel"):
    """An anime at AniList."""

    id: Annotated[int | None, described("The id at AniList.", 1535)] = None
    id_mal: Annotated[int | None, described("The id at MyAnimeList.", 1535)] = None
    title: ListedTitle | None = None


class ListedEntry(msgspec.Struct):
    """An entry of a list."""

    media: ListedMedia | None = None


class AniListList(msgspec.Struct):
    """A list, as AniList returns it."""

    name: Annotated[str | None, described("Its name.", "Watching")] = None
    status: Annotated[str | None, described("AniList's word. Lists of the user's own have none.", "CURRENT")] = None
    entries: Annotated[list[ListedEntry | None] | None, described("Its entries.")] = None


class ImportedAnime(msgspec.Struct):
    """An anime of the catalogue that is in a list."""

    id: Annotated[UUID, described("The anime.")]
    title: Annotated[str, described("Its title.", "Death Note")]
    thumbnail: Annotated[str | None, described("URL of its picture.", "https://pictures.example.org/1535.jpg")]
    status: Annotated[str | None, described("The front end's word for the first status of its lists.", "plan to watch")]


_anime, _external = models.Anime, models.ExternalId
_BY_ID: Rows = (
    select(_external.external_id.label("key"), _anime.id, _anime.title, _anime.thumbnail)
    .join(_anime, _anime.id == _external.anime_id)
    .where(
        _external.provider == bindparam("provider"), _external.external_id == any_(bindparam("ids", type_=ARRAY(Text)))
    )
)
_BY_TITLE = text("""
SELECT wanted.title AS key, anime.id, anime.title, anime.thumbnail
FROM unnest(CAST(:titles AS text[])) AS wanted (title)
CROSS JOIN LATERAL (SELECT left(replace(kitsu_search_key(wanted.title), ' ', ''), 250) AS packed) AS folded
CROSS JOIN LATERAL (
    SELECT CAST(min(CAST(anime_id AS text)) AS uuid) AS id FROM anime_titles
    WHERE length(folded.packed) >= 3 AND anime_titles.packed = folded.packed
    HAVING count(DISTINCT anime_id) = 1
) AS single
JOIN anime ON anime.id = single.id
""")


class AniListPage:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def match(self, lists: list[AniListList]) -> list[ImportedAnime]:
        """Return the anime of the catalogue, each once, in the order of the lists: by MyAnimeList's id, AniList's, or
        a title that only one anime has.
        """
        listed = [
            (entry.media, lists_own.status)
            for lists_own in lists
            for entry in lists_own.entries or []
            if entry is not None and entry.media is not None
        ]
        media = [each for each, _ in listed]
        by_mal = await self._known("myanimelist", [each.id_mal for each in media])
        by_anilist = await self._known("anilist", [each.id for each in media])
        left = [each for each in media if str(each.id_mal) not in by_mal and str(each.id) not in by_anilist]
        titles = {each.title.english for each in left if each.title and each.title.english}
        rows = await self._runner.rows(_BY_TITLE, {"titles": sorted(titles)[:MAX_TITLES]}) if titles else []
        by_title = {row["key"]: row for row in rows}

        found: dict[UUID, ImportedAnime] = {}
        for each, status in listed:
            row = by_mal.get(str(each.id_mal)) or by_anilist.get(str(each.id))
            row = row or by_title.get((each.title and each.title.english) or "")
            if row is None:
                continue
            anime = found.setdefault(row["id"], ImportedAnime(row["id"], row["title"], row["thumbnail"], None))
            # A list of the user's own has no status; AniList lists its anime under their status, too.
            anime.status = anime.status or _STATUSES.get(status or "")
        return list(found.values())

    async def _known(self, provider: str, ids: list[int | None]) -> dict[str, Any]:
        wanted = sorted({str(each) for each in ids if each is not None})
        rows = await self._runner.rows(_BY_ID, {"provider": provider, "ids": wanted}) if wanted else []
        return {row["key"]: row for row in rows}
