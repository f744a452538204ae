"""Connections through a pooler in transaction mode, such as PgBouncer.

Each transaction may run on another connection of the server. So every statement runs in a transaction, statements have
no name, and the time limits are set by each transaction, as a pooler takes no startup parameters.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg


class PooledConnection(asyncpg.Connection):  # type: ignore[misc] # asyncpg ships no types
    """A connection of a pool of asyncpg, for single statements."""

    made_at = 0.0
    """On the monotonic clock."""

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        """Do nothing: a single statement leaves no state behind, and asyncpg's own reset costs a round trip."""


def transaction_connection(settings: Mapping[str, str]) -> type[PooledConnection]:
    """Return the class of connections through a pooler in transaction mode. Its transactions set these parameters."""
    limits = "".join(f"SET LOCAL {name} = {value};" for name, value in settings.items())

    class TransactionConnection(PooledConnection):
        async def fetch(self, query: str, *args: Any, timeout: float | None = None, **options: Any) -> Any:  # noqa: ASYNC109
            """Run a statement, in a transaction of its own unless one has begun. Raises TimeoutError.

            After an error that transaction is still open; `reset` ends it.
            """
            if self.is_in_transaction():
                return await super().fetch(query, *args, timeout=timeout, **options)
            async with asyncio.timeout(timeout):
                await self.execute(f"BEGIN;{limits}")  # one round trip
                rows = await super().fetch(query, *args, **options)
                await self.execute("COMMIT")
            return rows

        async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
            """End the transaction of a failed statement."""
            if self.is_in_transaction():
                await self.execute("ROLLBACK", timeout=timeout)

        def transaction(self, **options: Any) -> Any:
            """Return a transaction with the parameters, or a savepoint."""
            found = super().transaction(**options)
            return found if self.is_in_transaction() or not limits else _LimitedTransaction(found, self, limits)

        async def set_type_codec(self, *args: Any, **options: Any) -> None:
            """Set a codec; asyncpg looks its type up."""
            async with super().transaction():
                await super().set_type_codec(*args, **options)

    return TransactionConnection


class _LimitedTransaction:
    """A transaction of asyncpg that begins with parameters."""

    def __init__(self, transaction: Any, connection: asyncpg.Connection, limits: str) -> None:
        self._transaction, self._connection, self._limits = transaction, connection, limits

    async def start(self) -> None:
        await self._transaction.start()
        try:
            await self._connection.execute(self._limits)
        except BaseException:
            # The caller has no transaction to roll back, and the next one would be a savepoint of this one.
            self._connection.terminate()
            raise

    async def commit(self) -> None:
        await self._transaction.commit()

    async def rollback(self) -> None:
        await self._transaction.rollback()

    async def __aenter__(self) -> None:
        await self.start()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await (self.commit() if kind is None else self.rollback())
