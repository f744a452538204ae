"""The baseline of the benchmark: handlers without a framework, on the same server, with the same statements.

`/constant` returns a constant; `/<workload>/<n>` runs the workload's statement with its n-th arguments, from the file
of BARE_WORKLOADS.
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
"""An argument that stands for a new id in each request."""


class Workload(msgspec.Struct):
    """A statement, and its arguments for each request."""

    sql: str
    arguments: list[list[Any]]
    """UUIDs are texts."""


CONNECTIONS = 10
"""The default pool of single statements in a worker of the service."""

_workloads: dict[str, Workload] = {}
_pool: Any = None


async def _do_nothing(_: object) -> None:
    pass


async def _set_codec(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=str, decoder=msgspec.json.decode, format="text"
    )


def _parse_uuid(value: Any) -> Any:
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):  # not a UUID
        return value


async def app(scope: Scope, receive: Any, send: Any) -> None:
    """Respond to a request."""
    global _pool  # noqa: PLW0603 - one pool per worker
    if scope["type"] == "lifespan":
        await receive()
        workloads = Path(os.environ["BARE_WORKLOADS"]).read_bytes()  # noqa: ASYNC240 - at start-up
        for name, workload in msgspec.json.decode(workloads, type=dict[str, Workload]).items():
            workload.arguments = [[_parse_uuid(value) for value in each] for each in workload.arguments]
            _workloads[name] = workload
        _pool = await asyncpg.create_pool(
            os.environ["BARE_DATABASE"], min_size=0, max_size=CONNECTIONS, reset=_do_nothing, init=_set_codec
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
            msgspec.json.decode((await receive())["body"])  # as the service does
        workload = _workloads[name]
        arguments = [uuid4() if value == NEW else value for value in workload.arguments[int(number[0])]]
        async with _pool.acquire() as connection:
            rows = await connection.fetch(workload.sql, *arguments)
        body = msgspec.json.encode([dict(row) for row in rows])
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
