"""Merges and splits of anime."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.controllers.catalogue.anime import CHANGED
from kitsu.domain.catalogue.anime import Anime
from kitsu.domain.catalogue.merges import Merge, MergeReader, MergeService, NewMerge, NewSplit
from kitsu.domain.catalogue.merging import MergeReport
from kitsu.domain.pagination import PageRequest
from kitsu.errors import Conflict, NotFound
from kitsu.web.guards import EDITS
from kitsu.web.openapi import errors, query
from kitsu.web.pagination import LIST_HEADERS, PAGES, page_response
from kitsu.web.preconditions import ETAG, EXPECTED, IfMatch, tagged_by_content
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

Merges = NamedDependency[MergeService]


class MergeController(Controller):
    tags = ["Catalogue"]
    dependencies = {"merges": service(MergeService)}
    reader: MergeReader

    @post(
        "/anime/{anime_id:str}/merge",
        status_code=200,
        guards=EDITS,
        dependencies=EXPECTED,
        responses=CHANGED | errors(Conflict),
    )
    async def merge_anime(
        self,
        request: ViewerRequest,
        anime_id: FromPath[UUID],
        data: JSONBody[NewMerge],
        merges: Merges,
        expected: IfMatch,
        dry_run: Annotated[bool, query("Whether to merge nothing and only report what would move.")] = False,  # noqa: FBT002 - a query parameter
    ) -> MergeReport:
        """Merge an anime into another one. Releases, external ids, titles and all that viewers keep move. The old id
        keeps working, and the merge can be undone for 30 days.
        """
        return await merges.merge(request.user.user_id, anime_id, data.into, expected, dry_run=dry_run)

    @post(
        "/anime/{anime_id:str}/split",
        guards=EDITS,
        dependencies=EXPECTED,
        response_headers=[ETAG],
        responses=CHANGED | errors(Conflict),
    )
    async def split_anime(
        self,
        request: ViewerRequest,
        anime_id: FromPath[UUID],
        data: JSONBody[NewSplit],
        merges: Merges,
        expected: IfMatch,
    ) -> Response[Anime]:
        """Split an anime. The chosen external ids, releases and episodes move into a new anime. Favourites, progress
        and library entries stay; views follow their episodes.
        """
        return tagged_by_content(await merges.split(request.user.user_id, anime_id, data, expected))

    @get("/merges", guards=EDITS, dependencies=PAGES, response_headers=LIST_HEADERS)
    async def list_merges(
        self, request: ViewerRequest, page_request: NamedDependency[PageRequest]
    ) -> Response[list[Merge]]:
        """List merges. Newest first, with those that were undone."""
        return page_response(request, await self.reader.page(page_request))

    @post(
        "/merges/{merge_id:str}/undo",
        status_code=200,
        guards=EDITS,
        response_headers=[ETAG],
        responses=errors(NotFound, Conflict),
    )
    async def undo_merge(self, request: ViewerRequest, merge_id: FromPath[UUID], merges: Merges) -> Response[Anime]:
        """Undo a merge. The old anime gets back what was moved, but nothing that viewers have changed since."""
        return tagged_by_content(await merges.undo(request.user.user_id, merge_id))
