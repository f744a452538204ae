"""Releases: the shapes that go over the wire, and the catalogue's reads of them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import bindparam, func, select

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.errors import NotFound


class ReleaseListItem(msgspec.Struct):
    """A release as it stands in a list."""

    id: Annotated[UUID, Meta(examples=["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5c"])]
    anime_id: Annotated[UUID, Meta(examples=["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"])]
    title: Annotated[str, Meta(examples=["Death Note"])]
    year: Annotated[int | None, Meta(examples=[2006])]
    status: Annotated[str | None, Meta(examples=["FINISHED"])]
    episode_count: Annotated[int, Meta(description="how many episodes it has in the catalogue", examples=[37])]


class Release(ReleaseListItem):
    """A release."""

    created_at: datetime


_release = models.Release
_episode_count = (
    select(func.count()).where(models.Episode.release_id == _release.id).correlate(_release).scalar_subquery()
)


def _columns(shape: type[ReleaseListItem]) -> tuple[Any, ...]:
    return tuple(
        _episode_count.label(name) if name == "episode_count" else getattr(_release, name)
        for name in shape.__struct_fields__
    )


_DETAIL = select(*_columns(Release)).where(_release.id == bindparam("release_id"))


_newest = (descending(_release.created_at), descending(_release.id))
_rows, _counted = select(*_columns(ReleaseListItem)), select(_release.id)
_of_anime = _release.anime_id == bindparam("anime_id")
_LISTING = Listing(_rows, *_newest, counted=_counted)
_LISTING_OF_ANIME = Listing(_rows.where(_of_anime), *_newest, counted=_counted.where(_of_anime))


class ReleaseReader:
    """Reads of the catalogue's releases."""

    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(self, anime_id: UUID | None, request: PageRequest) -> Page[ReleaseListItem]:
        """The releases of one anime, or of all; newest first. An unknown anime has none."""
        listing, of = (_LISTING, {}) if anime_id is None else (_LISTING_OF_ANIME, {"anime_id": anime_id})
        return await listing.page(self._runner, of, request, lambda row: ReleaseListItem(*row))

    async def detail(self, release_id: UUID) -> Release:
        """One release. Raises NotFound."""
        row = await self._runner.row(_DETAIL, {"release_id": release_id})
        if row is None:
            raise NotFound("Release not found")
        return Release(**row)
