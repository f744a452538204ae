"""Anime: the list with search and filters, bulk edits, and the page of an anime with its history."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, PathParameter
from litestar.response import Redirect, Template

from kitsu.admin.authentication import AdminRequest
from kitsu.admin.forms import TAG, Form, literal_values, new_id
from kitsu.admin.lists import page_request, paging
from kitsu.admin.navigation import see
from kitsu.domain.catalogue.anime import Anime, AnimeQuery, AnimeReader, AnimeType, Season, Sort
from kitsu.domain.catalogue.editing import AnimeService
from kitsu.domain.catalogue.edits import AnimeChange, NewAnime, Status, Year
from kitsu.domain.catalogue.history import HistoryReader, HistoryService, ImportedField
from kitsu.domain.catalogue.releases import EpisodeListItem, ReleaseReader
from kitsu.domain.catalogue.search import SearchReader
from kitsu.domain.pagination import PageRequest
from kitsu.errors import AppError, InvalidRequest, PreconditionFailed
from kitsu.web.guards import EDITS
from kitsu.web.services import service

Editing = NamedDependency[AnimeService]
History = NamedDependency[HistoryService]
SHOWN_EPISODES, SHOWN_CHANGES = 100, 10
TYPES = [("", "Any type"), *literal_values(AnimeType)]
STATUSES = [("", "Any status"), *literal_values(Status)]
SEASONS = [("", "Any season"), *literal_values(Season)]
SORTS = [
    ("", "Newest, or best match first"),
    ("title", "Title"),
    ("-title", "Title, descending"),
    ("-year", "Year, newest first"),
    ("year", "Year, oldest first"),
    ("-score", "Score, best first"),
]
CHOICES = {"types": TYPES[1:], "statuses": [("", "Unknown"), *STATUSES[1:]], "seasons": [("", "None"), *SEASONS[1:]]}
ChangeId = Annotated[int, PathParameter(ge=1, le=2**63 - 1)]


class Filters(msgspec.Struct):
    """What the list shows. Empty fields are no filters."""

    q: str = ""
    type: AnimeType | None = None
    status: str | None = None
    year: Year | None = None
    season: Season | None = None
    genre: str | None = None
    sort: Sort | None = None


class Selected(msgspec.Struct):
    """The anime that a bulk edit changes."""

    id: list[UUID]


class BulkChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is set in all selected anime. Empty fields are not changed."""

    type: AnimeType | None = None
    status: Status | None = None
    season: Season | None = None
    year: Year | None = None
    add_genre: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    remove_genre: str | None = None

    def of(self, anime: Anime) -> AnimeChange:
        """Return the change of an anime."""
        given = {name: getattr(self, name) for name in ("type", "status", "season", "year") if getattr(self, name)}
        added = [self.add_genre.strip().lower()] if self.add_genre else []
        removed = (self.remove_genre or "").strip().lower()
        genres = [each for each in [*anime.genres, *added] if each != removed]
        return AnimeChange(**given, genres=genres)


class Outcome(msgspec.Struct):
    """What a bulk edit did to an anime."""

    anime: Anime
    text: str
    is_refused: bool = False


