"""The library: the anime that a viewer follows, each with a status, a score and notes."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import ColumnElement, SmallInteger, String, Text, Uuid, bindparam, case, func, select
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.domain.catalogue.anime import LIST_COLUMNS, AnimeListItem, current_id
from kitsu.domain.changes import ChangesListing
from kitsu.domain.fields import Version, described
from kitsu.domain.mapping import Rows, columns_of, mapper, nested
from kitsu.domain.pagination import Page, PageRequest
from kitsu.domain.versions import Expected
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.domain.viewer.last_changed import LastChangedListing
from kitsu.domain.viewer.rows import USER_ID, OwnListReader, rows_with_anime
from kitsu.errors import NotFound

Status = Annotated[
    Literal["watching", "completed", "on_hold", "dropped", "plan_to_watch"],
    Meta(title="LibraryStatus", description="The status of an anime in the library."),
]
MAX_NOTES = 10_000


class LibraryEntry(msgspec.Struct):
    """An anime on the viewer's list."""

    id: UUID
    anime_id: UUID
    status: Status
    score: Annotated[int | None, described("The score that the viewer gave, 1 to 10.", 8)]
    notes: Annotated[str | None, described("Notes of the viewer.", "Watch with Miko")]
    episodes_watched: Annotated[int, described("The number of watched episodes. It follows the watch progress.", 7)]
    started_on: Annotated[str | None, described("`YYYY`, `YYYY-MM` or `YYYY-MM-DD` of the first episode.", "2026-04")]
    completed_on: Annotated[str | None, described("The day of the last episode, in the same form.", "2026-11-22")]
    times_rewatched: Annotated[int, described("The number of complete repetitions.", 0)]
    is_rewatching: Annotated[bool, described("Whether the viewer is watching it again.")]
    tags: Annotated[str | None, described("Comma-separated tags from an imported list.", "with friends, comedy")]
    version: Version
    created_at: Annotated[datetime, described("When it was created.")]
    updated_at: Annotated[datetime, described("When it was last changed.")]
    anime: AnimeListItem


class NewLibraryEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Status, score and notes of an anime. Omitted fields become null."""

    status: Status
    score: Annotated[int, described("The score, 1 to 10.", 8, ge=1, le=10)] | None = None
    notes: Annotated[str, described("Notes of the viewer.", "Watch with Miko", max_length=MAX_NOTES)] | None = None


_entry, _anime = models.LibraryEntry, models.Anime
_anime_id: Any = bindparam("anime_id", type_=Uuid)
_status: Any = bindparam("status", type_=String)
_COLUMNS = columns_of(LibraryEntry, _entry)

ROWS = rows_with_anime(LibraryEntry, _entry)


def _last_changed(*filters: ColumnElement[bool]) -> LastChangedListing[LibraryEntry]:
    counted = select(_entry.id).where(_entry.user_id == USER_ID, *filters)
    return LastChangedListing(LibraryEntry, ROWS.where(*filters), _entry.updated_at, _entry.id, counted=counted)


_OF_STATUS = _last_changed(_entry.status == _status)
_ONE = ROWS.where(_entry.anime_id == current_id(_anime_id))

TODAY: Any = func.to_char(func.timezone("UTC", func.now()), "YYYY-MM-DD", type_=Text)


def _put() -> Rows:
    """Return the upsert of an entry. Dates and watched episodes follow from the status, and never go back."""
    wanted = select(*LIST_COLUMNS).where(_anime.id == current_id(_anime_id)).cte("wanted")
    is_completed, is_watching = _status == "completed", _status == "watching"
    new = insert(_entry).from_select(
        ["id", "user_id", "anime_id", "status", "score", "notes", "episodes_watched", "started_on", "completed_on"],
        select(
            bindparam("id", type_=Uuid),
            USER_ID,
            wanted.c.id,
            _status,
            bindparam("score", type_=SmallInteger),
            bindparam("notes", type_=Text),
            case((is_completed, func.coalesce(wanted.c.episode_count, 0)), else_=0),
            case((is_watching, TODAY)),
            case((is_completed, TODAY)),
        ),
    )
    stored = (
        new.on_conflict_do_update(
            index_elements=[_entry.user_id, _entry.anime_id],
            set_={
                **{name: new.excluded[name] for name in ("status", "score", "notes")},
                "episodes_watched": func.greatest(_entry.episodes_watched, new.excluded.episodes_watched),
                "started_on": func.coalesce(_entry.started_on, new.excluded.started_on),
                "completed_on": func.coalesce(_entry.completed_on, new.excluded.completed_on),
                "version": _entry.version + 1,
                "updated_at": func.now(),
            },
        )
        .returning(*_COLUMNS)
        .cte("stored")
    )
    return select(*stored.c, *nested("anime", [*wanted.c])).join_from(stored, wanted, wanted.c.id == stored.c.anime_id)


_PUT = _put()
_put_entry_of = mapper(LibraryEntry, _PUT)


class LibraryReader(OwnListReader[LibraryEntry]):
    listing = _last_changed()
    changes = ChangesListing(LibraryEntry, ROWS, _entry.updated_at)

    async def of_status(self, user_id: UUID, status: Status, request: PageRequest) -> Page[LibraryEntry]:
        return await _OF_STATUS.page(self.runner, {"user_id": user_id, "status": status}, request)

    async def detail(self, user_id: UUID, anime_id: UUID) -> LibraryEntry:
        """Return the entry of an anime. Raises NotFound."""
        row = await self.runner.row(_ONE, {"user_id": user_id, "anime_id": anime_id})
        if row is None:
            raise NotFound("Library entry not found")
        return self.listing.struct_of(row)


class LibraryService(SQLAlchemyAsyncRepositoryService[models.LibraryEntry]):
    class Repository(SQLAlchemyAsyncRepository[models.LibraryEntry]):
        model_type = models.LibraryEntry

    repository_type = Repository

    async def put(self, user_id: UUID, anime_id: UUID, new: NewLibraryEntry, expected: Expected | None) -> LibraryEntry:
        """Create or update an entry. Raises NotFound, PreconditionFailed."""
        session = self.repository.session
        if expected is not None:
            own = (_entry.user_id == user_id, _entry.anime_id == current_id(anime_id))
            expected.check(await self.get_one_or_none(*own, with_for_update=True))
        parameters = {**msgspec.structs.asdict(new), "id": uuid7(), "user_id": user_id, "anime_id": anime_id}
        with viewer_constraints():
            row = (await session.execute(_PUT, parameters)).first()
        if row is None:
            raise NotFound("Anime not found")
        entry = _put_entry_of(row)
        if expected is not None and expected.is_new:
            expected.check(entry if entry.version > 1 else None)  # another request may have created it meanwhile
        await session.commit()
        return entry

    async def remove(self, user_id: UUID, anime_id: UUID, expected: Expected | None) -> None:
        """Remove an entry, if there is one. Raises PreconditionFailed."""
        wanted = (_entry.user_id == user_id, _entry.anime_id == current_id(anime_id))
        if expected is not None:
            expected.check(await self.get_one_or_none(*wanted, with_for_update=True))
        await self.delete_where(*wanted, sanity_check=False, auto_commit=True)
