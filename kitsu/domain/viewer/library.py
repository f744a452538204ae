"""The library: the anime that a viewer follows, each with a status, a score and notes."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import String, Text, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.db.columns import MAX_INTEGER
from kitsu.db.engine import execute_core
from kitsu.domain.catalogue.anime import AnimeListItem, current_id
from kitsu.domain.changes import ChangesListing
from kitsu.domain.fields import Version, described
from kitsu.domain.mapping import given
from kitsu.domain.pagination import Page, PageRequest
from kitsu.domain.versions import Expected
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.domain.viewer.rows import USER_ID, OwnListReader, newest_first, rows_with_anime
from kitsu.errors import InvalidRequest, NotFound

Status = Annotated[
    Literal["watching", "completed", "on_hold", "dropped", "plan_to_watch"],
    Meta(title="LibraryStatus", description="The status of an anime in the library."),
]
MAX_NOTES = 10_000  # characters
MAX_TAGS = 2_000
MAX_TIMES_REWATCHED = 10_000


DATE = r"^[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?$"
Score = Annotated[float, described("The score, 1 to 10, with at most one decimal.", 8.5, ge=1, le=10)]
Notes = Annotated[str, described("Notes of the viewer.", "Watch with Miko", max_length=MAX_NOTES)]
Tags = Annotated[str, described("Comma-separated tags.", "with friends, comedy", max_length=MAX_TAGS)]
Watched = Annotated[int, described("The number of watched episodes.", 7, ge=0, le=MAX_INTEGER)]
Day = Annotated[str, described("`YYYY`, `YYYY-MM` or `YYYY-MM-DD`.", "2026-04", pattern=DATE)]
Times = Annotated[int, described("The number of complete repetitions.", 0, ge=0, le=MAX_TIMES_REWATCHED)]
IsRewatching = Annotated[bool, described("Whether the viewer is watching it again.")]


class LibraryEntry(msgspec.Struct):
    """An anime on the viewer's list."""

    id: UUID
    anime_id: UUID
    status: Status
    score: Annotated[float | None, described("The score that the viewer gave, 1 to 10.", 8.5)]
    notes: Annotated[str | None, described("Notes of the viewer.", "Watch with Miko")]
    episodes_watched: Annotated[int, described("The number of watched episodes. It follows the watch progress.", 7)]
    started_on: Annotated[str | None, described("`YYYY`, `YYYY-MM` or `YYYY-MM-DD` of the first episode.", "2026-04")]
    completed_on: Annotated[str | None, described("The day of the last episode, in the same form.", "2026-11-22")]
    times_rewatched: Annotated[int, described("The number of complete repetitions.", 0)]
    is_rewatching: IsRewatching
    tags: Annotated[str | None, described("Comma-separated tags.", "with friends, comedy")]
    version: Version
    created_at: Annotated[datetime, described("When it was created.")]
    updated_at: Annotated[datetime, described("When it was last changed.")]
    anime: AnimeListItem


class LibraryChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of a library entry. Omitted fields keep their value, or follow from a new status."""

    status: Status | UnsetType = UNSET
    score: Score | UnsetType | None = UNSET
    notes: Notes | UnsetType | None = UNSET
    episodes_watched: Watched | UnsetType = UNSET
    started_on: Day | UnsetType | None = UNSET
    completed_on: Day | UnsetType | None = UNSET
    times_rewatched: Times | UnsetType = UNSET
    is_rewatching: IsRewatching | UnsetType = UNSET
    tags: Tags | UnsetType | None = UNSET


class NewLibraryEntry(LibraryChange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A library entry. Omitted score and notes become null; other omitted fields are as in a change."""

    status: Status
    score: Score | None = None
    notes: Notes | None = None


_entry, _anime, _user = models.LibraryEntry, models.Anime, models.User
_anime_id: Any = bindparam("anime_id", type_=Uuid)
_status: Any = bindparam("status", type_=String)

ROWS = rows_with_anime(LibraryEntry, _entry)
_OF_STATUS = newest_first(LibraryEntry, ROWS, _entry.updated_at, _entry.status == _status, moves=True)
_ONE = ROWS.where(_entry.anime_id == current_id(_anime_id))


def day_of(time: Any, user_id: Any) -> Any:
    """Return the expression for the day of a time in the time zone of a user, as `YYYY-MM-DD`."""
    zone = select(_user.timezone).where(_user.id == user_id).scalar_subquery()
    return func.to_char(func.timezone(zone, time), "YYYY-MM-DD", type_=Text)


_ANIME = select(_anime.id, _anime.episode_count, day_of(func.now(), USER_ID).label("today")).where(
    _anime.id == current_id(_anime_id)
)


