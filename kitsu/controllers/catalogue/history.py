"""The history of an anime, and its edited fields."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, PathParameter

from kitsu.controllers.catalogue.anime import CHANGED
from kitsu.domain.catalogue.anime import Anime
from kitsu.domain.catalogue.history import CatalogueChange, Disagreement, HistoryReader, HistoryService, ImportedField
from kitsu.domain.pagination import PageRequest
from kitsu.errors import Conflict, NotFound
from kitsu.web.guards import EDITS
from kitsu.web.openapi import errors, parameter
from kitsu.web.pagination import LIST_HEADERS, PAGES, page_response
from kitsu.web.preconditions import ETAG, EXPECTED, IfMatch, tagged_by_content
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service

History = NamedDependency[HistoryService]
EditedField = Annotated[ImportedField, parameter(PathParameter, "The name of the field.", title="ImportedField")]
ChangeId = Annotated[int, parameter(PathParameter, "The `id` of a change.", 42, ge=1, le=2**63 - 1)]


class HistoryController(Controller):
    tags = ["Catalogue"]
    dependencies = {"history": service(HistoryService)}
    reader: HistoryReader

    @get(
        "/anime/{anime_id:str}/history",
        guards=EDITS,
        dependencies=PAGES,
        response_headers=LIST_HEADERS,
        responses=errors(NotFound),
    )
    async def list_anime_history(
        self, request: ViewerRequest, anime_id: FromPath[UUID], page_request: NamedDependency[PageRequest]
    ) -> Response[list[CatalogueChange]]:
        """List the changes of an anime. Newest first, with those of its releases, episodes and external ids, also after
        its deletion.
        """
        return page_response(request, await self.reader.page(anime_id, page_request))

    @post(
        "/anime/{anime_id:str}/history/{change_id:str}/revert",
        status_code=200,
        guards=EDITS,
        response_headers=[ETAG],
        responses=errors(NotFound, Conflict),
    )
    async def revert_anime_change(
        self, request: ViewerRequest, anime_id: FromPath[UUID], change_id: ChangeId, history: History
    ) -> Response[Anime]:
        """Revert a change of an anime. All that was changed together is reverted; 409 if it was changed again since. A
        deleted anime gets its releases, episodes and ids again, but not what viewers kept of it.
        """
        return tagged_by_content(await history.revert(request.user.user_id, anime_id, change_id))

    @delete(
        "/anime/{anime_id:str}/edited-fields/{field:str}",
        status_code=200,
        guards=EDITS,
        dependencies=EXPECTED,
        response_headers=[ETAG],
        responses=CHANGED,
    )
    async def give_field_to_imports(
        self, request: ViewerRequest, anime_id: FromPath[UUID], field: EditedField, history: History, expected: IfMatch
    ) -> Response[Anime]:
        """Give an edited field back to imports. It takes the value of the last import, and those of later ones."""
        return tagged_by_content(await history.give_back(request.user.user_id, anime_id, field, expected))

    @get("/edited-fields", guards=EDITS, dependencies=PAGES, response_headers=LIST_HEADERS)
    async def list_disagreements(
        self, request: ViewerRequest, page_request: NamedDependency[PageRequest]
    ) -> Response[list[Disagreement]]:
        """List edited fields that differ from the last import. By anime and field."""
        return page_response(request, await self.reader.disagreements(page_request))
