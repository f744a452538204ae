"""Views: the episodes that a viewer watched, and how far."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from kitsu.db import models
from kitsu.db.columns import MAX_INTEGER
from kitsu.domain.changes import ChangesListing
from kitsu.domain.fields import EpisodeNumber, Position, described
from kitsu.domain.mapping import Rows, columns_of
from kitsu.domain.viewer.rows import USER_ID, OwnListReader, Recorder, new_value, newest_first
from kitsu.errors import NotFound


class View(msgspec.Struct):
    """An episode in the viewer's history."""

    id: UUID
    episode_id: UUID
    release_id: UUID
    anime_id: UUID
    episode_number: EpisodeNumber
    progress: Position
    device: Annotated[str | None, described("The name that the client gave the device.", "living room")]
    last_viewed_at: Annotated[datetime, described("When the episode was last watched.")]


class NewView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An episode that the viewer watches."""

    episode_id: UUID
    progress: Annotated[Position, Meta(ge=0, le=MAX_INTEGER)]
    device: Annotated[str, described("A name of the device.", "living room", max_length=128)] | None = None


_view, _episode, _release = models.View, models.Episode, models.Release

_joined = {"release_id": _episode.release_id, "anime_id": _release.anime_id, "episode_number": _episode.number}

ROWS: Rows = (
    select(*columns_of(View, _view, **_joined))
    .join(_episode, _episode.id == _view.episode_id)
    .join(_release, _release.id == _episode.release_id)
    .where(_view.user_id == USER_ID)
)

_watched = (
    select(_episode.id, *(column.label(name) for name, column in _joined.items()))
    .join(_release, _release.id == _episode.release_id)
    .where(_episode.id == new_value(_view.episode_id))
    .cte("watched")
)
_new = insert(_view).from_select(
    ["id", "user_id", "episode_id", "progress", "device"],
    select(*map(new_value, [_view.id, _view.user_id]), _watched.c.id, *map(new_value, [_view.progress, _view.device])),
)
_stored = (
    _new.on_conflict_do_update(
        index_elements=[_view.user_id, _view.episode_id],
        set_={"progress": _new.excluded.progress, "device": _new.excluded.device, "last_viewed_at": func.now()},
    )
    .returning(_view.id, _view.episode_id, _view.progress, _view.device, _view.last_viewed_at)
    .cte("stored")
)
POST: Rows = select(*_stored.c, *(_watched.c[name] for name in _joined)).join_from(
    _stored, _watched, _watched.c.id == _stored.c.episode_id
)


class ViewReader(OwnListReader[View]):
    listing = newest_first(View, ROWS, _view.last_viewed_at)
    changes = ChangesListing(View, ROWS, _view.last_viewed_at)


class ViewRecorder(Recorder[NewView, View]):
    kind = View
    statement = POST
    missing = "Episode not found"


class ViewService(SQLAlchemyAsyncRepositoryService[models.View]):
    class Repository(SQLAlchemyAsyncRepository[models.View]):
        model_type = models.View

    repository_type = Repository

    async def remove(self, user_id: UUID, view_id: UUID) -> None:
        """Remove a view. Raises NotFound."""
        wanted = (_view.user_id == user_id, _view.id == view_id)
        if not await self.delete_where(*wanted, sanity_check=False, auto_commit=True):
            raise NotFound("View not found")

    async def clear(self, user_id: UUID) -> None:
        """Remove all views of the user."""
        session = self.repository.session
        await session.execute(delete(_view).where(_view.user_id == user_id))  # delete_where would load them
        await session.commit()
