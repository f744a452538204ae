"""Watch progress: how far a viewer is in each anime, and what to go on with."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    Integer,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.domain.catalogue.anime import LIST_COLUMNS, AnimeListItem
from kitsu.domain.changes import ChangesListing
from kitsu.domain.idempotency import IdempotentRequest
from kitsu.domain.mapping import Rows, columns_of, nested
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.domain.viewer.library import TODAY
from kitsu.domain.viewer.lists import OwnListReader
from kitsu.domain.viewer.recorder import Recorder
from kitsu.errors import BadRequest

FINISHED_PERCENT = 90
"""So much of an episode is all of it: who watches on through the credits?"""

MAX_INTEGER = 2**31 - 1


class WatchProgress(msgspec.Struct):
    """How far the viewer is in an anime."""

    id: UUID
    anime_id: UUID
    episode: int
    position_seconds: int | None
    progress_percent: float | None
    created_at: datetime
    last_watched_at: datetime
    updated_at: Annotated[datetime, Meta(description="of any change, by watching or otherwise")]
    hidden: Annotated[bool, Meta(description="left out of what to go on watching until it is played again")]
    anime: AnimeListItem


class NewProgress(msgspec.Struct, frozen=True):
    """Where a player is."""

    anime_id: UUID
    episode: Annotated[int, Meta(le=MAX_INTEGER, ge=-MAX_INTEGER, examples=[7])]
    position_seconds: Annotated[int, Meta(le=MAX_INTEGER, ge=-MAX_INTEGER, examples=[431])] | None = None
    progress_percent: Annotated[float, Meta(description="of the episode, 0 to 100", examples=[30.5])] | None = None


_progress, _anime, _entry = models.WatchProgress, models.Anime, models.LibraryEntry
_user_id: Any = bindparam("user_id", type_=Uuid)
_COLUMNS = columns_of(WatchProgress, _progress)
_is_own = _progress.user_id == _user_id

ROWS: Rows = (
    select(*_COLUMNS, *nested("anime", LIST_COLUMNS)).join(_anime, _anime.id == _progress.anime_id).where(_is_own)
)
_is_to_continue = (
    _progress.hidden.is_(False),
    ~select(_entry.id)
    .where(
        _entry.user_id == _progress.user_id,
        _entry.anime_id == _progress.anime_id,
        or_(_entry.status == "completed", _entry.status == "dropped"),
    )
    .exists(),
)
_last_watched = (descending(_progress.last_watched_at), descending(_progress.id))
_counted = select(_progress.id).where(_is_own)
CONTINUE = Listing(
    WatchProgress, ROWS.where(*_is_to_continue), *_last_watched, counted=_counted.where(*_is_to_continue)
)


def _post() -> Rows:
    """Progress, and what follows from it for the library, in one statement."""
    viewer: Any = bindparam("viewer", type_=Uuid)
    episode = bindparam("at_episode", type_=Integer)
    position = cast(bindparam("at_position", type_=Integer), Integer)
    percent = cast(bindparam("at_percent", type_=Double), Double)
    anime = (
        select(*LIST_COLUMNS, _anime.duration_seconds)
        .where(_anime.id == bindparam("watched", type_=Uuid))
        .cte("wanted")
    )

    values = (bindparam("new_id", type_=Uuid), viewer, anime.c.id, episode, position, percent)
    names = ["id", "user_id", "anime_id", "episode", "position_seconds", "progress_percent"]
    new = insert(_progress).from_select(names, select(*values))
    progress = (
        new.on_conflict_do_update(
            index_elements=[_progress.user_id, _progress.anime_id],
            set_={
                **{name: new.excluded[name] for name in names[3:]},
                "last_watched_at": func.now(),
                "updated_at": func.now(),
                "hidden": False,
            },
        )
        .returning(*_COLUMNS)
        .cte("progress")
    )

    is_finished = func.coalesce(
        percent >= FINISHED_PERCENT,
        cast(position, BigInteger) * 100 >= cast(anime.c.duration_seconds, BigInteger) * FINISHED_PERCENT,
        False,
        type_=Boolean,
    )
    watched = case((is_finished, episode), else_=episode - 1)
    # Of an anime that has ended or is announced with so many episodes; a number beyond it is the last one too.
    is_completed = and_(is_finished, episode >= anime.c.episode_count, _entry.status != "completed")
    is_begun = _entry.status == "plan_to_watch"
    known = func.least(watched, anime.c.episode_count)
    entry = (
        update(_entry)
        .where(
            _entry.user_id == viewer,
            _entry.anime_id == anime.c.id,
            or_(is_completed, is_begun, known > _entry.episodes_watched),
        )
        .values(
            status=case((is_completed, "completed"), (is_begun, "watching"), else_=_entry.status),
            episodes_watched=func.greatest(_entry.episodes_watched, known),
            started_on=case((is_begun, func.coalesce(_entry.started_on, TODAY)), else_=_entry.started_on),
            completed_on=case((is_completed, func.coalesce(_entry.completed_on, TODAY)), else_=_entry.completed_on),
            version=_entry.version + 1,
            updated_at=func.now(),
        )
        .returning(_entry.id)
        .cte("entry")
    )
    listed = nested("anime", [anime.c[column.key] for column in LIST_COLUMNS])
    return (
        select(*progress.c, *listed).select_from(progress.join(anime, anime.c.id == progress.c.anime_id)).add_cte(entry)
    )


POST = _post()


class WatchProgressReader(OwnListReader[WatchProgress]):
    """Reads progress, last watched first."""

    listing = Listing(WatchProgress, ROWS, *_last_watched, counted=_counted)
    changes = ChangesListing(WatchProgress, ROWS, _progress.updated_at, _progress.id)

    async def to_continue(self, user_id: UUID, request: PageRequest) -> Page[WatchProgress]:
        """Return what to continue, last watched first: neither hidden nor completed or dropped in the library."""
        return await CONTINUE.page(self.runner, {"user_id": user_id}, request)


class WatchProgressRecorder(Recorder[WatchProgress]):
    """Stores where players are."""

    kind = WatchProgress
    statement = POST
    missing = "Anime not found"

    async def post(self, user_id: UUID, new: NewProgress, idempotent: IdempotentRequest | None) -> WatchProgress:
        """Store where a player is. Raises BadRequest, NotFound; for a repeated request InvalidRequest."""
        _check(new)
        parameters = {
            "viewer": user_id,
            "watched": new.anime_id,
            "new_id": uuid7(),
            "at_episode": new.episode,
            "at_position": new.position_seconds,
            "at_percent": new.progress_percent,
        }
        return await self.record(user_id, parameters, idempotent)


class WatchProgressService(SQLAlchemyAsyncRepositoryService[models.WatchProgress]):
    """Changes watch progress otherwise than by watching."""

    class Repository(SQLAlchemyAsyncRepository[models.WatchProgress]):
        """Watch progress in the database."""

        model_type = models.WatchProgress

    repository_type = Repository

    async def hide(self, user_id: UUID, anime_id: UUID) -> None:
        """Leave an anime out of "continue watching" until it is played again."""
        session = self.repository.session
        await session.execute(
            update(_progress)
            .where(_progress.user_id == user_id, _progress.anime_id == anime_id, _progress.hidden.is_(False))
            .values(hidden=True, updated_at=func.now())
        )
        await session.commit()


def _check(new: NewProgress) -> None:
    if new.episode <= 0:
        raise BadRequest("Episode number must be positive")
    if new.position_seconds is None and new.progress_percent is None:
        raise BadRequest("Either position_seconds or progress_percent must be provided")
    if new.progress_percent is not None and not 0 <= new.progress_percent <= 100:
        raise BadRequest("Progress percent must be between 0 and 100")
    if new.position_seconds is not None and new.position_seconds < 0:
        raise BadRequest("Position in seconds must be non-negative")
