"""The changes of the whole catalogue, newest first, with filters."""

from itertools import combinations
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Text, Uuid, bindparam, func, select

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.history import CatalogueChange, Source
from kitsu.domain.mapping import Rows, columns_of
from kitsu.domain.pagination import Listing, Page, PageRequest, descending


class AuditedChange(CatalogueChange):
    """A change, with the anime that it belongs to."""

    anime_id: UUID | None
    title: str | None
    """That of the anime, if there still is one."""


class AuditFilter(msgspec.Struct, frozen=True):
    """The changes of a user, of a source, or of an anime."""

    user: str | None = None  # the name, in any case
    source: Source | None = None
    anime_id: UUID | None = None


_change = models.CatalogueChange
_ROWS: Rows = (
    select(*columns_of(AuditedChange, _change, by=models.User.username, title=models.Anime.title))
    .outerjoin(models.User, models.User.id == _change.user_id)
    .outerjoin(models.Anime, models.Anime.id == _change.anime_id)
)
_author = select(models.User.id).where(func.lower(models.User.username) == func.lower(bindparam("user", type_=Text)))
_CONDITIONS: dict[str, Any] = {
    "user": _change.user_id == _author.scalar_subquery(),
    "source": _change.source == bindparam("source"),
    "anime_id": _change.anime_id == bindparam("anime_id", type_=Uuid),
}


def _listing(names: tuple[str, ...]) -> Listing[AuditedChange]:
    where = [_CONDITIONS[name] for name in names]
    return Listing(AuditedChange, _ROWS.where(*where), descending(_change.id), counted=select(_change.id).where(*where))


_LISTINGS = {names: _listing(names) for count in range(4) for names in combinations(_CONDITIONS, count)}


class AuditReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(self, wanted: AuditFilter, request: PageRequest) -> Page[AuditedChange]:
        """Return the changes that match all filters, newest first."""
        given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not None}
        return await _LISTINGS[tuple(given)].page(self._runner, given, request)
