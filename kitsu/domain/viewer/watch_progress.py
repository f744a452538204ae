"""Watch progress: how far a viewer is in each anime, and what to continue."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import ColumnElement, Integer, and_, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from kitsu.db import models
from kitsu.db.columns import MAX_INTEGER
from kitsu.domain.catalogue.anime import LIST_COLUMNS, AnimeListItem, current_id
from kitsu.domain.changes import ChangesListing
from kitsu.domain.fields import EpisodeNumber, Position, described
from kitsu.domain.mapping import Rows, columns_of, nested
from kitsu.domain.pagination import MovingListing, Page, PageRequest, descending
from kitsu.domain.viewer.library import day_of
from kitsu.domain.viewer.plays import (
    COUNT_PLAYS,
    FINISHED_PERCENT,
    WATCHED_AT,
    WatchedAt,
    check_time,
    count_play,
    is_finished,
    is_newest,
    new_play,
    report_times,
)
from kitsu.domain.viewer.rows import USER_ID, OwnListReader, Recorder, new_value, newest_first
from kitsu.errors import BadRequest

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
    next_episode: Annotated[
        int | None,
        described("The episode to play next. Null while this one is not finished, and when no later one is known.", 8),
    ]
    anime: AnimeListItem


class NewProgress(msgspec.Struct, frozen=True):
    """The position of a player, in seconds, percent or both."""

    anime_id: UUID
    episode: Annotated[EpisodeNumber, FITS_COLUMN]
    position_seconds: Annotated[Position, FITS_COLUMN] | None = None
    progress_percent: Percent | None = None
    watched_at: WatchedAt | None = None


_progress, _anime, _entry = models.WatchProgress, models.Anime, models.LibraryEntry
_episode, _release = models.Episode, models.Release


def _is_finished(place: Any, anime: Any) -> ColumnElement[bool]:
    return is_finished(place.progress_percent, place.position_seconds, anime.duration_seconds)


def _next_episode(place: Any, anime: Any) -> Any:
    """Return the expression for the episode after a finished one: by the anime's count, else by the known episodes."""
    known = (
        select(func.min(_episode.number))
        .join(_release, _release.id == _episode.release_id)
        .where(_release.anime_id == anime.id, _episode.number > place.episode, anime.episode_count.is_(None))
    ).scalar_subquery()
    following = case((place.episode < anime.episode_count, place.episode + 1), else_=known)
    return case((_is_finished(place, anime), following)).label("next_episode")


_COLUMNS = columns_of(WatchProgress, _progress, next_episode=_next_episode(_progress, _anime))
_ITEM = nested("anime", LIST_COLUMNS)
ROWS: Rows = select(*_COLUMNS, *_ITEM).join(_anime, _anime.id == _progress.anime_id).where(_progress.user_id == USER_ID)
_is_ended = and_(
    _is_finished(_progress, _anime), _progress.episode >= func.coalesce(_anime.episode_count, _progress.episode + 1)
)
# Watched before the viewer, or an earlier report, ended the anime in the library.
_is_left = and_(
    _entry.user_id == USER_ID,
    _entry.anime_id == _progress.anime_id,
    or_(_entry.status == "completed", _entry.status == "dropped"),
    _entry.status_set_at >= _progress.last_watched_at,
)
_CONTINUED = ROWS.outerjoin(_entry, _is_left).where(_progress.hidden.is_(False), ~_is_ended, _entry.user_id.is_(None))
CONTINUE = MovingListing(
    WatchProgress,
    _CONTINUED,
    descending(_progress.last_watched_at),
    descending(_progress.id),
    counted=_CONTINUED.with_only_columns(_progress.id),
)


