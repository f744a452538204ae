"""Reads outside of transactions: what a GET needs, in one round trip each."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.sqlstate import is_disconnect


class Reads:
    """Runs statements that were built at import, with their parameters, on a connection in AUTOCOMMIT."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """All rows of the statement."""
        try:
            return await self._rows(statement, parameters)
        except DBAPIError as error:
            # The database had closed this pooled connection. The pool is emptied by now, and a read may be said twice.
            if not is_disconnect(error):
                raise
            return await self._rows(statement, parameters)

    async def row(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first row of the statement, None without one."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    async def value(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row, None without one."""
        row = await self.row(statement, parameters)
        return row[0] if row is not None else None

    async def _rows(self, statement: Executable, parameters: Mapping[str, Any] | None) -> Sequence[Any]:
        async with self._engine.connect() as connection:
            return (await connection.execute(statement, parameters)).all()
