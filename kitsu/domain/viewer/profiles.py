"""Public profiles: what everyone may see of viewers who allow it."""

from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from sqlalchemy import String, bindparam

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.users import UserReader
from kitsu.domain.catalogue.anime import AnimeListItem
from kitsu.domain.fields import described
from kitsu.domain.pagination import Page, PageRequest
from kitsu.domain.viewer.library import Day, IsRewatching, Score, Status, Times, Watched
from kitsu.domain.viewer.rows import newest_first, rows_with_anime
from kitsu.domain.viewer.statistics import Episodes, MeanScore, Minutes, StatisticsReader, StatusCounts


class Profile(msgspec.Struct):
    """A viewer who has a public profile."""

    username: Annotated[str, described("The public name.", "kaguya")]
    avatar_url: Annotated[
        str | None, described("The picture.", "https://api.example.org/media/avatars/5f0c6a7be1d24d0f.webp")
    ]
    member_since: Annotated[date, described("The day on which the account was created, in UTC.", "2026-04-12")]
    statuses: StatusCounts
    episodes: Episodes
    minutes: Minutes
    mean_score: MeanScore


class ProfileEntry(msgspec.Struct):
    """An anime in a viewer's public library."""

    status: Status
    score: Score | None
    episodes_watched: Watched
    started_on: Day | None
    completed_on: Day | None
    times_rewatched: Times
    is_rewatching: IsRewatching
    updated_at: Annotated[datetime, described("When it was last changed.")]
    anime: AnimeListItem


_entry = models.LibraryEntry
_status: Any = bindparam("status", type_=String)
_ROWS = rows_with_anime(ProfileEntry, _entry)
_LIBRARY = newest_first(ProfileEntry, _ROWS, _entry.updated_at, moves=True)
_OF_STATUS = newest_first(ProfileEntry, _ROWS, _entry.updated_at, _entry.status == _status, moves=True)


class ProfileReader:
    def __init__(self, runner: StatementRunner, users: UserReader, statistics: StatisticsReader) -> None:
        self._runner = runner
        self._users = users
        self._statistics = statistics

    async def detail(self, username: str) -> Profile:
        """Return a public profile. Raises NotFound."""
        user = await self._users.public(username)
        totals = await self._statistics.totals(user.id)
        return Profile(
            username=user.username,
            avatar_url=user.avatar_url,
            member_since=user.created_at.date(),
            statuses=totals.statuses,
            episodes=totals.episodes,
            minutes=totals.minutes,
            mean_score=totals.mean_score,
        )

    async def library(self, username: str, status: Status | None, request: PageRequest) -> Page[ProfileEntry]:
        """Return a page of a public library, or of its entries of a status, last changed first. Raises NotFound."""
        user = await self._users.public(username)
        listing = _LIBRARY if status is None else _OF_STATUS
        return await listing.page(self._runner, {"user_id": user.id, "status": status}, request)
