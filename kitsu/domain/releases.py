"""Releases: the shapes that go over the wire, and the catalogue's reads of them."""

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import BigInteger, Select, bindparam, func, select

from kitsu.db import models
from kitsu.db.direct import Direct
from kitsu.domain.paging import Page, PageRequest, read_page
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


@lru_cache(maxsize=2)
def _page_statement(*, of_anime: bool) -> Select[Any]:
    statement = select(*_columns(ReleaseListItem)).order_by(_release.created_at.desc(), _release.id.desc())
    if of_anime:
        statement = statement.where(_release.anime_id == bindparam("anime_id"))
    return statement.limit(bindparam("limit", type_=BigInteger)).offset(bindparam("offset", type_=BigInteger))


@lru_cache(maxsize=2)
def _count_statement(*, of_anime: bool) -> Select[Any]:
    statement = select(func.count()).select_from(_release)
    return statement.where(_release.anime_id == bindparam("anime_id")) if of_anime else statement


class ReleaseReader:
    """Reads of the catalogue's releases."""

    def __init__(self, direct: Direct) -> None:
        self._direct = direct

    async def page(self, anime_id: UUID | None, request: PageRequest) -> Page[ReleaseListItem]:
        """The releases of one anime, or of all; newest first. An unknown anime has none."""
        of_anime = anime_id is not None
        parameters = {"anime_id": anime_id} if of_anime else {}
        return await read_page(
            self._direct,
            _page_statement(of_anime=of_anime),
            _count_statement(of_anime=of_anime),
            parameters,
            request,
            lambda row: ReleaseListItem(*row),
        )

    async def detail(self, release_id: UUID) -> Release:
        """One release. Raises NotFound."""
        row = await self._direct.row(_DETAIL, {"release_id": release_id})
        if row is None:
            raise NotFound("Release not found")
        return Release(**row)
