"""Merges and splits of anime by editors."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from sqlalchemy import func, insert, literal, select, update
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.db.engine import driver_connection, execute_core
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue import merging
from kitsu.domain.catalogue.anime import Anime, Provider
from kitsu.domain.catalogue.constraints import catalogue_constraints
from kitsu.domain.catalogue.editing import AnimeService, edit_as
from kitsu.domain.catalogue.edits import ExternalId, Title
from kitsu.domain.catalogue.merging import UNDO_DAYS, MergeReport
from kitsu.domain.concurrency import released_slot
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.domain.versions import Expected
from kitsu.errors import Conflict, InvalidRequest, NotFound


class Merge(msgspec.Struct):
    """A merge of two anime."""

    id: UUID
    merged_at: Annotated[datetime, described("When it was made.")]
    by: Annotated[str | None, described("The name of the editor, if there still is one.", "kaguya")]
    source: Annotated[str, described("`merge` by an editor, or `import`.", "merge")]
    from_id: Annotated[UUID, described("The anime that was merged.")]
    from_title: Annotated[str, described("Its title.", "Desu Noto")]
    into_id: Annotated[UUID, described("The anime that it became.")]
    into_title: Annotated[str, described("Its title.", "Death Note")]
    report: MergeReport
    undone_at: Annotated[datetime | None, described("When it was undone.")]


class NewMerge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The anime that another one is merged into."""

    into: UUID


class NewSplit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new anime takes of another one."""

    title: Title
    external_ids: Annotated[
        dict[Provider, ExternalId], described("The ids to move, by provider.", {"anilist": "1535"})
    ] = {}
    releases: Annotated[list[UUID], described("The releases to move.", ["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"])] = []
    episodes: Annotated[
        list[UUID],
        described(
            "The episodes to move. Those of one release get one new release.", ["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"]
        ),
    ] = []


_merge, _anime, _release, _episode = models.AnimeMerge, models.Anime, models.Release, models.Episode
_external = models.ExternalId
_ROWS: Rows = select(*columns_of(Merge, _merge, by=models.User.username)).outerjoin(
    models.User, models.User.id == _merge.user_id
)
_MERGES = Listing(Merge, _ROWS, descending(_merge.merged_at), descending(_merge.id), counted=select(_merge.id))


class MergeReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(self, request: PageRequest) -> Page[Merge]:
        """Return all merges, newest first."""
        return await _MERGES.page(self._runner, {}, request)


class MergeService(AnimeService):
    """Merges anime, undoes merges, and splits anime."""

    async def merge(
        self, editor_id: UUID, anime_id: UUID, into: UUID, expected: Expected | None, *, dry_run: bool = False
    ) -> MergeReport:
        """Merge an anime into another one, or only report what would move. Raises NotFound, Conflict,
        InvalidRequest, PreconditionFailed.
        """
        if anime_id == into:
            raise InvalidRequest([{"field": "into", "message": "Must be another anime"}])
        session = self.repository.session
        await edit_as(session, editor_id, source="merge")
        connection = await driver_connection(session)
        title, into_title = await merging.lock_pair(connection, anime_id, into)
        if title is None:
            earlier = (_merge.from_id == anime_id, _merge.undone_at.is_(None))
            became = await session.scalar(select(_merge.into_title).where(*earlier))
            raise NotFound("Anime not found") if became is None else Conflict(f"Already merged into {became}")
        if into_title is None:
            raise NotFound("The anime to merge into was not found")
        if expected is not None:
            expected.check_content(await self._detail(anime_id))
        with released_slot():
            _, report = await merging.merge(connection, anime_id, into, (title, into_title), "merge", editor_id)
        if not dry_run:
            await session.commit()
        return report

    async def undo(self, editor_id: UUID, merge_id: UUID) -> Anime:
        """Undo a merge, and return the anime that is there again. Raises NotFound, Conflict."""
        session = self.repository.session
        await edit_as(session, editor_id, source="undo")
        row = await session.get(_merge, merge_id)
        if row is None:
            raise NotFound("Merge not found")
        # The anime before the merge, as merges lock them.
        into = await self.get_one_or_none(id=row.into_id, with_for_update={"key_share": True})
        await session.refresh(row, with_for_update=True)
        if row.undone_at is not None:
            raise Conflict("Already undone")
        if datetime.now(UTC) - row.merged_at > timedelta(days=UNDO_DAYS):
            raise Conflict(f"A merge can be undone for {UNDO_DAYS} days")
        if into is None:
            raise Conflict(f"{row.into_title} was merged or deleted since; undo that first")
        with catalogue_constraints(), released_slot():
            await merging.undo(await driver_connection(session), merge_id, row.from_id, row.into_id)
        return await self._committed(row.from_id)

    async def split(self, editor_id: UUID, anime_id: UUID, new: NewSplit, expected: Expected | None) -> Anime:
        """Move a part of an anime into a new one, and return it. What viewers keep stays, except views.

        Raises NotFound, InvalidRequest, PreconditionFailed.
        """
        if not (new.external_ids or new.releases or new.episodes):
            raise InvalidRequest([{"field": "external_ids", "message": "Choose external ids, releases or episodes"}])
        session = self.repository.session
        await edit_as(session, editor_id, source="split")
        old = await self._locked(anime_id, expected)
        row = await self.create(_anime(title=new.title.strip()), auto_refresh=False)
        for provider, value in new.external_ids.items():
            ids = update(_external).where(
                _external.anime_id == old.id, _external.provider == provider, _external.external_id == value
            )
            await self._move("external_ids", ids.values(anime_id=row.id), 1)
        if new.releases:
            releases = update(_release).where(_release.anime_id == old.id, _release.id.in_(new.releases))
            await self._move("releases", releases.values(anime_id=row.id), len({*new.releases}))
        await self._split_episodes(old.id, row, {*new.episodes})
        old.updated_at = func.now()
        await session.flush()
        return await self._committed(row.id)

    async def _split_episodes(self, old_id: UUID, anime: models.Anime, episode_ids: set[UUID]) -> None:
        session = self.repository.session
        wanted = _episode.id.in_(episode_ids)
        release_ids = select(_episode.release_id).join(_release, _release.id == _episode.release_id)
        chosen = await session.scalars(release_ids.where(wanted, _release.anime_id == old_id).distinct())
        moved = 0
        for release_id in chosen.all():
            new_id = uuid7()
            old = select(literal(new_id), literal(anime.id), _release.title, _release.year, _release.status)
            names = ["id", "anime_id", "title", "year", "status"]
            await execute_core(session, insert(_release).from_select(names, old.where(_release.id == release_id)))
            of_release = update(_episode).where(wanted, _episode.release_id == release_id)
            moved += (await execute_core(session, of_release.values(release_id=new_id))).rowcount
        if moved != len(episode_ids):
            raise InvalidRequest([{"field": "episodes", "message": "Some do not belong to this anime"}])

    async def _move(self, field: str, statement: Any, count: int) -> None:
        if (await execute_core(self.repository.session, statement)).rowcount != count:
            raise InvalidRequest([{"field": field, "message": "Some do not belong to this anime"}])
