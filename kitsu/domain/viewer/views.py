"""Views: the episodes that a viewer saw, and how far."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import String, Uuid, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.changes import Changes, ChangesReader, ChangesRequest, changes_statement
from kitsu.domain.constraints import translate_foreign_key_errors
from kitsu.domain.idempotency import Idempotency, IdempotentRequest
from kitsu.domain.pagination import Listing, Page, PageRequest, Rows, descending
from kitsu.errors import NotFound


class View(msgspec.Struct):
    """An episode in the viewer's history."""

    id: UUID
    episode_id: UUID
    release_id: UUID
    anime_id: UUID
    episode_number: int
    progress: Annotated[int, Meta(description="seconds")]
    device: str | None
    last_viewed_at: datetime


class NewView(msgspec.Struct, frozen=True):
    """That an episode is seen."""

    episode_id: UUID
    progress: Annotated[int, Meta(ge=0, le=2**31 - 1, description="seconds", examples=[431])]
    device: Annotated[str, Meta(max_length=128, examples=["living room"])] | None = None


_view, _episode, _release = models.View, models.Episode, models.Release
_user_id: Any = bindparam("user_id", type_=Uuid)

OWN: Rows = (
    select(
        _view.id,
        _view.episode_id,
        _episode.release_id,
        _release.anime_id,
        _episode.number,
        _view.progress,
        _view.device,
        _view.last_viewed_at,
    )
    .join(_episode, _episode.id == _view.episode_id)
    .join(_release, _release.id == _episode.release_id)
    .where(_view.user_id == _user_id)
)
_LISTING = Listing(
    OWN,
    descending(_view.last_viewed_at),
    descending(_view.id),
    counted=select(_view.id).where(_view.user_id == _user_id),
)
_CHANGES = changes_statement(OWN, _view.last_viewed_at, _view.id)

_seen = (
    select(_episode.id, _episode.release_id, _release.anime_id, _episode.number)
    .join(_release, _release.id == _episode.release_id)
    .where(_episode.id == bindparam("episode_id", type_=Uuid))
    .cte("seen")
)
_new = insert(_view).from_select(
    ["id", "user_id", "episode_id", "progress", "device"],
    select(
        bindparam("id", type_=Uuid),
        _user_id,
        _seen.c.id,
        bindparam("progress", type_=_view.progress.type),
        bindparam("device", type_=String),
    ),
)
_stored = (
    _new.on_conflict_do_update(
        index_elements=[_view.user_id, _view.episode_id],
        set_={"progress": _new.excluded.progress, "device": _new.excluded.device, "last_viewed_at": func.now()},
    )
    .returning(_view.id, _view.episode_id, _view.progress, _view.device, _view.last_viewed_at)
    .cte("stored")
)
POST = select(
    _stored.c.id,
    _stored.c.episode_id,
    _seen.c.release_id,
    _seen.c.anime_id,
    _seen.c.number,
    _stored.c.progress,
    _stored.c.device,
    _stored.c.last_viewed_at,
).join_from(_stored, _seen, _seen.c.id == _stored.c.episode_id)
_CLEAR = delete(_view).where(_view.user_id == _user_id)
_REMOVE = _CLEAR.where(_view.id == bindparam("view_id", type_=Uuid))


class ViewService:
    """A viewer's history."""

    def __init__(self, engine: AsyncEngine, runner: StatementRunner) -> None:
        self._runner = runner
        self._changes = ChangesReader(runner)
        self._idempotency = Idempotency(engine)

    async def page(self, user_id: UUID, request: PageRequest) -> Page[View]:
        """The history, last viewed first."""
        return await _LISTING.page(self._runner, {"user_id": user_id}, request, view_of)

    async def changes(self, user_id: UUID, request: ChangesRequest) -> Changes[View]:
        """What was viewed and removed since a time."""
        return await self._changes.read(user_id, request, _view.__tablename__, _CHANGES, view_of)

    async def post(self, user_id: UUID, new: NewView, idempotent: IdempotentRequest | None) -> View:
        """Store that an episode is seen. Raises NotFound; with `once` InvalidRequest."""
        parameters = {**msgspec.structs.asdict(new), "id": uuid7(), "user_id": user_id}
        if idempotent is None:
            with translate_foreign_key_errors():
                return _found(await self._runner.write(POST, parameters))

        async def work(connection: AsyncConnection) -> View:
            return _found((await connection.execute(POST, parameters)).first())

        return await self._idempotency.run(user_id, idempotent, View, work)

    async def remove(self, user_id: UUID, view_id: UUID) -> None:
        """Take one episode out of the history. Raises NotFound."""
        if not await self._runner.change(_REMOVE, {"user_id": user_id, "view_id": view_id}):
            raise NotFound("View not found")

    async def clear(self, user_id: UUID) -> None:
        """Empty the history."""
        await self._runner.change(_CLEAR, {"user_id": user_id})


def _found(row: Any) -> View:
    if row is None:
        raise NotFound("Episode not found")
    return view_of(row)


def view_of(row: Sequence[Any]) -> View:
    """The shape of a row of `OWN`."""
    return View(*row)
