"""Public collections of viewers, which administrators may hide."""

from uuid import UUID

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect, Template

from kitsu.admin.authentication import AdminRequest
from kitsu.admin.lists import page_request, paging
from kitsu.admin.navigation import see
from kitsu.domain.viewer.moderation import ModerationService, PublicCollectionReader
from kitsu.web.guards import requires
from kitsu.web.services import service


class CollectionsController(Controller):
    path = "/collections"
    guards = [requires("admin:*")]
    dependencies = {"moderation": service(ModerationService)}
    reader: PublicCollectionReader

    @get("/")
    async def list_collections(self, request: AdminRequest) -> Template:
        """List the public collections, newest first."""
        page = await self.reader.page(page_request(request))
        context = {"collections": page.items, "paging": paging(request, page.cursor)}
        return Template("collections.html", context=context)

    @post("/{collection_id:uuid}/hide")
    async def hide(
        self, request: AdminRequest, collection_id: FromPath[UUID], moderation: NamedDependency[ModerationService]
    ) -> Redirect:
        """Make a collection private."""
        await moderation.hide(collection_id, by=request.user.user_id)
        return see("/collections", done="collection-hidden")
