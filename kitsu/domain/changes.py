"""Changes of a user's own rows since a time, deletions included, so that a device need not read whole lists again.

A list of changes begins with the oldest one, so a change during the reading comes at the end. Its `until` is the time
for the next request: every change that is not in the list, such as one that is not committed yet, is later.
"""

from collections.abc import Mapping
from datetime import datetime
from heapq import merge
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta
from sqlalchemy import BigInteger, DateTime, Uuid, bindparam, func, select, text, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from kitsu.db import models
from kitsu.db.models.viewer import TOMBSTONE_DAYS
from kitsu.db.replicas import reads_primary
from kitsu.db.statements import StatementReader
from kitsu.domain.fields import described
from kitsu.domain.mapping import Rows, columns_of, mapper
from kitsu.domain.pagination import PageRequest

T = TypeVar("T")


class Tombstone(msgspec.Struct):
    """An item that was deleted from a list."""

    id: Annotated[UUID, described("The id of the deleted item.")]
    anime_id: Annotated[UUID | None, described("The anime of the deleted item, or null for a collection.")]
    deleted_at: Annotated[datetime, described("When the item was deleted.")]


class ChangesCursor(msgspec.Struct, frozen=True):
    """The last change of a page, and the `until` of its list."""

    until: Annotated[datetime, Meta(tz=True)]
    changed_at: Annotated[datetime, Meta(tz=True)]
    id: UUID


class ChangesRequest(msgspec.Struct, frozen=True):
    since: datetime
    deleted: bool  # whether with tombstones
    limit: int
    after: ChangesCursor | None = None


class ListRequest(msgspec.Struct, frozen=True):
    page: PageRequest
    changes: ChangesRequest | None = None


class Changes(msgspec.Struct, Generic[T], frozen=True):
    items: list[T | Tombstone]
    until: datetime
    next: ChangesCursor | None


# The start of the oldest transaction: what earlier ones wrote is visible. PostgreSQL shows transactions of other roles
# without their start; while there are any, `until` stays at `since`.
_UNTIL = text("""
    SELECT CASE
        WHEN EXISTS (
            SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND datname = current_database()
              AND usesysid IS NOT NULL AND xact_start IS NULL
        ) THEN CAST(:since AS timestamptz)
        ELSE least(now(), (
            SELECT min(xact_start) FROM pg_stat_activity
            WHERE datname = current_database() AND backend_type = 'client backend'
        ))
    END
""")

_since: Any = bindparam("since", type_=DateTime(timezone=True))
_after = tuple_(bindparam("after", type_=DateTime(timezone=True)), bindparam("after_id", type_=Uuid))


class ChangesListing(Generic[T]):
    def __init__(self, kind: type[T], rows: Rows, changed_at: InstrumentedAttribute[datetime]) -> None:
        """`kind` is the Struct of a row; the statement has the parameter `user_id`."""
        self._struct_of = mapper(kind, rows)
        self._table = changed_at.class_.__tablename__
        row_id = changed_at.class_.id
        self.statement = (
            rows.add_columns(changed_at.label("changed_at"), row_id.label("row_id"))
            .where(changed_at >= _since, tuple_(changed_at, row_id) > _after)
            .order_by(changed_at, row_id)
            .limit(bindparam("limit", type_=BigInteger))
        )

    async def read(self, runner: StatementReader, user_id: UUID, request: ChangesRequest) -> Changes[T]:
        """Return the requested page of changes, oldest first."""
        after = request.after
        # A replica may lack what was committed before `until`.
        reads_primary.set(True)
        # Read before the rows: what is committed in between is listed again next time, rather than never.
        until = after.until if after else await runner.value(_UNTIL, {"since": request.since})
        parameters = {
            "user_id": user_id,
            "since": request.since,
            "after": after.changed_at if after else request.since,
            "after_id": after.id if after else UUID(int=0),
            "limit": request.limit + 1,
        }
        found: list[tuple[datetime, UUID, T | Tombstone]] = [*await self.changed(runner, parameters)]
        if request.deleted:
            deleted = await _TOMBSTONES.changed(runner, {**parameters, "kind": self._table})
            found = list(merge(found, deleted, key=lambda change: change[:2]))
        page = found[: request.limit]
        cursor = ChangesCursor(until, *page[-1][:2]) if len(found) > request.limit else None
        return Changes([item for _, _, item in page], until, cursor)

    async def changed(self, runner: StatementReader, parameters: Mapping[str, Any]) -> list[tuple[datetime, UUID, T]]:
        """Return the changed rows with their times and ids."""
        rows = await runner.rows(self.statement, parameters)
        return [(row["changed_at"], row["row_id"], self._struct_of(row)) for row in rows]


_tombstone = models.Tombstone
_TOMBSTONES = ChangesListing(
    Tombstone,
    select(*columns_of(Tombstone, _tombstone)).where(
        _tombstone.user_id == bindparam("user_id", type_=Uuid),
        _tombstone.kind == bindparam("kind"),
        _tombstone.deleted_at > func.now() - text(f"interval '{TOMBSTONE_DAYS} days'"),
    ),
    _tombstone.deleted_at,
)
