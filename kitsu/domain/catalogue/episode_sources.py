"""Where an episode can be watched. The catalogue has no links, so that the lists are empty."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from sqlalchemy import Uuid, bindparam, func, select
from sqlalchemy.orm import aliased

from kitsu.db import models
from kitsu.db.statements import StatementReader
from kitsu.domain.catalogue.anime import EXTERNAL_IDS, current_id
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows
from kitsu.errors import NotFound


class Server(msgspec.Struct, rename="camel"):
    """A server that has the episode."""

    server_id: Annotated[int, described("The id for the sources.", 1)]
    server_name: Annotated[str, described("The name for viewers.", "official")]


class EpisodeServers(msgspec.Struct, rename="camel"):
    """The servers that have an episode, by kind."""

    episode_id: Annotated[str, described("The episode.", "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5d")]
    episode_no: Annotated[str, described("The number of the episode.", "7")]
    sub: Annotated[list[Server], described("With subtitles.")] = []
    dub: Annotated[list[Server], described("Dubbed.")] = []
    raw: Annotated[list[Server], described("As first shown.")] = []


class Track(msgspec.Struct):
    """A file of subtitles."""

    lang: Annotated[str, described("The language.", "English")]
    url: Annotated[str, described("The address of the file.", "https://example.org/7.vtt")]


class Source(msgspec.Struct):
    """A stream of the episode."""

    url: Annotated[str, described("The address of the stream.", "https://example.org/7.m3u8")]
    type: Annotated[str, described("`hls` or `iframe`.", "hls")]


class Span(msgspec.Struct):
    """A part of the episode. Both are 0 where it is not known."""

    start: Annotated[int, described("Where it begins, in seconds.", 0)] = 0
    end: Annotated[int, described("Where it ends, in seconds.", 0)] = 0


class SourceHeaders(msgspec.Struct, rename="pascal"):
    """The headers that a player sends to the source."""

    referer: Annotated[str, described("Empty for none.", "")] = ""


class EpisodeSources(msgspec.Struct, rename={"anilist_id": "anilistID", "mal_id": "malID"}):
    """The streams of an episode."""

    anilist_id: Annotated[int, described("The anime's id at AniList, 0 where it is not known.", 1535)]
    mal_id: Annotated[int, described("The anime's id at MyAnimeList, 0 where it is not known.", 1535)]
    headers: SourceHeaders = msgspec.field(default_factory=SourceHeaders)
    tracks: Annotated[list[Track], described("Subtitles.")] = []
    intro: Span = msgspec.field(default_factory=Span)
    outro: Span = msgspec.field(default_factory=Span)
    sources: Annotated[list[Source], described("The streams.")] = []


_anime, _release, _episode = models.Anime, models.Release, models.Episode
_wanted = bindparam("wanted", type_=Uuid)
_same, _any = aliased(_episode), aliased(_episode)
# Of an anime its last episode: the home page links to an anime as if it were an episode.
_last_of_anime = (
    select(_any.id)
    .join(_release, _release.id == _any.release_id)
    .where(_release.anime_id == current_id(_wanted))
    .order_by(_any.number.desc(), _release.created_at.desc(), _any.id)
    .limit(1)
    .correlate(None)
)
# Two subqueries, each with an index: a condition for either id would read all episodes.
_found = func.coalesce(select(_same.id).where(_same.id == _wanted).scalar_subquery(), _last_of_anime.scalar_subquery())
_FIND: Rows = (
    select(_episode.id, _episode.number, EXTERNAL_IDS.label("external_ids"))
    .join(_release, _release.id == _episode.release_id)
    .join(_anime, _anime.id == _release.anime_id)
    .where(_episode.id == _found)
)


class EpisodeSourceReader:
    def __init__(self, runner: StatementReader) -> None:
        self._runner = runner

    async def servers(self, wanted: UUID) -> EpisodeServers:
        """Return the servers of an episode, or of the last one of an anime. Raises NotFound."""
        row = await self._find(wanted)
        return EpisodeServers(str(row["id"]), str(row["number"]))

    async def sources(self, wanted: UUID) -> EpisodeSources:
        """Return the streams of such an episode. Raises NotFound."""
        ids = (await self._find(wanted))["external_ids"]
        return EpisodeSources(_number(ids.get("anilist")), _number(ids.get("myanimelist")))

    async def _find(self, wanted: UUID) -> dict[str, Any]:
        row = await self._runner.row(_FIND, {"wanted": wanted})
        if row is None:
            raise NotFound("Episode not found")
        return dict(row)


def _number(external_id: str | None) -> int:
    """Return the id as a number; 0 for one that is missing or, since editors may enter any text, no number."""
    return int(external_id) if external_id and external_id.isascii() and external_id.isdecimal() else 0
