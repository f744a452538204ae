"""Episodes: the Struct on the wire, and the statement of the list."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import bindparam, select

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.errors import NotFound


class EpisodeListItem(msgspec.Struct):
    """An episode of a release."""

    id: Annotated[UUID, Meta(examples=["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5d"])]
    number: Annotated[int, Meta(examples=[1])]
    title: Annotated[str | None, Meta(examples=["Rebirth"])]


_episode = models.Episode
# The outer join distinguishes a release without episodes (a row of nulls) from an unknown release (no row).
_OF_RELEASE: Rows = (
    select(*columns_of(EpisodeListItem, _episode))
    .select_from(models.Release)
    .outerjoin(_episode, _episode.release_id == models.Release.id)
    .where(models.Release.id == bindparam("release_id"))
    .order_by(_episode.number, _episode.id)
)
_episode_of = mapper(EpisodeListItem, _OF_RELEASE)


class EpisodeReader:
    """Lists episodes."""

    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def of_release(self, release_id: UUID) -> list[EpisodeListItem]:
        """Return all episodes of a release, by number. Raises NotFound for an unknown release."""
        rows = await self._runner.rows(_OF_RELEASE, {"release_id": release_id})
        if not rows:
            raise NotFound("Release not found")
        return [_episode_of(row) for row in rows if row["id"] is not None]
