"""Plays: each time that a viewer watched an episode to its end."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Integer,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import aliased

from kitsu.db import models
from kitsu.db.statements import StatementReader
from kitsu.domain.catalogue.anime import AnimeListItem
from kitsu.domain.fields import EpisodeNumber, described
from kitsu.domain.pagination import Page, PageRequest
from kitsu.domain.viewer.rows import USER_ID, newest_first, rows_with_anime
from kitsu.errors import BadRequest, NotFound

FINISHED_PERCENT = 90  # an episode counts as watched from here on: few watch the credits
SAME_PLAY = text("interval '6 hours'")
"""Reports of one episode within this time are of one play, unless it was begun again in between."""
CLOCK_SKEW = timedelta(minutes=1)  # by which a device's clock may be fast

WatchedAt = Annotated[
    datetime,
    Meta(tz=True),
    described("When it was watched; now by default. For reports that come late, from a device that was offline."),
]


class Play(msgspec.Struct):
    """An episode that the viewer watched to its end."""

    id: UUID
    anime_id: UUID
    episode: EpisodeNumber
    watched_at: Annotated[datetime, described("When it was watched.")]
    anime: AnimeListItem


_play, _count = models.Play, models.PlayCount
ROWS = rows_with_anime(Play, _play)

_given_time: Any = bindparam("new_watched_at", type_=DateTime(timezone=True))
WATCHED_AT: Any = func.least(func.coalesce(_given_time, func.now()), func.now(), type_=DateTime(timezone=True))
"""The time of a report, which the parameter `new_watched_at` gives."""


def report_times() -> tuple[ColumnElement[datetime], ColumnElement[datetime]]:
    """Return the columns `watched_at` and `now` of the CTE that begins the statement of a report.

    The rest of the statement refers to them: Citus refuses functions of the time in DO UPDATE and CASE.
    """
    return WATCHED_AT.label("watched_at"), func.now().label("now")


def check_time(watched_at: datetime | None) -> None:
    """Raise BadRequest for a time in the future."""
    if watched_at is not None and watched_at > datetime.now(UTC) + CLOCK_SKEW:
        raise BadRequest("watched_at must not be in the future")


def is_newest(watched_at: Any, stored: Any) -> ColumnElement[bool]:
    """Return whether a report is not older than what is stored. One without a time is always from now."""
    return or_(_given_time.is_(None), watched_at >= stored)


def is_finished(percent: Any, position: Any, duration: Any) -> ColumnElement[bool]:
    """Return whether a place in an episode is its end, by percent or else by seconds. False for an unknown duration."""
    return func.coalesce(
        percent >= FINISHED_PERCENT,
        cast(position, BigInteger) * 100 >= cast(duration, BigInteger) * FINISHED_PERCENT,
        False,
        type_=Boolean,
    )


def new_play(
    user_id: Any, anime: CTE, episode: Any, finished: ColumnElement[bool], begun_again: Callable[[Any], Any]
) -> CTE:
    """Return what inserts a play when an episode of the one row of `anime` is finished, for a statement of a report.

    `anime` has the columns `anime_id` and `watched_at`.

    `begun_again` gets an earlier play, and returns whether the viewer began the episode again after it.
    """
    earlier = aliased(_play)
    is_same = (
        select(earlier.id)
        .where(
            earlier.anime_id == anime.c.anime_id,
            earlier.user_id == user_id,
            earlier.episode == episode,
            earlier.watched_at > anime.c.watched_at - SAME_PLAY,
            earlier.watched_at < anime.c.watched_at + SAME_PLAY,
            ~begun_again(earlier),
        )
        .exists()
    )
    values = select(
        bindparam("new_play_id", type_=Uuid), user_id, anime.c.anime_id, cast(episode, Integer), anime.c.watched_at
    ).where(finished, ~is_same)
    names = ["id", "user_id", "anime_id", "episode", "watched_at"]
    return insert(_play).from_select(names, values).returning(_play.user_id).cte("play")


def count_play(play: CTE) -> CTE:
    """Return what counts the play that `new_play` inserts. It violates a constraint for one more than allowed."""
    return _counted(select(play.c.user_id, literal(1), _MOST)).returning(_count.plays).cte("counted")


def _counted(plays: Any) -> Insert:
    new = insert(_count).from_select(["user_id", "plays", "most"], plays)
    added = {"plays": _count.plays + new.excluded.plays, "most": new.excluded.most}
    return new.on_conflict_do_update(index_elements=[_count.user_id], set_=added)


_MOST = bindparam("new_most_plays", type_=Integer)
_is_listed = and_(_play.user_id == USER_ID, _play.id == any_(bindparam("play_ids", type_=ARRAY(Uuid))))
COUNT_PLAYS = _counted(select(_play.user_id, func.count(), _MOST).where(_is_listed).group_by(_play.user_id))
"""Counts those of the plays `play_ids` that were inserted. It violates a constraint for more than allowed."""


class PlayReader:
    _listing = newest_first(Play, ROWS, _play.watched_at)

    def __init__(self, runner: StatementReader) -> None:
        self._runner = runner

    async def page(self, user_id: UUID, request: PageRequest) -> Page[Play]:
        """Return a page of a viewer's plays, newest first."""
        return await self._listing.page(self._runner, {"user_id": user_id}, request)


class PlayService(SQLAlchemyAsyncRepositoryService[models.Play]):
    class Repository(SQLAlchemyAsyncRepository[models.Play]):
        model_type = models.Play

    repository_type = Repository

    async def remove(self, user_id: UUID, play_id: UUID) -> None:
        """Remove a play. Raises NotFound."""
        wanted = (_play.user_id == user_id, _play.id == play_id)
        if not await self.delete_where(*wanted, sanity_check=False, auto_commit=True):
            raise NotFound("Play not found")

    async def clear(self, user_id: UUID) -> None:
        """Remove all plays of the user."""
        session = self.repository.session
        await session.execute(delete(_play).where(_play.user_id == user_id))  # delete_where would load them
        await session.commit()
