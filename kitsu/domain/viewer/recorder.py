"""What the two endpoints have in common that players call every few seconds."""

from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import bindparam
from sqlalchemy.ext.asyncio import AsyncEngine
from uuid_utils.compat import uuid7

from kitsu.db.statements import StatementRunner
from kitsu.domain.idempotency import IdempotentRequest
from kitsu.domain.mapping import Rows, mapper
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.errors import NotFound

NewT = TypeVar("NewT", bound=msgspec.Struct)
T = TypeVar("T")


def new_value(column: Any) -> Any:
    """Return the parameter for a column of the new row."""
    # SQLAlchemy adds a parameter that has a column's name to the SET clause of each UPDATE in the statement.
    return bindparam(f"new_{column.key}", type_=column.type)


class Recorder(Generic[NewT, T]):
    """Stores what players send, in one statement on the runner.

    A service on the request's session takes three times the CPU; see ARCHITECTURE.md.
    """

    kind: type[T]
    statement: Rows
    """Stores a row of `new_value()` parameters and returns it, or no row when it refers to one that does not exist."""
    missing: str
    """The message of NotFound for no row."""

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
                return self._found(await self._runner.write(self.statement, parameters))
            async with self._engine.begin() as connection:

                async def work() -> T:
                    return self._found((await connection.execute(self.statement, parameters)).first())

                return await idempotent.run(connection, user_id, self.kind, work)

    def _found(self, row: Any) -> T:
        if row is None:
            raise NotFound(self.missing)
        return self._struct_of(row)
