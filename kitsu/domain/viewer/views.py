"""Views: the episodes that a viewer watched, and how far."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from msgspec import Meta
from sqlalchemy import case, delete, func, null, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from kitsu.db import models
from kitsu.db.columns import MAX_INTEGER
from kitsu.domain.changes import ChangesListing
from kitsu.domain.fields import EpisodeNumber, Position, described
from kitsu.domain.mapping import Rows, columns_of
from kitsu.domain.viewer.plays import WatchedAt, check_time, count_play, is_finished, is_newest, new_play, report_times
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
    watched_at: WatchedAt | None = None


_view, _episode, _release, _anime = models.View, models.Episode, models.Release, models.Anime

_joined = {"release_id": _episode.release_id, "anime_id": _release.anime_id, "episode_number": _episode.number}

ROWS: Rows = (
    select(*columns_of(View, _view, **_joined))
    .join(_episode, _episode.id == _view.episode_id)
    .join(_release, _release.id == _episode.release_id)
    .where(_view.user_id == USER_ID)
)

_watched = (
    select(
        _episode.id, *(column.label(name) for name, column in _joined.items()), _anime.duration_seconds, *report_times()
    )
    .join(_release, _release.id == _episode.release_id)
    .join(_anime, _anime.id == _release.anime_id)
    .where(_episode.id == new_value(_view.episode_id))
    .cte("watched")
)
_names = ["id", "user_id", "episode_id", "progress", "device", "last_viewed_at"]
_user_id, _progress, _device = map(new_value, [_view.user_id, _view.progress, _view.device])
_values = (new_value(_view.id), _user_id, _watched.c.id, _progress, _device, _watched.c.watched_at, _watched.c.now)
_new = insert(_view).from_select([*_names, "updated_at"], select(*_values))
_is_newer = is_newest(_new.excluded.last_viewed_at, _view.last_viewed_at)
_stored = (
    _new.on_conflict_do_update(
        index_elements=[_view.user_id, _view.episode_id],
        set_={name: case((_is_newer, _new.excluded[name]), else_=getattr(_view, name)) for name in _names[3:5]}
        | {
            "last_viewed_at": func.greatest(_new.excluded.last_viewed_at, _view.last_viewed_at),
            "updated_at": case((_is_newer, _new.excluded.updated_at), else_=_view.updated_at),
        },
    )
    .returning(_view.id, _view.episode_id, _view.progress, _view.device, _view.last_viewed_at)
    .cte("stored")
)


def _is_finished(progress: Any) -> Any:
    return is_finished(null(), progress, _watched.c.duration_seconds)


def _begun_again(play: Any) -> Any:
    before = aliased(_view)
    since = (before.last_viewed_at > play.watched_at, before.last_viewed_at <= _watched.c.watched_at)
    place = (before.user_id == _user_id, before.episode_id == _watched.c.id)
    again = select(before.id).where(*place, *since, ~_is_finished(before.progress))
    return again.correlate_except(before).exists()


_play = new_play(_user_id, _watched, _watched.c.episode_number, _is_finished(_progress), _begun_again)
POST: Rows = (
    select(*_stored.c, *(_watched.c[name] for name in _joined))
    .join_from(_stored, _watched, _watched.c.id == _stored.c.episode_id)
    .add_cte(_play, count_play(_play))
)


class ViewReader(OwnListReader[View]):
    listing = newest_first(View, ROWS, _view.last_viewed_at, moves=True)
    changes = ChangesListing(View, ROWS, _view.updated_at)


class ViewRecorder(Recorder[NewView, View]):
    kind = View
    statement = POST
    missing = "Episode not found"

    def check(self, new: NewView) -> None:
        check_time(new.watched_at)


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
