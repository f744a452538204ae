"""The library: the anime that a viewer follows, each with a status, a score and notes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import SmallInteger, String, Text, Uuid, bindparam, case, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.anime import LIST_COLUMNS, AnimeListItem, list_item
from kitsu.domain.changes import Changes, ChangesReader, ChangesRequest, changes_statement
from kitsu.domain.constraints import translate_foreign_key_errors
from kitsu.domain.pagination import Listing, Page, PageRequest, Rows, descending
from kitsu.domain.versions import Expected
from kitsu.errors import NotFound

Status = Literal["watching", "completed", "on_hold", "dropped", "plan_to_watch"]
MAX_NOTES = 10_000

Notes = Annotated[str, Meta(max_length=MAX_NOTES)]
Score = Annotated[int, Meta(ge=1, le=10)]


class LibraryEntry(msgspec.Struct):
    """An anime on the viewer's list."""

    id: UUID
    anime_id: UUID
    status: Status
    score: Annotated[int | None, Meta(description="1 to 10", examples=[8])]
    notes: str | None
    episodes_watched: Annotated[int, Meta(description="follows the watch progress")]
    started_on: Annotated[
        str | None, Meta(description="`YYYY`, `YYYY-MM` or `YYYY-MM-DD`: as much as is known", examples=["2026-04"])
    ]
    completed_on: Annotated[str | None, Meta(description="in the same form", examples=["2026-11-22"])]
    times_rewatched: int
    is_rewatching: bool
    tags: Annotated[str | None, Meta(description="comma-separated", examples=["with friends, comedy"])]
    version: Annotated[int, Meta(description='one more with each change; `If-Match: "<id>.<version>"`')]
    created_at: datetime
    updated_at: datetime
    anime: AnimeListItem


class NewEntry(msgspec.Struct, frozen=True):
    """What a viewer says of an anime; what is left out is none."""

    status: Status
    score: Score | None = None
    notes: Notes | None = None


_entry, _anime = models.LibraryEntry, models.Anime
_user_id: Any = bindparam("user_id", type_=Uuid)
_anime_id: Any = bindparam("anime_id", type_=Uuid)
OWN_FIELDS = LibraryEntry.__struct_fields__[:-1]
_COLUMNS = tuple(getattr(_entry, name) for name in OWN_FIELDS)

OWN: Rows = (
    select(*_COLUMNS, *LIST_COLUMNS).join(_anime, _anime.id == _entry.anime_id).where(_entry.user_id == _user_id)
)
_with_status = _entry.status == bindparam("status", type_=String)


_changed_last = (descending(_entry.updated_at), descending(_entry.id))
_counted = select(_entry.id).where(_entry.user_id == _user_id)
_LISTING = Listing(OWN, *_changed_last, counted=_counted)
_LISTING_OF_STATUS = Listing(OWN.where(_with_status), *_changed_last, counted=_counted.where(_with_status))
_CHANGES = changes_statement(OWN, _entry.updated_at, _entry.id)
_ONE = OWN.where(_entry.anime_id == _anime_id)
_LOCK = (
    select(_entry.id, _entry.version).where(_entry.user_id == _user_id, _entry.anime_id == _anime_id).with_for_update()
)
_REMOVE = delete(_entry).where(_entry.user_id == _user_id, _entry.anime_id == _anime_id)

TODAY: Any = func.to_char(func.timezone("UTC", func.now()), "YYYY-MM-DD", type_=Text)


def _put() -> Rows:
    """An entry as it is to be, made or changed; what it says beyond the request follows from its status."""
    wanted = select(*LIST_COLUMNS).where(_anime.id == _anime_id).cte("wanted")
    status = bindparam("status", type_=String)
    is_completed, is_watching = status == "completed", status == "watching"
    new = insert(_entry).from_select(
        ["id", "user_id", "anime_id", "status", "score", "notes", "episodes_watched", "started_on", "completed_on"],
        select(
            bindparam("id", type_=Uuid),
            _user_id,
            wanted.c.id,
            status,
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
    return select(*stored.c, *wanted.c).join_from(stored, wanted, wanted.c.id == stored.c.anime_id)


_PUT = _put()


class LibraryService:
    """A viewer's library."""

    def __init__(self, engine: AsyncEngine, runner: StatementRunner) -> None:
        self._engine = engine
        self._runner = runner
        self._changes = ChangesReader(runner)

    async def page(self, user_id: UUID, status: Status | None, request: PageRequest) -> Page[LibraryEntry]:
        """The entries, of one status or of all, changed last first."""
        if status is None:
            return await _LISTING.page(self._runner, {"user_id": user_id}, request, entry_of)
        of = {"user_id": user_id, "status": status}
        return await _LISTING_OF_STATUS.page(self._runner, of, request, entry_of)

    async def changes(self, user_id: UUID, request: ChangesRequest) -> Changes[LibraryEntry]:
        """What changed and was removed since a time."""
        return await self._changes.read(user_id, request, _entry.__tablename__, _CHANGES, entry_of)

    async def detail(self, user_id: UUID, anime_id: UUID) -> LibraryEntry:
        """The entry of an anime. Raises NotFound."""
        row = await self._runner.row(_ONE, {"user_id": user_id, "anime_id": anime_id})
        if row is None:
            raise NotFound("Library entry not found")
        return entry_of(row)

    async def put(self, user_id: UUID, anime_id: UUID, new: NewEntry, expected: Expected | None) -> LibraryEntry:
        """Make or change an entry. Raises NotFound, and PreconditionFailed when it is not as expected."""
        parameters = {**msgspec.structs.asdict(new), "id": uuid7(), "user_id": user_id, "anime_id": anime_id}
        if expected is None:
            with translate_foreign_key_errors():
                row = await self._runner.write(_PUT, parameters)
        else:
            async with self._engine.begin() as connection:
                known = (await connection.execute(_LOCK, {"user_id": user_id, "anime_id": anime_id})).first()
                expected.check(*(known or (None, None)))
                with translate_foreign_key_errors():
                    row = (await connection.execute(_PUT, parameters)).first()
        if row is None:
            raise NotFound("Anime not found")
        return entry_of(row)

    async def remove(self, user_id: UUID, anime_id: UUID) -> None:
        """Take an anime off the list, if it is on it."""
        await self._runner.change(_REMOVE, {"user_id": user_id, "anime_id": anime_id})


def entry_of(row: Sequence[Any]) -> LibraryEntry:
    """The entry of a row of `OWN`."""
    own = len(OWN_FIELDS)
    return LibraryEntry(*(*row[:own], list_item(row[own:])))