class AnimeController(Controller):
    path = "/anime"
    guards = EDITS
    dependencies = {"editing": service(AnimeService), "history": service(HistoryService)}
    anime: AnimeReader
    search: SearchReader
    releases: ReleaseReader
    history_reader: HistoryReader

    @get("/")
    async def list_anime(self, request: AdminRequest) -> Template:
        """List anime, or those that a search finds."""
        given = request.query_params
        form = Form({name: [given[name]] for name in Filters.__struct_fields__ if name in given})
        context: dict[str, Any] = {"form": form, "anime": [], "paging": paging(request, None)}
        try:
            filters = form.convert(Filters)
            query = AnimeQuery(
                page=page_request(request),
                genres=[filters.genre.lower()] if filters.genre else None,
                **{name: getattr(filters, name) for name in ("type", "status", "year", "season", "sort")},
            )
            q = filters.q.strip()
            page = await (self.search.page(q, query) if q else self.anime.page(query))
        except AppError as error:
            form.refused(error)
        else:
            context |= {"anime": page.items, "paging": paging(request, page.cursor)}
        choices = {"types": TYPES, "statuses": STATUSES, "seasons": SEASONS, "sorts": SORTS}
        return Template("anime/list.html", context=context | choices)

    @post("/bulk")
    async def change_many(self, request: AdminRequest, editing: Editing) -> Template:
        """Change the selected anime, each in a transaction of its own, and report what was done."""
        form = await Form.read(request)
        ids = form.texts.pop("id", [])
        outcomes: list[Outcome] = []
        try:
            change = form.convert(BulkChange)
            if not ids or change == BulkChange():
                raise InvalidRequest([{"field": "", "message": "Select anime, and choose what to change."}])  # noqa: TRY301 - caught below with the others
            wanted = Form({"id": ["\n".join(ids)]}).convert(Selected).id
            selected = [await self.anime.detail(anime_id) for anime_id in wanted]  # all, before the first is changed
        except InvalidRequest as error:
            context = {"form": form.refused(error), "outcomes": outcomes}
            return Template("anime/bulk.html", context=context, status_code=422)
        for before in selected:
            try:
                after = await editing.change(request.user.user_id, before.id, change.of(before), None)
                outcomes.append(Outcome(after, "unchanged" if _values(after) == _values(before) else "changed"))
            except AppError as error:
                outcomes.append(Outcome(before, error.message, is_refused=True))
        return Template("anime/bulk.html", context={"form": form, "outcomes": outcomes})

    @get("/new", sync_to_thread=False)
    def show_new(self) -> Template:
        """Show the form of a new anime."""
        return Template("anime/new.html", context={"form": Form.empty(), **CHOICES})

    @post("/new")
    async def add_anime(self, request: AdminRequest, editing: Editing) -> Template | Redirect:
        """Create an anime."""
        form = await Form.read(request)
        try:
            new = form.convert(NewAnime, external_ids=_external_ids(form))
            added = await editing.add(request.user.user_id, new, new_id(form))
        except AppError as error:
            context = {"form": form.refused(error), **CHOICES}
            return Template("anime/new.html", context=context, status_code=error.status)
        return see(f"/anime/{added.id}", done="anime-added")

    @get("/{anime_id:uuid}")
    async def show_anime(self, anime_id: FromPath[UUID]) -> Template | Redirect:
        """Show an anime; of a merged one what it became."""
        anime = await self.anime.detail(anime_id)
        if anime.id != anime_id:
            return see(f"/anime/{anime.id}", done="anime-was-merged")
        return await self._page(anime, Form.of(anime))

    @post("/{anime_id:uuid}")
    async def change_anime(
        self, request: AdminRequest, anime_id: FromPath[UUID], editing: Editing
    ) -> Template | Redirect:
        """Change an anime."""
        form = await Form.read(request)
        anime = await self.anime.detail(anime_id)
        try:
            external_ids: dict[str, str | None] = dict.fromkeys(anime.external_ids)
            change = form.convert(AnimeChange, external_ids=external_ids | _external_ids(form))
            await editing.change(request.user.user_id, anime_id, change, form.expected)
        except AppError as error:
            if isinstance(error, PreconditionFailed):  # saved again, the entered texts replace what is there now
                form.texts[TAG] = Form.of(anime).texts[TAG]
            return await self._page(anime, form.refused(error), error.status)
        return see(f"/anime/{anime_id}", done="anime-changed")

    @get("/{anime_id:uuid}/delete")
    async def show_deletion(self, request: AdminRequest, anime_id: FromPath[UUID], editing: Editing) -> Template:
        """Show what a deletion would take."""
        anime = await self.anime.detail(anime_id)
        report = await editing.remove(request.user.user_id, anime_id, None, dry_run=True)
        return Template("anime/delete.html", context={"anime": anime, "report": report, "form": Form.of(anime)})

    @post("/{anime_id:uuid}/delete")
    async def remove_anime(self, request: AdminRequest, anime_id: FromPath[UUID], editing: Editing) -> Redirect:
        """Delete an anime."""
        form = await Form.read(request)
        await editing.remove(request.user.user_id, anime_id, form.expected)
        return see(f"/anime/{anime_id}/history", done="anime-deleted")

    @get("/{anime_id:uuid}/history")
    async def list_history(self, request: AdminRequest, anime_id: FromPath[UUID]) -> Template:
        """List the changes of an anime, also of a deleted one."""
        page = await self.history_reader.page(anime_id, page_request(request))
        context = {"anime_id": anime_id, "changes": page.items, "paging": paging(request, page.cursor)}
        return Template("anime/history.html", context=context)

    @post("/{anime_id:uuid}/history/{change_id:int}/revert")
    async def revert_change(
        self, request: AdminRequest, anime_id: FromPath[UUID], change_id: ChangeId, history: History
    ) -> Redirect:
        """Revert a change, with all that was changed together with it."""
        await history.revert(request.user.user_id, anime_id, change_id)
        return see(f"/anime/{anime_id}", done="change-reverted")

    @post("/{anime_id:uuid}/edited-fields/{field:str}/give-back")
    async def give_back(
        self, request: AdminRequest, anime_id: FromPath[UUID], field: FromPath[ImportedField], history: History
    ) -> Redirect:
        """Give an edited field back to imports."""
        await history.give_back(request.user.user_id, anime_id, field)
        return see(f"/anime/{anime_id}", done="field-given-back")

    async def _page(self, anime: Anime, form: Form, status: int = 200) -> Template:
        page = await self.releases.page(anime.id, PageRequest(limit=100))
        episodes: dict[UUID, list[EpisodeListItem]] = {
            release.id: (await self.releases.episodes(release.id))[:SHOWN_EPISODES] for release in page.items
        }
        history = await self.history_reader.page(anime.id, PageRequest(limit=SHOWN_CHANGES), is_known=True)
        context = {
            "anime": anime,
            "form": form,
            "releases": page.items,
            "episodes": episodes,
            "changes": history.items,
            "edited": await self.history_reader.edited_fields(anime.id),
            **CHOICES,
        }
        return Template("anime/detail.html", context=context, status_code=status)


def _values(anime: Anime) -> dict[str, Any]:
    return msgspec.structs.asdict(anime) | {"updated_at": None}


def _external_ids(form: Form) -> dict[str, str]:
    """Return the ids of a form, which has a line for each: `<provider>: <id>`. Raises InvalidRequest."""
    found = {}
    for line in filter(str.strip, form.text("external_ids").split("\n")):
        provider, colon, value = line.partition(":")
        if not colon or not value.strip():
            raise InvalidRequest([{"field": "external_ids", "message": f"Not <provider>: <id>: {line.strip()}"}])
        found[provider.strip()] = value.strip()
    return found
