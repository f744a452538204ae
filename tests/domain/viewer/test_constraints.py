"""The viewer, anime or episode of a row is deleted while the row is written: 401 or 404, never 500."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.assertions import assert_error
from tests.databases import connect
from tests.factories import Backend, Viewer

WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
KEY = {"Idempotency-Key": "a key"}
WRITES: list[tuple[str, str, dict[str, Any] | None, dict[str, str]]] = [
    ("POST", "/favorites", {"anime_id": "{anime}"}, {}),
    *[
        ("POST", "/watch/progress", {"anime_id": "{anime}", "episode": 1, "position_seconds": 1}, key)
        for key in ({}, KEY)
    ],
    *[("POST", "/views", {"episode_id": "{episode}", "progress": 1}, key) for key in ({}, KEY)],
    ("PUT", "/library/{anime}", {"status": "watching"}, {}),
    ("POST", "/collections", {"name": "x"}, {}),
    *[("PUT", f"/collections/{{collection}}/anime/{{anime}}{query}", None, {}) for query in ("", "?position=0")],
]


async def while_it_goes(
    backend: Backend,
    viewer: Viewer,
    write: tuple[str, str, dict[str, Any] | None, dict[str, str]],
    names: dict[str, str],
    table: str,
    row_id: UUID,
) -> httpx.Response:
    """Write a row whose parent another transaction has deleted; it commits once the write waits for it."""
    method, path, body, headers = write
    body = None if body is None else {name: _named(value, names) for name, value in body.items()}
    elsewhere = await connect(backend.url)
    transaction = elsewhere.transaction()
    await transaction.start()
    await elsewhere.execute(f"DELETE FROM {table} WHERE id = $1", row_id)
    more = {} if body is None else {"json": body}
    response = asyncio.create_task(viewer.request(method, _named(path, names), headers=headers, **more))
    while not (response.done() or await backend.rows.fetchval(WAITS)):  # noqa: ASYNC110 - PostgreSQL sends no event
        await asyncio.sleep(0.005)
    assert not response.done(), response.result().text
    await transaction.commit()
    await elsewhere.close()
    return await response


def _named(value: Any, names: dict[str, str]) -> Any:
    return value.format(**names) if isinstance(value, str) else value


async def things(backend: Backend, viewer: Viewer) -> dict[str, str]:
    anime_id = await backend.anime()
    made = await viewer.write("POST", "/collections", {"name": "x"}, 201)
    return {"anime": anime_id, "episode": await backend.episode(anime_id), "collection": made["id"]}


@pytest.mark.parametrize("write", [write for write in WRITES if "collection}" not in write[1]])
async def test_write_of_deleted_viewer_is_401(backend: Backend, write: Any) -> None:
    viewer = await backend.viewer()
    names = await things(backend, viewer)
    assert_error(await while_it_goes(backend, viewer, write, names, "users", viewer.id), 401, "Authentication failed")


@pytest.mark.parametrize("write", [write for write in WRITES if write[1] != "/collections"])
async def test_write_about_deleted_anime_is_404(backend: Backend, write: Any) -> None:
    viewer = await backend.viewer()
    names = await things(backend, viewer)
    response = await while_it_goes(backend, viewer, write, names, "anime", UUID(names["anime"]))
    assert_error(response, 404, "Episode not found" if write[1] == "/views" else "Anime not found")


async def test_write_to_deleted_collection_is_404(backend: Backend) -> None:
    viewer = await backend.viewer()
    names = await things(backend, viewer)
    for write in WRITES[-2:]:
        response = await while_it_goes(backend, viewer, write, names, "collections", UUID(names["collection"]))
        assert_error(response, 404, "Collection not found")
        names = await things(backend, viewer)
