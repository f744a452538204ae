"""Requests with an `Idempotency-Key`: a repeated request gets the response of the first one."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kitsu.db.models import IdempotencyKey
from kitsu.domain.mapping import Rows
from kitsu.domain.rate_limits import HIT, RateLimiter
from kitsu.errors import InvalidRequest

T = TypeVar("T")

RETENTION = text("interval '1 day'")

_new = insert(IdempotencyKey).values(user_id=bindparam("owner"), key=bindparam("claimed"), request=bindparam("body"))
# Waits for a concurrent request with the same key. An expired key can be used again.
_CLAIM = _new.on_conflict_do_update(
    index_elements=[IdempotencyKey.user_id, IdempotencyKey.key],
    set_={"request": _new.excluded.request, "answer": None, "created_at": func.now()},
    where=IdempotencyKey.created_at < func.now() - RETENTION,
).returning(IdempotencyKey.user_id)
_is_own = (IdempotencyKey.user_id == bindparam("owner"), IdempotencyKey.key == bindparam("claimed"))
_RESPONSE = select(IdempotencyKey.request, IdempotencyKey.answer).where(*_is_own)
_STORE = update(IdempotencyKey).where(*_is_own).values(answer=bindparam("response"))
# In one statement: another round trip or commit would take as long as the report.
_hit = HIT.cte("hit")
_stored = _STORE.returning(IdempotencyKey.user_id).cte("stored")
_STORE_COUNTED: Rows = select(_hit.c.hits, _hit.c.reset).add_cte(_stored)


class IdempotentRequest(msgspec.Struct, frozen=True):
    key: bytes
    body: bytes  # a hash: the same key with another body is an error
    reports: int
    limiter: RateLimiter

    @classmethod
    def of(
        cls, key: str, path: str, body: msgspec.Struct, *, reports: int, limiter: RateLimiter
    ) -> "IdempotentRequest":
        """Return the request for this path with this body. Its stored response counts for the number of reports."""
        hashes = (sha256(f"{path}\0{key}".encode()).digest(), sha256(msgspec.json.encode(body)).digest())
        return cls(*hashes, reports, limiter)

    async def run(
        self, connection: AsyncConnection, user_id: UUID, kind: type[T], work: Callable[[], Awaitable[T]]
    ) -> T:
        """Do the work once, and store its response in the same transaction; later return the stored response.

        An error is not stored. Raises InvalidRequest when the key was used for another request, RateLimited for more
        stored responses than a user may have.
        """
        claim = {"owner": user_id, "claimed": self.key}
        if (await connection.execute(_CLAIM, {**claim, "body": self.body})).first() is not None:
            response = await work()
            await self._store(connection, user_id, {**claim, "response": msgspec.json.encode(response)})
            return response
        stored = (await connection.execute(_RESPONSE, claim)).one()
        if stored.request != self.body:
            raise InvalidRequest([{"field": "Idempotency-Key", "message": "Was used for another request"}])
        return msgspec.json.decode(stored.answer, type=kind)

    async def _store(self, connection: AsyncConnection, user_id: UUID, values: dict[str, Any]) -> None:
        if not self.limiter.is_enabled:
            await connection.execute(_STORE, values)
            return
        # After the work, since the counter is locked until the commit.
        counted = ("idempotency", str(user_id))
        await self.limiter.hit_in(connection, _STORE_COUNTED, values, *counted, weight=self.reports)
