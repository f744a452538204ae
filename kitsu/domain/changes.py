"""What changed of a user's own rows since a device last asked, deleted ones too, so that it never fetches all again.

A list of changes goes from the oldest change to the newest, so that one which happens while the list is read comes at
its end. `until` is the time to ask from the next time: whatever is not in the list yet, such as what a transaction has
written and not committed, has a later one.
"""

from collections.abc import Callable, Sequence
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
from kitsu.db.statements import StatementRunner
from kitsu.domain.pagination import Rows

T = TypeVar("T")


class Tombstone(msgspec.Struct):
    """Something that was deleted."""

    id: Annotated[UUID, Meta(description="of what is gone")]
    anime_id: Annotated[UUID | None, Meta(description="which it was about, if it was about one")]
    deleted_at: datetime


class ChangesCursor(msgspec.Struct, frozen=True):
    """A place in a list of changes, from which it goes on."""

    until: Annotated[datetime, Meta(tz=True)]
    changed_at: Annotated[datetime, Meta(tz=True)]
    id: UUID


class ChangesRequest(msgspec.Struct, frozen=True):
    """Which changes are asked for."""

    since: datetime
    deleted: bool
    """With what was deleted in the last 30 days."""
    limit: int
    after: ChangesCursor | None = None


class Changes(msgspec.Struct, Generic[T], frozen=True):
    """Part of a list of changes."""

    items: list[T | Tombstone]
    until: datetime
    next: ChangesCursor | None
    """None: the list ends here."""


# The start of the oldest transaction: all that others wrote is there to be read, by their starts. Of another
# role's transaction PostgreSQL tells that it is there and not its start: till its end the time stands still.
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
_limit: Any = bindparam("limit", type_=BigInteger)
_user_id: Any = bindparam("user_id", type_=Uuid)
_after = tuple_(bindparam("after", type_=DateTime(timezone=True)), bindparam("after_id", type_=Uuid))


def changes_statement(
    rows: Rows, changed_at: InstrumentedAttribute[datetime], row_id: InstrumentedAttribute[UUID]
) -> Rows:
    """The statement of a list's changes, from one of its rows, which has to be limited to the user's own."""
    return (
        rows.add_columns(changed_at, row_id)
        .where(changed_at >= _since, tuple_(changed_at, row_id) > _after)
        .order_by(changed_at, row_id)
        .limit(_limit)
    )


_tombstone = models.Tombstone
_DELETED = changes_statement(
    select(_tombstone.id, _tombstone.anime_id, _tombstone.deleted_at).where(
        _tombstone.user_id == _user_id,
        _tombstone.kind == bindparam("kind"),
        _tombstone.deleted_at > func.now() - text(f"interval '{TOMBSTONE_DAYS} days'"),
    ),
    _tombstone.deleted_at,
    _tombstone.id,
)


class ChangesReader:
    """Reads lists of changes."""

    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def read(
        self,
        user_id: UUID,
        request: ChangesRequest,
        kind: str,
        statement: Rows,
        shape: Callable[[Sequence[Any]], T],
    ) -> Changes[T]:
        """The changes of one kind, by its statement; `kind` is the name of its table."""
        after = request.after
        # Before the rows, so that what is committed between the two is asked for again rather than never.
        until = after.until if after else await self._runner.value(_UNTIL, {"since": request.since})
        parameters = {
            "user_id": user_id,
            "since": request.since,
            "after": after.changed_at if after else request.since,
            "after_id": after.id if after else UUID(int=0),
            "limit": request.limit + 1,
        }
        living = await self._runner.rows(statement, parameters)
        found: list[tuple[datetime, UUID, T | Tombstone]] = [(*row[-2:], shape(row[:-2])) for row in living]
        if request.deleted:
            rows = await self._runner.rows(_DELETED, {**parameters, "kind": kind})
            gone = [(*row[-2:], Tombstone(*row[:-2])) for row in rows]
            found = list(merge(found, gone, key=lambda change: change[:2]))
        page = found[: request.limit]
        more = len(found) > request.limit
        return Changes(
            [item for _, _, item in page], until, ChangesCursor(until, page[-1][0], page[-1][1]) if more else None
        )
