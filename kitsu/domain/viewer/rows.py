"""What the rows of all viewers' lists have in common: how they are read and recorded."""

from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy import ColumnElement, Uuid, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import InstrumentedAttribute
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.db.statements import StatementReader, StatementRunner
from kitsu.domain.catalogue.anime import LIST_COLUMNS
from kitsu.domain.changes import Changes, ChangesListing, ListRequest
from kitsu.domain.idempotency import IdempotentRequest
from kitsu.domain.mapping import Rows, columns_of, mapper, nested
from kitsu.domain.pagination import Listing, MovingListing, Page, descending
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.domain.viewer.limits import ViewerLimits
from kitsu.errors import NotFound

NewT = TypeVar("NewT", bound=msgspec.Struct)
T = TypeVar("T")

USER_ID: Any = bindparam("user_id", type_=Uuid)


class OwnListReader(Generic[T]):
    """Reads a list of a viewer's own rows, whose statements have the parameter `user_id`."""

    listing: Listing[T]
    changes: ChangesListing[T]

    def __init__(self, runner: StatementReader) -> None:
        self.runner = runner

    async def read(self, user_id: UUID, request: ListRequest) -> Page[T] | Changes[T]:
        """Return a page of the list, or of its changes. Raises InvalidRequest for a cursor of another list."""
        if request.changes is not None:
            return await self.changes.read(self.runner, user_id, request.changes)
        return await self.listing.page(self.runner, {"user_id": user_id}, request.page)


def rows_with_anime(kind: type[msgspec.Struct], model: Any) -> Rows:
    """Return the statement of a viewer's own rows, each with its anime."""
    columns = [*columns_of(kind, model), *nested("anime", LIST_COLUMNS)]
    return select(*columns).join(models.Anime, models.Anime.id == model.anime_id).where(model.user_id == USER_ID)


def newest_first(
    kind: type[T], rows: Rows, time: InstrumentedAttribute[datetime], *filters: ColumnElement[bool], moves: bool = False
) -> Listing[T]:
    """Return a list of a viewer's own rows, sorted by a time of theirs. `moves`: a change of a row sets it."""
    model: Any = time.class_
    counted = select(model.id).where(model.user_id == USER_ID, *filters)
    keys = (descending(time), descending(model.id))
    return (MovingListing if moves else Listing)(kind, rows.where(*filters), *keys, counted=counted)


def new_value(column: Any) -> Any:
    """Return the parameter for a column of the new row."""
    # SQLAlchemy adds a parameter that has a column's name to the SET clause of each UPDATE in the statement.
    return bindparam(f"new_{column.key}", type_=column.type)


class Recorder(Generic[NewT, T]):
    """Stores what players send, in one statement on the runner; a service takes three times the CPU."""

    kind: type[T]
    statement: Rows
    """Stores a row of `new_value()` parameters and returns it, or no row when it refers to one that does not exist."""
    missing: str  # the message of NotFound for no row

    def __init__(self, runner: StatementRunner, engine: AsyncEngine, limits: ViewerLimits) -> None:
        self._runner = runner
        self._engine = engine
        self.limits = limits
        self._struct_of = mapper(self.kind, self.statement)

    def statement_of(self, new: NewT) -> Rows:  # noqa: ARG002 - for subclasses
        """Return `statement`, or a cheaper one with the same columns that does the same for these values."""
        return self.statement

    def check(self, new: NewT) -> None:
        """Raise BadRequest for values that break a rule."""

    async def record(self, user_id: UUID, new: NewT, idempotent: IdempotentRequest | None) -> T:
        """Store a row, once for a repeated request. Raises BadRequest, NotFound, InvalidRequest.

        Raises Conflict for one more play than a viewer may have.
        """
        self.check(new)
        with viewer_constraints():
            if idempotent is None:
                statement, parameters = self.statement_of(new), self.parameters(user_id, new)
                try:
                    row = await self._runner.write(statement, parameters)
                # Its anime may have been merged into another one or deleted meanwhile.
                except (asyncpg.ForeignKeyViolationError, asyncpg.DeadlockDetectedError):
                    row = await self._runner.write(statement, parameters)
                return self.found(row)
            async with self._engine.begin() as connection:
                work = partial(self.record_on, connection, user_id, new)
                return await idempotent.run(connection, user_id, self.kind, work)

    async def record_on(self, connection: AsyncConnection, user_id: UUID, new: NewT) -> T:
        """Store a row in a transaction of the caller. Raises NotFound."""
        return self.found((await connection.execute(self.statement_of(new), self.parameters(user_id, new))).first())

    def found(self, row: Any) -> T:
        """Return the value of a row. Raises NotFound for None."""
        if row is None:
            raise NotFound(self.missing)
        return self._struct_of(row)

    def parameters(self, user_id: UUID, new: NewT) -> dict[str, Any]:
        """Return the parameters of the statement."""
        ids = {"id": uuid7(), "user_id": user_id, "play_id": uuid7()}
        values = {**msgspec.structs.asdict(new), **ids, "most_plays": self.limits.plays}
        return {f"new_{name}": value for name, value in values.items()}
