"""The paths under /api, which the front end calls beside the API. They ignore a bad token: it would sign users out."""

from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from litestar import Controller, Response, get, post
from litestar.params import JSONBody, PathParameter, QueryParameter

from kitsu.domain.catalogue.episode_sources import EpisodeServers, EpisodeSourceReader, EpisodeSources
from kitsu.domain.catalogue.schedule import ScheduledAnime, ScheduleReader
from kitsu.domain.fields import described
from kitsu.domain.timezones import timezones
from kitsu.domain.versions import content_tag
from kitsu.domain.viewer.anilist_page import AniListList, AniListPage, ImportedAnime
from kitsu.domain.viewer.list_import.entries import ListFileError, ListTooLarge
from kitsu.domain.viewer.list_import.importing import ListImporter
from kitsu.domain.viewer.list_import.storage import Upload
from kitsu.errors import BadRequest, InvalidRequest, NotFound, PayloadTooLarge, Unauthorized
from kitsu.web.authentication import LENIENT, PUBLIC
from kitsu.web.middleware.response_cache import CACHED, has_tag
from kitsu.web.openapi import CATALOGUE_HEADERS, NOT_MODIFIED, documented_header, errors, parameter, query
from kitsu.web.request import GuestRequest

MAX_LIST_BYTES = 5 << 20
SCHEDULE_CACHE = "public, max-age=60"
EARLIEST = date(2, 1, 1)  # a day of the year 1 may begin before the calendar in another time zone
_SCHEDULE_HEADERS = (
    documented_header("ETag", "Send it as `If-None-Match` to get a 304 while the episodes are the same."),
    documented_header("Cache-Control", f"`{SCHEDULE_CACHE}`."),
)
_DATE = "The day after the wanted one, `M/D/YYYY` or `YYYY-MM-DD`: the front end asks so. By default tomorrow."
_EPISODE = "An episode, or an anime for its last episode."
EpisodeId = Annotated[
    UUID, parameter(QueryParameter, _EPISODE, "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5d", name="animeEpisodeId")
]


class Schedule(msgspec.Struct, rename="camel"):
    """What airs on a day."""

    scheduled_animes: Annotated[list[ScheduledAnime], described("By time, then by title.")]


class ScheduleAnswer(msgspec.Struct):
    """A day of the schedule."""

    data: Schedule


class ServersAnswer(msgspec.Struct):
    """The servers of an episode."""

    data: EpisodeServers


class SourcesAnswer(msgspec.Struct):
    """The sources of an episode."""

    data: EpisodeSources


class AniListImport(msgspec.Struct):
    """The lists of an AniList account."""

    animes: Annotated[list[AniListList], described("`MediaListCollection.lists`.")]


class AniListAnswer(msgspec.Struct):
    """The anime of the lists that are in the catalogue."""

    animes: Annotated[list[ImportedAnime] | None, described("Null if nothing was found.")]


class GatewayController(Controller):
    path = "/api"
    tags = ["Front end"]
    schedule: ScheduleReader
    episodes: EpisodeSourceReader
    page: AniListPage
    importer: ListImporter

    @get("/schedule", opt=PUBLIC, response_headers=_SCHEDULE_HEADERS, responses=NOT_MODIFIED)
    async def get_schedule(
        self,
        request: GuestRequest,
        date: Annotated[str | None, query(_DATE, "11/27/2026", max_length=10)] = None,
        tz: Annotated[str | None, query("An IANA time zone, in place of the service's.", "Asia/Tokyo")] = None,
    ) -> Response[ScheduleAnswer]:
        """Get the schedule. The episodes that air on a day, at most one of each anime."""
        zone = self.schedule.zone if tz is None else _zone(tz)
        animes = await self.schedule.day(_day(date, zone), zone)
        steady = [msgspec.structs.replace(each, seconds_until_airing=0) for each in animes]
        tag = f'"{content_tag(msgspec.json.encode(steady))}"'
        headers = {"ETag": tag, "Cache-Control": SCHEDULE_CACHE}
        if has_tag(request.scope, tag.encode()):
            return Response(None, status_code=304, headers=headers)  # type: ignore[arg-type] # it has no body
        return Response(ScheduleAnswer(Schedule(animes)), headers=headers)

    @get(
        "/episode/servers",
        opt=PUBLIC | CACHED,
        response_headers=CATALOGUE_HEADERS,
        responses=NOT_MODIFIED | errors(NotFound),
    )
    async def get_episode_servers(self, anime_episode_id: EpisodeId) -> ServersAnswer:
        """Get the servers of an episode. The lists are empty: the catalogue has no links to episodes."""
        return ServersAnswer(await self.episodes.servers(anime_episode_id))

    @get(
        "/episode/sources",
        opt=PUBLIC | CACHED,
        response_headers=CATALOGUE_HEADERS,
        responses=NOT_MODIFIED | errors(NotFound),
    )
    async def get_episode_sources(
        self,
        anime_episode_id: EpisodeId,
        server: Annotated[str | None, query("A server's id or name.", "1", max_length=64)] = None,  # noqa: ARG002 - see the docstring
        category: Annotated[Literal["sub", "dub", "raw"], query("The kind.", title="EpisodeKind")] = "sub",  # noqa: ARG002 - see the docstring
    ) -> SourcesAnswer:
        """Get the sources of an episode. They are empty: the catalogue has no links to episodes."""
        return SourcesAnswer(await self.episodes.sources(anime_episode_id))

    @post(
        "/import/{provider:str}",
        opt=LENIENT,
        status_code=200,
        request_max_body_size=MAX_LIST_BYTES,
        responses=errors(BadRequest, NotFound),
    )
    async def import_list(
        self,
        request: GuestRequest,
        provider: Annotated[str, parameter(PathParameter, "`anilist`.", "anilist")],
        data: JSONBody[AniListImport],
    ) -> AniListAnswer:
        """Find the anime of an AniList account. With a valid access token they are also added to the library, where
        they are not in it.
        """
        if provider != "anilist":
            raise NotFound
        if not data.animes:
            raise BadRequest("There are no lists to import")
        found = await self.page.match(data.animes)
        if request.user is not None and request.user.may("write:content"):
            upload = Upload(request.user.user_id, await request.body(), "keep", dry_run=False)
            try:
                await self.importer.run(upload, has_limits=False)
            except ListTooLarge as error:
                raise PayloadTooLarge from error
            except (ListFileError, Unauthorized):
                pass  # the list has nothing for a library, or the account was deleted meanwhile
        return AniListAnswer(found or None)


def _zone(name: str) -> ZoneInfo:
    if name not in timezones():
        raise InvalidRequest([{"field": "tz", "message": "Expected an IANA time zone, such as Europe/Berlin"}])
    return ZoneInfo(name)


def _day(text: str | None, zone: ZoneInfo) -> date:
    """Return the day that a request means, which is the one before its date. Raises InvalidRequest."""
    if text is None:
        return datetime.now(zone).date()
    for form in ("%Y-%m-%d", "%m/%d/%Y"):
        with suppress(ValueError):
            wanted = datetime.strptime(text, form).date()  # noqa: DTZ007 - a day without a time
            if wanted > EARLIEST:
                return wanted - timedelta(days=1)
    raise InvalidRequest([{"field": "date", "message": "Expected M/D/YYYY or YYYY-MM-DD"}])
