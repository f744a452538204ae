"""Watch progress: how far a viewer is in each anime, and what to continue."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import BigInteger, Boolean, and_, case, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kitsu.db import models
from kitsu.db.columns import MAX_INTEGER
from kitsu.domain.catalogue.anime import LIST_COLUMNS, AnimeListItem, current_id
from kitsu.domain.changes import ChangesListing
from kitsu.domain.fields import EpisodeNumber, Position, described
from kitsu.domain.idempotency import IdempotentRequest
from kitsu.domain.mapping import Rows, columns_of, nested
from kitsu.domain.pagination import Page, PageRequest
from kitsu.domain.viewer.library import TODAY
from kitsu.domain.viewer.rows import OwnListReader, Recorder, new_value, newest_first, rows_with_anime
from kitsu.errors import BadRequest

FINISHED_PERCENT = 90  # an episode counts as watched from here on: few watch the credits
FITS_COLUMN = Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)
Percent = Annotated[float, described("The watched part of the episode, 0 to 100.", 30.5)]


class WatchProgress(msgspec.Struct):
    """How far the viewer is in an anime."""

    id: UUID
    anime_id: UUID
    episode: EpisodeNumber
    position_seconds: Position | None
    progress_percent: Percent | None
    created_at: Annotated[datetime, described("When the first episode was played.")]
    last_watched_at: Annotated[datetime, described("When the anime was last played.")]
    updated_at: Annotated[datetime, described("When it last changed, by playing or otherwise.")]
    hidden: Annotated[bool, described("Whether continue watching leaves the anime out until it is played again.")]
    anime: AnimeListItem


class NewProgress(msgspec.Struct, frozen=True):
    """The position of a player, in seconds, percent or both."""

    anime_id: UUID
    episode: Annotated[EpisodeNumber, FITS_COLUMN]
    position_seconds: Annotated[Position, FITS_COLUMN] | None = None
    progress_percent: Percent | None = None


_progress, _anime, _entry = models.WatchProgress, models.Anime, models.LibraryEntry
_COLUMNS = columns_of(WatchProgress, _progress)

ROWS = rows_with_anime(WatchProgress, _progress)
# What is neither hidden nor completed or dropped in the library.
CONTINUE = newest_first(
    WatchProgress,
    ROWS,
    _progress.last_watched_at,
    _progress.hidden.is_(False),
    ~select(_entry.id)
    .where(
        _entry.user_id == _progress.user_id,
        _entry.anime_id == _progress.anime_id,
        or_(_entry.status == "completed", _entry.status == "dropped"),
    )
    .exists(),
)


def _post() -> Rows:
    """Return the statement that stores progress and updates the library entry of the anime."""
    user_id, episode = new_value(_progress.user_id), new_value(_progress.episode)
    position, percent = new_value(_progress.position_seconds), new_value(_progress.progress_percent)
    is_wanted = _anime.id == current_id(new_value(_progress.anime_id))
    anime = select(*LIST_COLUMNS, _anime.duration_seconds).where(is_wanted).cte("wanted")

    names = ["id", "user_id", "anime_id", "episode", "position_seconds", "progress_percent"]
    values = select(new_value(_progress.id), user_id, anime.c.id, episode, position, percent)
    new = insert(_progress).from_select(names, values)
    progress = (
        new.on_conflict_do_update(
            index_elements=[_progress.user_id, _progress.anime_id],
            set_={name: new.excluded[name] for name in names[3:]}
            | {"last_watched_at": func.now(), "updated_at": func.now(), "hidden": False},
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
    # An episode number above the anime's count is taken for the last episode.
    is_completed = and_(is_finished, episode >= anime.c.episode_count, _entry.status != "completed")
    is_begun = _entry.status == "plan_to_watch"
    known = func.least(watched, anime.c.episode_count)
    entry = (
        update(_entry)
        .where(
            _entry.user_id == user_id,
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
    return select(*progress.c, *listed).join_from(progress, anime, anime.c.id == progress.c.anime_id).add_cte(entry)


POST = _post()


class WatchProgressReader(OwnListReader[WatchProgress]):
    listing = newest_first(WatchProgress, ROWS, _progress.last_watched_at)
    changes = ChangesListing(WatchProgress, ROWS, _progress.updated_at)

    async def to_continue(self, user_id: UUID, request: PageRequest) -> Page[WatchProgress]:
        return await CONTINUE.page(self.runner, {"user_id": user_id}, request)


class WatchProgressRecorder(Recorder[NewProgress, WatchProgress]):
    kind = WatchProgress
    statement = POST
    missing = "Anime not found"

    async def record(self, user_id: UUID, new: NewProgress, idempotent: IdempotentRequest | None) -> WatchProgress:
        """Store a position. Raises BadRequest, NotFound; for a repeated request InvalidRequest."""
        if new.episode <= 0:
            raise BadRequest("Episode number must be positive")
        if new.position_seconds is None and new.progress_percent is None:
            raise BadRequest("Either position_seconds or progress_percent must be provided")
        if new.progress_percent is not None and not 0 <= new.progress_percent <= 100:
            raise BadRequest("Progress percent must be between 0 and 100")
        if new.position_seconds is not None and new.position_seconds < 0:
            raise BadRequest("Position in seconds must be non-negative")
        return await super().record(user_id, new, idempotent)


class WatchProgressService(SQLAlchemyAsyncRepositoryService[models.WatchProgress]):
    class Repository(SQLAlchemyAsyncRepository[models.WatchProgress]):
        model_type = models.WatchProgress

    repository_type = Repository

    async def hide(self, user_id: UUID, anime_id: UUID) -> None:
        """Leave an anime out of "continue watching" until it is played again."""
        session = self.repository.session
        await session.execute(
            update(_progress)
            .where(
                _progress.user_id == user_id, _progress.anime_id == current_id(anime_id), _progress.hidden.is_(False)
            )
            .values(hidden=True, updated_at=func.now())
        )
        await session.commit()
