"""Merging with a preview, splitting, and the list of merges with their undo."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect, Template

from kitsu.admin.authentication import AdminRequest
from kitsu.admin.forms import Form
from kitsu.admin.lists import page_request, paging
from kitsu.admin.navigation import see
from kitsu.domain.catalogue.anime import AnimeQuery, AnimeReader
from kitsu.domain.catalogue.merges import MergeReader, MergeService, NewMerge, NewSplit
from kitsu.domain.catalogue.releases import ReleaseReader
from kitsu.domain.catalogue.search import SearchReader
from kitsu.domain.pagination import PageRequest
from kitsu.errors import AppError
from kitsu.web.guards import EDITS
from kitsu.web.services import service

Merges = NamedDependency[MergeService]
FOUND = 20


class MergesController(Controller):
    guards = EDITS
    dependencies = {"merges": service(MergeService)}
    reader: MergeReader
    anime: AnimeReader
    search: SearchReader
    releases: ReleaseReader

    @get("/merges")
    async def list_merges(self, request: AdminRequest) -> Template:
        """List merges, newest first."""
        page = await self.reader.page(page_request(request))
        return Template("merges/list.html", context={"merges": page.items, "paging": paging(request, page.cursor)})

    @post("/merges/{merge_id:uuid}/undo")
    async def undo(self, request: AdminRequest, merge_id: FromPath[UUID], merges: Merges) -> Redirect:
        """Undo a merge."""
        restored = await merges.undo(request.user.user_id, merge_id)
        return see(f"/anime/{restored.id}", done="merge-undone")

    @get("/anime/{anime_id:uuid}/merge")
    async def show_merge(
        self,
        request: AdminRequest,
        anime_id: FromPath[UUID],
        merges: Merges,
        q: Annotated[str, QueryParameter(max_length=200)] = "",
        into: Annotated[UUID | None, QueryParameter()] = None,
    ) -> Template:
        """Show a search for the other anime, and what a merge into it would move."""
        anime = await self.anime.detail(anime_id)
        context = {"anime": anime, "q": q, "found": [], "other": None, "report": None, "form": Form.of(anime)}
        if into is not None:
            context["other"] = await self.anime.detail(into)
            context["report"] = await merges.merge(request.user.user_id, anime_id, into, None, dry_run=True)
        elif len(q.strip()) > 1:
            query = AnimeQuery(page=PageRequest(limit=FOUND))
            context["found"] = [each for each in (await self.search.page(q, query)).items if each.id != anime.id]
        return Template("merges/new.html", context=context)

    @post("/anime/{anime_id:uuid}/merge")
    async def merge(self, request: AdminRequest, anime_id: FromPath[UUID], merges: Merges) -> Redirect:
        """Merge an anime, as it was shown, into another one."""
        form = await Form.read(request)
        new = form.convert(NewMerge)
        await merges.merge(request.user.user_id, anime_id, new.into, form.expected)
        return see(f"/anime/{new.into}", done="anime-merged")

    @get("/anime/{anime_id:uuid}/split")
    async def show_split(self, anime_id: FromPath[UUID]) -> Template:
        """Show what can be moved into a new anime."""
        return await self._split_page(anime_id, Form.empty())

    @post("/anime/{anime_id:uuid}/split")
    async def split(self, request: AdminRequest, anime_id: FromPath[UUID], merges: Merges) -> Template | Redirect:
        """Move the chosen parts of an anime, as it was shown, into a new one."""
        form = await Form.read(request)
        chosen = {name: form.texts.get(name, []) for name in ("external_id", "release", "episode")}
        try:
            new = Form({"title": [form.text("title")]}).convert(
                NewSplit,
                external_ids=dict(each.split(":", 1) for each in chosen["external_id"] if ":" in each),
                releases=chosen["release"],
                episodes=chosen["episode"],
            )
            added = await merges.split(request.user.user_id, anime_id, new, form.expected)
        except AppError as error:
            return await self._split_page(anime_id, form.refused(error), error.status)
        return see(f"/anime/{added.id}", done="anime-split")

    async def _split_page(self, anime_id: UUID, form: Form, status: int = 200) -> Template:
        anime = await self.anime.detail(anime_id)
        if "_tag" not in form.texts:
            form.texts |= {"_tag": Form.of(anime).texts["_tag"]}
        page = await self.releases.page(anime.id, PageRequest(limit=100))
        episodes = {release.id: await self.releases.episodes(release.id) for release in page.items}
        context = {"anime": anime, "form": form, "releases": page.items, "episodes": episodes}
        return Template("merges/split.html", context=context, status_code=status)
