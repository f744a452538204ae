"""Requests that a client says twice when the network swallowed the answer: done once, answered the same."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kitsu.db.models import IdempotencyKey
from kitsu.errors import InvalidRequest

T = TypeVar("T")

RETENTION = text("interval '1 day'")

_new = insert(IdempotencyKey).values(user_id=bindparam("user_id"), key=bindparam("key"), request=bindparam("request"))
# Waits for whoever is at the same request; a key older than a day is free again.
_CLAIM = _new.on_conflict_do_update(
    index_elements=[IdempotencyKey.user_id, IdempotencyKey.key],
    set_={"request": _new.excluded.request, "answer": None, "created_at": func.now()},
    where=IdempotencyKey.created_at < func.now() - RETENTION,
).returning(IdempotencyKey.user_id)
_mine = (IdempotencyKey.user_id == bindparam("owner"), IdempotencyKey.key == bindparam("claimed"))
_RESPONSE = select(IdempotencyKey.request, IdempotencyKey.answer).where(*_mine)
_KEEP = update(IdempotencyKey).where(*_mine).values(answer=bindparam("given"))


class IdempotentRequest(msgspec.Struct, frozen=True):
    """A request that the client named with an `Idempotency-Key`."""

    key: str
    request: bytes
    """A digest of the body: the same key with another body is a mistake."""

    @classmethod
    def of(cls, key: str, path: str, body: msgspec.Struct) -> "IdempotentRequest":
        """Return the request for this path with this body."""
        return cls(f"{path}\0{key}", sha256(msgspec.json.encode(body)).digest())

    async def run(
        self, connection: AsyncConnection, user_id: UUID, kind: type[T], work: Callable[[], Awaitable[T]]
    ) -> T:
        """Do the work once, and return its response, which is stored in the same transaction; later the stored one.

        An error is not stored. Raises InvalidRequest when the key was used for another request.
        """
        mine: dict[str, Any] = {"owner": user_id, "claimed": sha256(self.key.encode()).digest()}
        claim = {"user_id": user_id, "key": mine["claimed"], "request": self.request}
        if (await connection.execute(_CLAIM, claim)).first() is not None:
            response = await work()
            await connection.execute(_KEEP, {**mine, "given": msgspec.json.encode(response)})
            return response
        known = (await connection.execute(_RESPONSE, mine)).one()
        if known.request != self.request:
            raise InvalidRequest([{"field": "Idempotency-Key", "message": "Was used for another request"}])
        return msgspec.json.decode(known.answer, type=kind)
