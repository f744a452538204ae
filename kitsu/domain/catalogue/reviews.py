"""The review queue: what an import could not decide, and the decisions of editors."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import String, bindparam, func, select, tuple_, update

from kitsu.db import models
from kitsu.db.engine import driver_connection, execute_core
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.editing import add_episodes, edit_as
from kitsu.domain.catalogue.importing.identity import merge_imported
from kitsu.domain.concurrency import released_slot
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.pagination import Listing, Page, PageRequest, ascending
from kitsu.errors import Conflict, NotFound

ReviewState = Literal["open", "applied", "kept", "closed"]
ReviewKind = Annotated[
    Literal["move", "split", "merge"],
    Meta(title="ReviewKind", description="Ids move to another anime, or to a new one, or a whole anime is merged."),
]
Decision = Annotated[
    Literal["apply", "keep"],
    Meta(title="ReviewDecision", description="`apply` does what the file says, `keep` changes nothing."),
]


class Review(msgspec.Struct):
    """External ids that are with another anime than the imported file says."""

    id: UUID
    created_at: Annotated[datetime, described("When an import found it.")]
    state: Annotated[ReviewState, Meta(title="ReviewState", description="`closed`: a later file no longer differs.")]
    kind: ReviewKind
    from_id: Annotated[UUID, described("The anime that has the ids.")]
    from_title: Annotated[str, described("Its title.", "Kumo no Uta")]
    into_id: Annotated[UUID | None, described("The anime that the file gives them to; null for a new one.")]
    into_title: Annotated[str | None, described("Its title.", "Kumo no Uta Movie")]
    entry: Annotated[dict[str, Any], described("The entry of the file.", {"title": "Kumo no Uta Movie", "year": 2026})]
    external_ids: Annotated[list[str], described("The ids, as `<provider>:<id>`.", ["anilist:1535"])]
    reason: Annotated[str, described("Why the import did not decide.", "an editor assigned the id")]
    by: Annotated[str | None, described("The name of the editor who decided.", "kaguya")]
    decided_at: Annotated[datetime | None, described("When it was decided.")]


class NewDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The decision of an editor."""

    decision: Decision


_review, _anime, _external = models.ImportReview, models.Anime, models.ExternalId
_ROWS: Rows = (
    select(*columns_of(Review, _review, into_title=_anime.title, by=models.User.username))
    .outerjoin(_anime, _anime.id == _review.into_id)
    .outerjoin(models.User, models.User.id == _review.user_id)
)
_IS_STATE = _review.state == bindparam("state", type_=String)
_REVIEWS = Listing(
    Review,
    _ROWS.where(_IS_STATE),
    ascending(_review.created_at),
    ascending(_review.id),
    counted=select(_review.id).where(_IS_STATE),
)
_review_of = mapper(Review, _ROWS)


class ReviewReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(self, state: ReviewState, request: PageRequest) -> Page[Review]:
        """Return the reviews in this state, oldest first."""
        return await _REVIEWS.page(self._runner, {"state": state}, request)


class ReviewService(SQLAlchemyAsyncRepositoryService[models.ImportReview]):
    class Repository(SQLAlchemyAsyncRepository[models.ImportReview]):
        model_type = models.ImportReview

    repository_type = Repository

    async def decide(self, editor_id: UUID, review_id: UUID, decision: Decision) -> Review:
        """Apply what the file says, or change nothing. Raises NotFound, Conflict."""
        session = self.repository.session
        # As an import: later imports may change it again, and fields are not marked as edited.
        await edit_as(session, editor_id, source="import")
        row = await self.get_one_or_none(id=review_id, with_for_update=True)
        if row is None:
            raise NotFound("Review not found")
        if row.state != "open":
            raise Conflict("Already decided")
        if decision == "apply":
            await self._apply(row, editor_id)
        row.state = "applied" if decision == "apply" else "kept"
        row.user_id, row.decided_at = editor_id, func.now()
        await session.flush()
        result = _review_of((await session.execute(_ROWS.where(_review.id == review_id))).one())
        await session.commit()
        return result

    async def _apply(self, review: models.ImportReview, editor_id: UUID) -> None:
        session = self.repository.session
        involved = [each for each in (review.from_id, review.into_id) if each]
        locked = select(_anime.id).where(_anime.id.in_(involved)).order_by(_anime.id).with_for_update()
        if len((await session.scalars(locked)).all()) < len(involved):
            raise Conflict("The anime was merged or deleted since")
        if review.kind == "merge" and review.into_id is not None:
            with released_slot():
                await merge_imported(await driver_connection(session), review.from_id, review.into_id, editor_id)
            return
        into_id = review.into_id or await self._add(review)
        ids = [tuple(each.split(":", 1)) for each in review.external_ids]
        moved = update(_external).where(
            _external.anime_id == review.from_id, tuple_(_external.provider, _external.external_id).in_(ids)
        )
        if (await execute_core(session, moved.values(anime_id=into_id))).rowcount < len(ids):
            raise Conflict("The ids were changed since")
        await session.execute(update(_anime).where(_anime.id.in_(involved)).values(updated_at=func.now()))

    async def _add(self, review: models.ImportReview) -> UUID:
        """Add the anime of the entry, as an import does. Return its id."""
        session = self.repository.session
        anime = _anime(**review.entry)
        session.add(anime)
        await session.flush()
        release = models.Release(anime_id=anime.id, title=anime.title, year=anime.year, status=review.entry["status"])
        session.add(release)
        session.add(models.CatalogueImport(anime_id=anime.id, release_id=release.id, fields=review.entry))
        await session.flush()
        await add_episodes(session, release.id, review.entry["episode_count"] or 0)
        return anime.id