def _post(*, may_finish: bool = True, counts: bool = True) -> Rows:
    """Return the statement that stores a place; with what a finished episode has as effects, or not.

    Without `counts` the caller counts the plays.
    """
    user_id, episode = new_value(_progress.user_id), new_value(_progress.episode)
    position, percent = new_value(_progress.position_seconds), new_value(_progress.progress_percent)
    is_wanted = _anime.id == current_id(new_value(_progress.anime_id))
    columns = [_anime.id.label("anime_id"), *LIST_COLUMNS, _anime.duration_seconds, *report_times()]
    if may_finish:
        columns.append(day_of(WATCHED_AT, user_id).label("day"))
    wanted = select(*columns).where(is_wanted).cte("wanted")
    anime = wanted.c

    names = ["id", "user_id", "anime_id", "episode", "position_seconds", "progress_percent", "last_watched_at"]
    values = select(new_value(_progress.id), user_id, anime.id, episode, position, percent, anime.watched_at, anime.now)
    new = insert(_progress).from_select([*names, "updated_at"], values)
    sent = new.excluded
    is_newer = is_newest(sent.last_watched_at, _progress.last_watched_at)
    progress = (
        new.on_conflict_do_update(
            index_elements=[_progress.user_id, _progress.anime_id],
            set_={name: case((is_newer, sent[name]), else_=getattr(_progress, name)) for name in names[3:6]}
            | {
                "last_watched_at": func.greatest(sent.last_watched_at, _progress.last_watched_at),
                "updated_at": case((is_newer, sent.updated_at), else_=_progress.updated_at),
                "hidden": and_(_progress.hidden, sent.last_watched_at <= _progress.updated_at),
            },
        )
        .returning(_progress)
        .cte("progress")
    )

    place = progress.c
    columns = [
        _next_episode(place, anime) if column.key == "next_episode" else place[column.key] for column in _COLUMNS
    ]
    listed = nested("anime", [anime[column.key] for column in LIST_COLUMNS])
    stored = select(*columns, *listed).join_from(progress, wanted, anime.anime_id == place.anime_id)
    if not may_finish:
        return stored

    finished = is_finished(percent, position, anime.duration_seconds)
    # An episode number above the anime's count is taken for the last episode.
    number = func.least(episode, anime.episode_count, type_=Integer)
    before = aliased(_progress)

    def begun_again(play: Any) -> Any:
        place = (before.user_id == user_id, before.anime_id == anime.id, before.episode == episode)
        since = (before.last_watched_at > play.watched_at, before.last_watched_at <= anime.watched_at)
        again = select(before.id).where(*place, *since, ~_is_finished(before, anime))
        return again.correlate_except(before).exists()

    play = new_play(user_id, wanted, number, finished, begun_again)

    is_last = episode >= anime.episode_count
    # What the viewer chose after a report was made stays.
    is_news = _entry.status_set_at < anime.watched_at
    is_open = and_(or_(_entry.status == "watching", _entry.status == "plan_to_watch"), ~_entry.is_rewatching)
    completes = and_(is_last, _entry.status != "completed", or_(is_news, is_open))
    ends_rewatch = and_(is_last, _entry.is_rewatching, is_news)
    begins = _entry.status == "plan_to_watch"
    raises = and_(
        number > _entry.episodes_watched,
        or_(_entry.episodes_set_at.is_(None), _entry.episodes_set_at < anime.watched_at),
    )
    entry = (
        update(_entry)
        .where(
            finished,
            _entry.user_id == user_id,
            _entry.anime_id == anime.id,
            or_(completes, ends_rewatch, begins, raises),
        )
        .values(
            status=case((or_(completes, ends_rewatch), "completed"), (begins, "watching"), else_=_entry.status),
            episodes_watched=case((raises, number), else_=_entry.episodes_watched),
            started_on=case((begins, func.coalesce(_entry.started_on, anime.day)), else_=_entry.started_on),
            completed_on=case((completes, func.coalesce(_entry.completed_on, anime.day)), else_=_entry.completed_on),
            times_rewatched=case((ends_rewatch, _entry.times_rewatched + 1), else_=_entry.times_rewatched),
            is_rewatching=and_(_entry.is_rewatching, ~ends_rewatch),
            version=_entry.version + 1,
            updated_at=anime.now,
        )
        .returning(_entry.id)
        .cte("entry")
    )
    return stored.add_cte(play, entry, *([count_play(play)] if counts else []))


POST = _post()
_POST_UNFINISHED = _post(may_finish=False)  # of most reports, in less time
_POST_UNCOUNTED = _post(counts=False)


class WatchProgressReader(OwnListReader[WatchProgress]):
    listing = newest_first(WatchProgress, ROWS, _progress.last_watched_at, moves=True)
    changes = ChangesListing(WatchProgress, ROWS, _progress.updated_at)

    async def to_continue(self, user_id: UUID, request: PageRequest) -> Page[WatchProgress]:
        return await CONTINUE.page(self.runner, {"user_id": user_id}, request)


class WatchProgressRecorder(Recorder[NewProgress, WatchProgress]):
    kind = WatchProgress
    statement = POST
    missing = "Anime not found"

    def statement_of(self, new: NewProgress) -> Rows:
        percent = new.progress_percent
        return POST if percent is None or percent >= FINISHED_PERCENT else _POST_UNFINISHED

    async def record_uncounted(
        self, connection: AsyncConnection, user_id: UUID, new: NewProgress
    ) -> tuple[WatchProgress, UUID]:
        """Store a place, for a caller that counts the plays at the end of its transaction. Raises NotFound.

        Return also the id of its play, which was stored if the episode is finished.
        """
        statement, parameters = self.statement_of(new), self.parameters(user_id, new)
        if statement is POST:
            statement = _POST_UNCOUNTED
        return self.found((await connection.execute(statement, parameters)).first()), parameters["new_play_id"]

    async def count_plays(self, connection: AsyncConnection, user_id: UUID, play_ids: list[UUID]) -> None:
        """Count those of the plays that were stored. Called after all other statements that lock rows of the viewer.

        A report of another device locks its row first and the count last: in another order they wait for each other.
        """
        parameters = {"user_id": user_id, "play_ids": play_ids, "new_most_plays": self.limits.plays}
        await connection.execute(COUNT_PLAYS, parameters)

    def check(self, new: NewProgress) -> None:
        if new.episode <= 0:
            raise BadRequest("Episode number must be positive")
        if new.position_seconds is None and new.progress_percent is None:
            raise BadRequest("Either position_seconds or progress_percent must be provided")
        if new.progress_percent is not None and not 0 <= new.progress_percent <= 100:
            raise BadRequest("Progress percent must be between 0 and 100")
        if new.position_seconds is not None and new.position_seconds < 0:
            raise BadRequest("Position in seconds must be non-negative")
        check_time(new.watched_at)


class WatchProgressService(SQLAlchemyAsyncRepositoryService[models.WatchProgress]):
    class Repository(SQLAlchemyAsyncRepository[models.WatchProgress]):
        model_type = models.WatchProgress

    repository_type = Repository

    async def remove(self, user_id: UUID, anime_id: UUID) -> None:
        """Remove the place in an anime, if there is one."""
        wanted = (_progress.user_id == user_id, _progress.anime_id == current_id(anime_id))
        await self.delete_where(*wanted, sanity_check=False, auto_commit=True)

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
