"""What the rows of all viewers' lists have in common: how they are read and recorded."""

from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy import ColumnElement, Uuid, bindparam, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import InstrumentedAttribute
from uuid_utils.compat import uuid7

from kitsu.db import models
from kitsu.db.statements import StatementRunner
from kitsu.domain.catalogue.anime import LIST_COLUMNS
from kitsu.domain.changes import Changes, ChangesListing, ListRequest
from kitsu.domain.idempotency import IdempotentRequest
from kitsu.domain.mapping import Rows, columns_of, mapper, nested
from kitsu.domain.pagination import Listing, Page, descending
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.errors import NotFound

NewT = TypeVar("NewT", bound=msgspec.Struct)
T = TypeVar("T")

USER_ID: Any = bindparam("user_id", type_=Uuid)


class OwnListReader(Generic[T]):
    """Reads a list of a viewer's own rows, whose statements have the parameter `user_id`."""

    listing: Listing[T]
    changes: ChangesListing[T]

    def __init__(self, runner: StatementRunner) -> None:
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
    kind: type[T], rows: Rows, time: InstrumentedAttribute[datetime], *filters: ColumnElement[bool]
) -> Listing[T]:
    """Return a list of a viewer's own rows, sorted by a time of theirs."""
    model: Any = time.class_
    counted = select(model.id).where(model.user_id == USER_ID, *filters)
    return Listing(kind, rows.where(*filters), descending(time), descending(model.id), counted=counted)


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

    def __init__(self, runner: StatementRunner, engine: AsyncEngine) -> None:
        self._runner = runner
        self._engine = engine
        self._struct_of = mapper(self.kind, self.statement)

    async def record(self, user_id: UUID, new: NewT, idempotent: IdempotentRequest | None) -> T:
        """Store a row, once for a repeated request. Raises NotFound; for a repeated request InvalidRequest."""
        values = {**msgspec.structs.asdict(new), "id": uuid7(), "user_id": user_id}
        parameters = {f"new_{name}": value for name, value in values.items()}
        with viewer_constraints():
            if idempotent is None:
                try:
                    row = await self._runner.write(self.statement, parameters)
                except asyncpg.ForeignKeyViolationError:  # its anime may have been merged into another one meanwhile
                    row = await self._runner.write(self.statement, parameters)
                return self._found(row)
            async with self._engine.begin() as connection:

                async def work() -> T:
                    return self._found((await connection.execute(self.statement, parameters)).first())

                return await idempotent.run(connection, user_id, self.kind, work)

    def _found(self, row: Any) -> T:
        if row is None:
            raise NotFound(self.missing)
        return self._struct_of(row)
