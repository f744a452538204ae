"""Releases and their episodes: the Structs on the wire, and their statements."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import ColumnElement, Uuid, bindparam, func, select

from kitsu.db import models
from kitsu.db.statements import StatementReader
from kitsu.domain.catalogue.anime import Status, Year, current_id
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.errors import NotFound


class ReleaseListItem(msgspec.Struct):
    """A release of an anime, in a list. It has episodes."""

    id: Annotated[UUID, Meta(examples=["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5c"])]
    anime_id: Annotated[UUID, Meta(examples=["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"])]
    title: Annotated[str, described("The title of the release.", "Death Note")]
    year: Year | None
    status: Status | None
    episode_count: Annotated[int, described("The number of its episodes in the catalogue.", 37)]


class Release(ReleaseListItem):
    """A release of an anime. It has episodes."""

    created_at: Annotated[datetime, described("When the release was added.")]


class EpisodeListItem(msgspec.Struct):
    """An episode of a release."""

    id: Annotated[UUID, Meta(examples=["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5d"])]
    number: Annotated[int, described("The number in the release, from 1.", 1)]
    title: Annotated[str | None, described("The title of the episode.", "Rebirth")]
    airs_at: Annotated[datetime | None, described("When it is or was first shown.")]


_release, _episode = models.Release, models.Episode
_episode_count = select(func.count()).where(_episode.release_id == _release.id).correlate(_release).scalar_subquery()
_is_wanted = _release.id == bindparam("release_id")
DETAIL: Rows = select(*columns_of(Release, _release, episode_count=_episode_count)).where(_is_wanted)
detail_of = mapper(Release, DETAIL)
# The outer join distinguishes a release without episodes (a row of nulls) from an unknown release (no row).
_EPISODES: Rows = (
    select(*columns_of(EpisodeListItem, _episode))
    .select_from(_release)
    .outerjoin(_episode, _episode.release_id == _release.id)
    .where(_is_wanted)
    .order_by(_episode.number)
)
_episode_of = mapper(EpisodeListItem, _EPISODES)


def _listing(*where: ColumnElement[bool]) -> Listing[ReleaseListItem]:
    rows = select(*columns_of(ReleaseListItem, _release, episode_count=_episode_count)).where(*where)
    newest = (descending(_release.created_at), descending(_release.id))
    return Listing(ReleaseListItem, rows, *newest, counted=select(_release.id).where(*where))


_ALL = _listing()
_OF_ANIME = _listing(_release.anime_id == current_id(bindparam("anime_id", type_=Uuid)))


class ReleaseReader:
    def __init__(self, runner: StatementReader) -> None:
        self._runner = runner

    async def page(self, anime_id: UUID | None, request: PageRequest) -> Page[ReleaseListItem]:
        """Return the releases of one anime or of all, newest first; of an unknown anime an empty page."""
        if anime_id is None:
            return await _ALL.page(self._runner, {}, request)
        return await _OF_ANIME.page(self._runner, {"anime_id": anime_id}, request)

    async def detail(self, release_id: UUID) -> Release:
        """Return one release. Raises NotFound."""
        row = await self._runner.row(DETAIL, {"release_id": release_id})
        if row is None:
            raise NotFound("Release not found")
        return detail_of(row)

    async def episodes(self, release_id: UUID) -> list[EpisodeListItem]:
        """Return all episodes of a release, by number. Raises NotFound for an unknown release."""
        rows = await self._runner.rows(_EPISODES, {"release_id": release_id})
        if not rows:
            raise NotFound("Release not found")
        return [_episode_of(row) for row in rows if row["id"] is not None]
