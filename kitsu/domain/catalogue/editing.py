"""Editing the catalogue: anime, releases and episodes are created, updated and deleted.

A change and its record in `catalogue_changes` are one transaction: triggers write the record.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from sqlalchemy import ARRAY, ColumnElement, Integer, Uuid, bindparam, delete, func, insert, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.db.engine import execute_core
from kitsu.domain.catalogue import anime, releases
from kitsu.domain.catalogue.constraints import catalogue_constraints
from kitsu.domain.catalogue.edits import (
    AnimeChange,
    Deletion,
    EpisodeChange,
    NewAnime,
    NewEpisode,
    NewRelease,
    ReleaseChange,
)
from kitsu.domain.mapping import given
from kitsu.domain.versions import Expected
from kitsu.errors import NotFound

_anime, _release, _episode, _external = models.Anime, models.Release, models.Episode, models.ExternalId
_OF_ANIME: tuple[Any, ...] = (models.Favorite, models.WatchProgress, models.LibraryEntry, models.CollectionItem)
"""The tables of viewers whose rows go with their anime."""
# One statement, as 20,000 rows of parameters take longer than a request may.
_ADD_EPISODES = insert(_episode).from_select(
    ["id", "release_id", "number"],
    select(
        func.unnest(bindparam("ids", type_=ARRAY(Uuid))),
        bindparam("release", type_=Uuid),
        func.generate_series(1, bindparam("last", type_=Integer)),
    ),
    include_defaults=False,
)


async def edit_as(session: AsyncSession, editor_id: UUID, source: str = "edit") -> None:
    """Tell the triggers of this transaction who makes its changes."""
    settings = {"kitsu.change_source": source, "kitsu.changed_by": str(editor_id)}
    await session.execute(select(*(func.set_config(name, value, true()) for name, value in settings.items())))


async def add_episodes(session: AsyncSession, release_id: UUID, count: int) -> None:
    """Create so many episodes of a release, numbered from 1."""
    if count:
        parameters = {"ids": [uuid7() for _ in range(count)], "release": release_id, "last": count}
        await execute_core(session, _ADD_EPISODES, parameters)


class AnimeService(SQLAlchemyAsyncRepositoryService[models.Anime]):
    class Repository(SQLAlchemyAsyncRepository[models.Anime]):
        model_type = models.Anime

    repository_type = Repository

    async def add(self, editor_id: UUID, new: NewAnime, new_id: UUID | None = None) -> anime.Anime:
        """Create an anime. Raises Conflict for an external id of another anime, and for an id that was used."""
        session = self.repository.session
        await edit_as(session, editor_id)
        values = _tidied(msgspec.structs.asdict(new))
        external_ids = values.pop("external_ids")
        with catalogue_constraints():
            row = await self.create(_anime(id=new_id or uuid7(), **values), auto_refresh=False)
        await self._set_external_ids(row.id, external_ids)
        return await self._committed(row.id)

    async def change(
        self, editor_id: UUID, anime_id: UUID, change: AnimeChange, expected: Expected | None
    ) -> anime.Anime:
        """Update an anime. Raises NotFound, PreconditionFailed; Conflict as `add`."""
        session = self.repository.session
        await edit_as(session, editor_id)
        row = await self._locked(anime_id, expected)
        values = _tidied(given(change))
        external_ids = values.pop("external_ids", {})
        for name, value in values.items():
            setattr(row, name, value)
        if external_ids:
            await self._set_external_ids(row.id, external_ids)
            row.updated_at = func.now()
        await session.flush()
        return await self._committed(row.id)

    async def remove(
        self, editor_id: UUID, anime_id: UUID, expected: Expected | None, *, dry_run: bool = False
    ) -> Deletion:
        """Delete an anime with its releases and episodes, and all that viewers keep of it. Raises as `change`."""
        session = self.repository.session
        await edit_as(session, editor_id)
        if (await self._locked(anime_id, expected)).id != anime_id:
            raise NotFound("Anime was merged into another one")
        report = await _deletion(session, _release.anime_id == anime_id)
        for model in _OF_ANIME:
            count = await session.scalar(select(func.count()).where(model.anime_id == anime_id))
            setattr(report, model.__tablename__, count)
        if dry_run:
            return report
        # In this order: a record names the anime of an episode by its release.
        await _delete_releases(session, _release.anime_id == anime_id)
        await session.execute(delete(_external).where(_external.anime_id == anime_id))
        await self.delete(anime_id, auto_commit=True)
        return report

    async def _locked(self, anime_id: UUID, expected: Expected | None) -> models.Anime:
        """Lock an anime, for a merged one what it has become."""
        row = await self.get_one_or_none(id=anime_id, with_for_update=True)
        if row is None:
            became = await self.repository.session.scalar(select(anime.current_id(anime_id)))
            row = await self.get_one_or_none(id=became, with_for_update=True)
        if row is None:
            raise NotFound("Anime not found")
        if expected is not None:
            expected.check_content(await self._detail(row.id))
        return row

    async def _set_external_ids(self, anime_id: UUID, external_ids: Mapping[str, str | None]) -> None:
        session = self.repository.session
        own = select(_external.provider, _external.external_id).where(_external.anime_id == anime_id)
        known = {(provider, value) for provider, value in await session.execute(own)}
        for provider, value in external_ids.items():
            if (provider, value) in known:
                continue
            of_provider = (_external.anime_id == anime_id, _external.provider == provider)
            await session.execute(delete(_external).where(*of_provider))
            if value is not None:
                with catalogue_constraints():
                    new = {"provider": provider, "external_id": value, "anime_id": anime_id}
                    await execute_core(session, insert(_external).values(new))

    async def _detail(self, anime_id: UUID) -> anime.Anime:
        return anime.detail_of((await self.repository.session.execute(anime.DETAILS, {"anime_ids": [anime_id]})).one())

    async def _committed(self, anime_id: UUID) -> anime.Anime:
        detail = await self._detail(anime_id)
        await self.repository.session.commit()
        return detail


class ReleaseService(SQLAlchemyAsyncRepositoryService[models.Release]):
    class Repository(SQLAlchemyAsyncRepository[models.Release]):
        model_type = models.Release

    repository_type = Repository

    async def add(self, editor_id: UUID, new: NewRelease, new_id: UUID | None = None) -> releases.Release:
        """Create a release, with its first episodes. Raises NotFound for an unknown anime, Conflict for a used id."""
        session = self.repository.session
        await edit_as(session, editor_id)
        values = _tidied(msgspec.structs.asdict(new))
        count = values.pop("episode_count")
        values["anime_id"] = await session.scalar(select(anime.current_id(new.anime_id)))
        with catalogue_constraints():
            row = await self.create(_release(id=new_id or uuid7(), **values), auto_refresh=False)
        await add_episodes(session, row.id, count)
        return await self._committed(row.id)

    async def change(
        self, editor_id: UUID, release_id: UUID, change: ReleaseChange, expected: Expected | None
    ) -> releases.Release:
        """Update a release. Raises NotFound, PreconditionFailed."""
        await edit_as(self.repository.session, editor_id)
        row = await self._locked(release_id, expected)
        for name, value in _tidied(given(change)).items():
            setattr(row, name, value)
        await self.repository.session.flush()
        return await self._committed(release_id)

    async def remove(
        self, editor_id: UUID, release_id: UUID, expected: Expected | None, *, dry_run: bool = False
    ) -> Deletion:
        """Delete a release with its episodes and their views. Raises as `change`."""
        session = self.repository.session
        await edit_as(session, editor_id)
        await self._locked(release_id, expected)
        report = await _deletion(session, _release.id == release_id)
        if not dry_run:
            await _delete_releases(session, _release.id == release_id)
            await session.commit()
        return report

    async def _locked(self, release_id: UUID, expected: Expected | None) -> models.Release:
        row = await self.get_one_or_none(id=release_id, with_for_update=True)
        if row is None:
            raise NotFound("Release not found")
        if expected is not None:
            expected.check_content(await self._detail(release_id))
        return row

    async def _detail(self, release_id: UUID) -> releases.Release:
        rows = await self.repository.session.execute(releases.DETAIL, {"release_id": release_id})
        return releases.detail_of(rows.one())

    async def _committed(self, release_id: UUID) -> releases.Release:
        detail = await self._detail(release_id)
        await self.repository.session.commit()
        return detail


class EpisodeService(SQLAlchemyAsyncRepositoryService[models.Episode]):
    class Repository(SQLAlchemyAsyncRepository[models.Episode]):
        model_type = models.Episode

    repository_type = Repository

    async def add(self, editor_id: UUID, new: NewEpisode) -> releases.EpisodeListItem:
        """Create an episode. Raises NotFound for an unknown release, Conflict for a number that the release has."""
        await edit_as(self.repository.session, editor_id)
        with catalogue_constraints():
            row = await self.create(_episode(**_tidied(msgspec.structs.asdict(new))), auto_refresh=False)
        return await self._committed(row)

    async def change(
        self, editor_id: UUID, episode_id: UUID, change: EpisodeChange, expected: Expected | None
    ) -> releases.EpisodeListItem:
        """Update an episode. Raises NotFound, PreconditionFailed; Conflict as `add`."""
        await edit_as(self.repository.session, editor_id)
        row = await self._locked(episode_id, expected)
        for name, value in _tidied(given(change)).items():
            setattr(row, name, value)
        with catalogue_constraints():
            await self.repository.session.flush()
        return await self._committed(row)

    async def remove(
        self, editor_id: UUID, episode_id: UUID, expected: Expected | None, *, dry_run: bool = False
    ) -> Deletion:
        """Delete an episode and its views. Raises as `change`."""
        session = self.repository.session
        await edit_as(session, editor_id)
        await self._locked(episode_id, expected)
        views = await session.scalar(select(func.count()).where(models.View.episode_id == episode_id))
        if not dry_run:
            await self.delete(episode_id, auto_commit=True)
        return Deletion(episodes=1, views=views or 0)

    async def _locked(self, episode_id: UUID, expected: Expected | None) -> models.Episode:
        row = await self.get_one_or_none(id=episode_id, with_for_update=True)
        if row is None:
            raise NotFound("Episode not found")
        if expected is not None:
            expected.check_content(_item(row))
        return row

    async def _committed(self, row: models.Episode) -> releases.EpisodeListItem:
        item = _item(row)
        await self.repository.session.commit()
        return item


def _item(row: models.Episode) -> releases.EpisodeListItem:
    return releases.EpisodeListItem(row.id, row.number, row.title, row.airs_at)


def _tidied(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values as they are stored: without blanks around them, names once, genres in lower case."""
    tidied: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, str):
            tidied[name] = value.strip()
        elif isinstance(value, list):
            texts = (text.strip() for text in value)
            tidied[name] = list(dict.fromkeys(text.lower() if name == "genres" else text for text in texts))
        else:
            tidied[name] = value
    return tidied


async def _delete_releases(session: AsyncSession, which: ColumnElement[bool]) -> None:
    await session.execute(delete(_episode).where(_episode.release_id.in_(select(_release.id).where(which))))
    await session.execute(delete(_release).where(which))


async def _deletion(session: AsyncSession, which: ColumnElement[bool]) -> Deletion:
    episodes = select(_episode.id).join(_release, _release.id == _episode.release_id).where(which)
    statement = select(
        select(func.count()).select_from(_release).where(which).scalar_subquery(),
        select(func.count()).select_from(episodes.subquery()).scalar_subquery(),
        select(func.count()).select_from(models.View).where(models.View.episode_id.in_(episodes)).scalar_subquery(),
    )
    counts = (await session.execute(statement)).one()
    return Deletion(releases=counts[0], episodes=counts[1], views=counts[2])
