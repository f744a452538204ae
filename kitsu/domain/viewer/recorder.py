"""What the two endpoints have in common that players call every few seconds."""

from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.statements import StatementRunner
from kitsu.domain.idempotency import IdempotentRequest
from kitsu.domain.mapping import Rows, mapper
from kitsu.domain.viewer.constraints import viewer_constraints
from kitsu.errors import NotFound

T = TypeVar("T")


class Recorder(Generic[T]):
    """Stores what players send, in one statement on the runner.

    A service on the request's session takes three times the CPU; see ARCHITECTURE.md.
    """

    kind: type[T]
    statement: Rows
    """Stores, and returns the row of a `kind`, or none when it refers to what does not exist."""
    missing: str
    """The error of no row."""

    def __init__(self, runner: StatementRunner, engine: AsyncEngine) -> None:
        self._runner = runner
        self._engine = engine
        self._struct_of = mapper(self.kind, self.statement)

    async def record(self, user_id: UUID, parameters: dict[str, Any], idempotent: IdempotentRequest | None) -> T:
        """Store it, once for a request that is repeated. Raises NotFound; for a repeated request InvalidRequest."""
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
