"""What Kitsu is measured against: handlers without a framework, on the same server, with the same statements.

`/constant` answers the same each time; `/<work>/<n>` runs the work's statement with its n-th arguments, which are read
from the file that BARE_WORKS names.
"""

import os
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec

Scope = dict[str, Any]

CONSTANT = msgspec.json.encode([{"id": str(UUID(int=n)), "title": f"Title {n}", "year": 2000 + n} for n in range(20)])
NEW = "new"
"""An argument that is another id each time."""


class Work(msgspec.Struct):
    """A statement, and the arguments that it is run with in turn."""

    sql: str
    arguments: list[list[Any]]
    """A UUID as its text."""


CONNECTIONS = 10
"""As many as a worker of the service has for single statements, unless told otherwise."""

_works: dict[str, Work] = {}
_pool: Any = None


async def _nothing(_: object) -> None:
    pass


async def _codec(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=str, decoder=msgspec.json.decode, format="text"
    )


def _parsed(given: Any) -> Any:
    try:
        return UUID(given)
    except (ValueError, AttributeError, TypeError):  # a text, or no text at all
        return given


async def app(scope: Scope, receive: Any, send: Any) -> None:
    """Answer one request."""
    global _pool  # noqa: PLW0603 - one of the worker
    if scope["type"] == "lifespan":
        await receive()
        works = Path(os.environ["BARE_WORKS"]).read_bytes()  # noqa: ASYNC240 - before it serves
        for name, work in msgspec.json.decode(works, type=dict[str, Work]).items():
            work.arguments = [[_parsed(given) for given in each] for each in work.arguments]
            _works[name] = work
        _pool = await asyncpg.create_pool(
            os.environ["BARE_DATABASE"], min_size=0, max_size=CONNECTIONS, reset=_nothing, init=_codec
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    _, name, *number = scope["path"].split("/")
    if name == "constant":
        body = CONSTANT
    else:
        if scope["method"] == "POST":
            msgspec.json.decode((await receive())["body"])  # as whoever serves it has to
        work = _works[name]
        arguments = [uuid4() if given == NEW else given for given in work.arguments[int(number[0])]]
        async with _pool.acquire() as connection:
            rows = await connection.fetch(work.sql, *arguments)
        body = msgspec.json.encode([dict(row) for row in rows])
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
