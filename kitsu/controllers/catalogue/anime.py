"""The paths under /anime."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody

from kitsu.domain.catalogue.anime import (
    Anime,
    AnimeListItem,
    AnimeQuery,
    AnimeReader,
    AnimeType,
    Provider,
    Season,
    Sort,
)
from kitsu.domain.catalogue.editing import AnimeService
from kitsu.domain.catalogue.edits import AnimeChange, Deletion, NewAnime
from kitsu.domain.pagination import PageRequest
from kitsu.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed
from kitsu.web.authentication import PUBLIC
from kitsu.web.guards import EDITS
from kitsu.web.middleware.response_cache import CACHED
from kitsu.web.openapi import CATALOGUE_HEADERS, NOT_MODIFIED, errors, query
from kitsu.web.pagination import LIST_HEADERS, Cursor, Limit, Offset, Total, page_response, refuse_null
from kitsu.web.preconditions import ETAG, EXPECTED, IfMatch, tagged_by_content
from kitsu.web.request import GuestRequest, ViewerRequest
from kitsu.web.services import service
from kitsu.web.validation import read_filters


def provide_anime_query(
    request: GuestRequest,
    type: Annotated[AnimeType | None, query("Only anime of this type.")] = None,  # noqa: A002 - the parameter's name in the contract
    status: Annotated[
        str | None, query("`FINISHED`, `ONGOING`, `UPCOMING` or `UNKNOWN`.", "FINISHED", max_length=64)
    ] = None,
    year: Annotated[int | None, query("Only anime of this year.", 2006, ge=1, le=9999)] = None,
    season: Annotated[Season | None, query("Only anime of this season, of any year.")] = None,
    genres: Annotated[str | None, query("Comma-separated; all must match.", "mystery,school", max_length=1000)] = None,
    sort: Annotated[Sort | None, query("The order, descending with a leading `-`.", title="Sort")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
    total: Total = False,  # noqa: FBT002 - a query parameter
    cursor: Cursor = None,
) -> AnimeQuery:
    """Return the filters, the order and the page of a request."""
    refuse_null(request, "type", "year", "season", "sort")
    names = [genre.strip().lower() for genre in (genres or "").split(",") if genre.strip()] or None
    page = PageRequest(limit, offset, total, cursor)
    return AnimeQuery(page=page, type=type, status=status, year=year, season=season, genres=names, sort=sort)


Editing = NamedDependency[AnimeService]
RequestedAnime = NamedDependency[AnimeQuery]
ANIME_LIST = {"anime_query": Provide(provide_anime_query, sync_to_thread=False)}
"""The dependency of a list of anime: one, since two cost a task group."""
LIST_RESPONSE_HEADERS = [*CATALOGUE_HEADERS, *LIST_HEADERS]

MAX_IDS = 100
EXAMPLE_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
DryRun = Annotated[bool, query("Whether to delete nothing and only report what would be.")]
CHANGED = errors(NotFound, PreconditionFailed)


class AnimeController(Controller):
    path = "/anime"
    tags = ["Catalogue"]
    dependencies = {"editing": service(AnimeService)}
    anime: AnimeReader

    @get(
        "/",
        opt=PUBLIC | CACHED,
        before_request=read_filters,
        dependencies=ANIME_LIST,
        response_headers=LIST_RESPONSE_HEADERS,
        responses=NOT_MODIFIED,
    )
    async def list_anime(
        self,
        request: GuestRequest,
        anime_query: RequestedAnime,
        source: Annotated[Provider | None, query("The provider of `external_id`.", title="Provider")] = None,
        external_id: Annotated[
            str | None, query("Only the anime with this id at `source`.", "5114", min_length=1, max_length=1000)
        ] = None,
        ids: Annotated[
            str | None,
            query(
                f"Only these anime: up to {MAX_IDS} ids, comma-separated. Without `limit` all are listed.", EXAMPLE_ID
            ),
        ] = None,
    ) -> Response[list[AnimeListItem]]:
        """List anime. Newest first by default. All filters must match."""
        refuse_null(request, "source")
        if ids is not None:
            page = anime_query.page
            page = page if "limit" in request.query_params else msgspec.structs.replace(page, limit=MAX_IDS)
            anime_query = msgspec.structs.replace(anime_query, page=page, ids=_ids(ids))
        if (source is None) != (external_id is None):
            missing = "source" if source is None else "external_id"
            raise InvalidRequest([{"field": missing, "message": "source and external_id belong together"}])
        wanted = msgspec.structs.replace(anime_query, source=source, external_id=external_id)
        return page_response(request, await self.anime.page(wanted))

    @get(
        "/{anime_id:str}",
        opt=PUBLIC | CACHED,
        response_headers=CATALOGUE_HEADERS,
        responses=NOT_MODIFIED | errors(NotFound),
    )
    async def get_anime(self, anime_id: FromPath[UUID]) -> Anime:
        """Get an anime."""
        return await self.anime.detail(anime_id)

    @post("/", guards=EDITS, response_headers=[ETAG], responses=errors(Conflict))
    async def add_anime(self, request: ViewerRequest, data: JSONBody[NewAnime], editing: Editing) -> Response[Anime]:
        """Create an anime. It has no releases yet."""
        return tagged_by_content(await editing.add(request.user.user_id, data))

    @patch(
        "/{anime_id:str}",
        guards=EDITS,
        dependencies=EXPECTED,
        response_headers=[ETAG],
        responses=CHANGED | errors(Conflict),
    )
    async def change_anime(
        self,
        request: ViewerRequest,
        anime_id: FromPath[UUID],
        data: JSONBody[AnimeChange],
        editing: Editing,
        expected: IfMatch,
    ) -> Response[Anime]:
        """Update an anime. Omitted fields keep their value. Imports do not overwrite the changed fields."""
        return tagged_by_content(await editing.change(request.user.user_id, anime_id, data, expected))

    @delete("/{anime_id:str}", guards=EDITS, dependencies=EXPECTED, status_code=200, responses=CHANGED)
    async def remove_anime(
        self,
        request: ViewerRequest,
        anime_id: FromPath[UUID],
        editing: Editing,
        expected: IfMatch,
        dry_run: DryRun = False,  # noqa: FBT002 - a query parameter
    ) -> Deletion:
        """Delete an anime. Its releases and episodes are deleted with it, and so is all that viewers keep of it."""
        return await editing.remove(request.user.user_id, anime_id, expected, dry_run=dry_run)


def _ids(text: str) -> list[UUID]:
    """Return the ids of the parameter `ids`. Raises InvalidRequest."""
    try:
        ids = list(dict.fromkeys(msgspec.convert(part.strip(), UUID) for part in text.split(",")))
    except msgspec.ValidationError:
        ids = []
    if not 0 < len(ids) <= MAX_IDS:
        raise InvalidRequest([{"field": "ids", "message": f"Expected 1 to {MAX_IDS} ids, comma-separated"}])
    return ids
