"""Requests that a client says twice when the network swallowed the answer: done once, answered the same."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kitsu.db.models import IdempotencyKey
from kitsu.domain.constraints import translate_foreign_key_errors
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
_ANSWER = select(IdempotencyKey.request, IdempotencyKey.answer).where(*_mine)
_KEEP = update(IdempotencyKey).where(*_mine).values(answer=bindparam("given"))


class IdempotentRequest(msgspec.Struct, frozen=True):
    """What a client calls a request, and a digest of it."""

    key: str
    request: bytes

    @classmethod
    def of(cls, key: str, path: str, body: msgspec.Struct) -> "IdempotentRequest":
        """The request for this path with this body."""
        return cls(f"{path}\0{key}", sha256(msgspec.json.encode(body)).digest())


class Idempotency:
    """Does a request once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def run(
        self, user_id: UUID, once: IdempotentRequest, kind: type[T], work: Callable[[AsyncConnection], Awaitable[T]]
    ) -> T:
        """The answer of the work, which is done in one transaction with the note of its answer; or that note's.

        An error is not noted. Raises InvalidRequest when the key was used for another request.
        """
        key = sha256(once.key.encode()).digest()
        mine: dict[str, Any] = {"owner": user_id, "claimed": key}
        async with self._engine.begin() as connection:
            with translate_foreign_key_errors():
                claim = {"user_id": user_id, "key": key, "request": once.request}
                is_first = (await connection.execute(_CLAIM, claim)).first() is not None
            if is_first:
                with translate_foreign_key_errors():
                    answer = await work(connection)
                await connection.execute(_KEEP, {**mine, "given": msgspec.json.encode(answer)})
                return answer
            known = (await connection.execute(_ANSWER, mine)).one()
        if known.request != once.request:
            raise InvalidRequest([{"field": "Idempotency-Key", "message": "Was used for another request"}])
        return msgspec.json.decode(known.answer, type=kind)