class LibraryReader(OwnListReader[LibraryEntry]):
    listing = newest_first(LibraryEntry, ROWS, _entry.updated_at, moves=True)
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
        """Create or update an entry. Raises NotFound, PreconditionFailed, InvalidRequest."""
        return await self._save(user_id, anime_id, given(new), expected, may_create=True)

    async def change(
        self, user_id: UUID, anime_id: UUID, change: LibraryChange, expected: Expected | None
    ) -> LibraryEntry:
        """Update an entry. Raises NotFound, PreconditionFailed, InvalidRequest."""
        return await self._save(user_id, anime_id, given(change), expected, may_create=False)

    async def _save(
        self, user_id: UUID, anime_id: UUID, values: dict[str, Any], expected: Expected | None, *, may_create: bool
    ) -> LibraryEntry:
        session = self.repository.session
        found = await session.execute(_ANIME, {"anime_id": anime_id, "user_id": user_id})
        anime = found.one_or_none()
        if anime is None:
            raise NotFound("Anime not found" if may_create else "Library entry not found")
        _check(values, anime.episode_count)
        own = (_entry.user_id == user_id, _entry.anime_id == anime.id)
        entry = await self.get_one_or_none(*own, with_for_update=True)
        if expected is not None:
            expected.check(entry)
        if entry is None and may_create:
            new = {**own_edit(None, values, anime.episode_count, anime.today), "id": uuid7()}
            with viewer_constraints():
                stored = insert(_entry).values(user_id=user_id, anime_id=anime.id, **new).on_conflict_do_nothing()
                is_new = (await execute_core(session, stored)).rowcount
            # Another request may have created it meanwhile.
            entry = None if is_new else await self.get_one(*own, with_for_update=True)
            if entry is not None and expected is not None:
                expected.check(entry)
        elif entry is None:
            raise NotFound("Library entry not found")
        if entry is not None:
            for name, value in own_edit(entry, values, anime.episode_count, anime.today).items():
                setattr(entry, name, value)
            entry.version += 1
            entry.updated_at = func.now()
        row = (await session.execute(_ONE, {"user_id": user_id, "anime_id": anime.id})).one()
        await session.commit()
        return LibraryReader.listing.struct_of(row)

    async def remove(self, user_id: UUID, anime_id: UUID, expected: Expected | None) -> None:
        """Remove an entry, if there is one. Raises PreconditionFailed."""
        wanted = (_entry.user_id == user_id, _entry.anime_id == current_id(anime_id))
        if expected is not None:
            expected.check(await self.get_one_or_none(*wanted, with_for_update=True))
        await self.delete_where(*wanted, sanity_check=False, auto_commit=True)


def own_edit(old: models.LibraryEntry | None, values: dict[str, Any], count: int | None, today: str) -> dict[str, Any]:
    """Return the columns that the viewer's own edit sets: the given values, and what follows from a new status."""
    status = values.get("status", old and old.status)
    changed = dict(values)
    is_new_status = old is None or status != old.status
    if is_new_status and status == "completed":
        changed.setdefault("episodes_watched", max(old.episodes_watched if old else 0, count or 0))
        changed.setdefault("completed_on", (old and old.completed_on) or today)
    elif is_new_status and status == "watching":
        changed.setdefault("started_on", (old and old.started_on) or today)
    was_rewatching = old is not None and old.is_rewatching
    if is_new_status or values.get("is_rewatching", was_rewatching) != was_rewatching:
        changed["status_set_at"] = func.now()
    if "episodes_watched" in values:
        changed["episodes_set_at"] = func.now()
    return changed


def _check(values: dict[str, Any], count: int | None) -> None:
    """Raise InvalidRequest for a score with two decimals, a day that does not exist, and too many episodes."""
    wrong = []
    score, watched = values.get("score"), values.get("episodes_watched")
    if score is not None and score != round(score, 1):
        wrong.append({"field": "score", "message": "Expected at most one decimal"})
    if watched is not None and count is not None and watched > count:
        wrong.append({"field": "episodes_watched", "message": f"The anime has {count} episodes"})
    for name in ("started_on", "completed_on"):
        day = values.get(name)
        if day is not None and not is_date(day):
            wrong.append({"field": name, "message": "There is no such day"})
    if wrong:
        raise InvalidRequest(wrong)


def is_date(day: str) -> bool:
    """Return whether a day, a month or a year exists, in the form of DATE."""
    try:
        date.fromisoformat(day + "-01" * (2 - day.count("-")))
    except ValueError:
        return False
    return True
