"""`Idempotency-Key` on POST /watch/progress and /views: a repeated request is stored once."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.assertions import assert_error
from tests.factories import Backend, Viewer
from tests.values import UNKNOWN_ID

AGE = "UPDATE idempotency_keys SET created_at = created_at - make_interval(secs => $2) WHERE user_id = $1"
DAY = 86_400
PATHS = {"/watch/progress": 200, "/views": 201}
EVERY = pytest.mark.parametrize("path", PATHS)


async def body_of(backend: Backend, path: str, seconds: int = 60) -> dict[str, Any]:
    """Return a valid body for the path."""
    anime_id = await backend.anime(episode_count=12)
    if path == "/views":
        return {"episode_id": await backend.episode(anime_id), "progress": seconds}
    return {"anime_id": anime_id, "episode": 1, "position_seconds": seconds}


def at(body: dict[str, Any], seconds: int) -> dict[str, Any]:
    """Return the body with another position."""
    return body | {name: seconds for name in ("progress", "position_seconds") if name in body}


async def post(viewer: Viewer, path: str, key: str, body: dict[str, Any]) -> httpx.Response:
    return await viewer.request("POST", path, json=body, headers={"Idempotency-Key": key})


@EVERY
async def test_repeated_request_returns_the_first_response(backend: Backend, viewer: Viewer, path: str) -> None:
    body = await body_of(backend, path)
    first = await post(viewer, path, "a key", body)
    assert first.status_code == PATHS[path]
    stored = await viewer.read(path)
    assert stored == [first.json()]
    reordered = dict(reversed(body.items()))
    for target, same in ((path, body), (f"{path}/", body), (path, reordered), (path, body | {"_user_id": UNKNOWN_ID})):
        again = await post(viewer, target, "a key", same)
        assert (again.status_code, again.content) == (first.status_code, first.content)
    assert await viewer.read(path) == stored
    later = await viewer.write("POST", path, at(body, 99), PATHS[path])
    again = await post(viewer, path, "a key", body)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert await viewer.read(path) == [later]


@EVERY
async def test_request_with_another_key_or_without_is_stored_again(backend: Backend, viewer: Viewer, path: str) -> None:
    body = await body_of(backend, path)
    responses = [(await post(viewer, path, key, body)).json() for key in ("a", "b", "A", "a" * 255, "0")]
    responses += [await viewer.write("POST", path, body, PATHS[path]) for _ in range(2)]
    assert (
        len(
            {
                response["last_watched_at" if "last_watched_at" in response else "last_viewed_at"]
                for response in responses
            }
        )
        == 7
    )
    assert await viewer.read(path) == responses[-1:]


@EVERY
async def test_key_of_another_request_is_422(backend: Backend, viewer: Viewer, path: str) -> None:
    body = await body_of(backend, path)
    first = await post(viewer, path, "a key", body)
    for other in (at(body, 61), await body_of(backend, path)):
        assert_error(await post(viewer, path, "a key", other), 422)
        assert await viewer.read(path) == [first.json()]
    assert (await post(viewer, path, "a key", body)).content == first.content


async def test_key_is_separate_for_each_path_and_viewer(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    bodies = {path: await body_of(backend, path) for path in PATHS}
    for who in (viewer, other):
        for path, status in PATHS.items():
            response = await post(who, path, "a key", bodies[path])
            assert response.status_code == status
            assert await who.read(path) == [response.json()]
    mine, others = await viewer.read("/views"), await other.read("/views")
    assert mine[0]["id"] != others[0]["id"]


@EVERY
async def test_key_is_reusable_after_a_day(backend: Backend, viewer: Viewer, path: str) -> None:
    body = await body_of(backend, path)
    first = await post(viewer, path, "a key", body)
    await backend.rows.execute(AGE, viewer.id, DAY - 60)
    assert (await post(viewer, path, "a key", body)).content == first.content
    assert_error(await post(viewer, path, "a key", at(body, 61)), 422)
    await backend.rows.execute(AGE, viewer.id, 61)
    second = await post(viewer, path, "a key", at(body, 61))
    assert (second.status_code, second.json() == first.json()) == (PATHS[path], False)
    assert await viewer.read(path) == [second.json()]
    assert (await post(viewer, path, "a key", at(body, 61))).content == second.content
    assert_error(await post(viewer, path, "a key", body), 422)


@EVERY
async def test_concurrent_equal_requests_are_stored_once(backend: Backend, viewer: Viewer, path: str) -> None:
    for key in ("a", "b"):
        body = await body_of(backend, path)
        responses = await asyncio.gather(*(post(viewer, path, key, body) for _ in range(20)))
        assert {(response.status_code, response.content) for response in responses} == {
            (PATHS[path], responses[0].content)
        }
        assert (await viewer.read(path))[0] == responses[0].json()


@EVERY
async def test_concurrent_different_requests_with_one_key_store_one(
    backend: Backend, viewer: Viewer, path: str
) -> None:
    body = await body_of(backend, path)
    responses = await asyncio.gather(*(post(viewer, path, "a key", at(body, seconds)) for seconds in range(20)))
    (winner,) = (response.json() for response in responses if response.is_success)
    assert await viewer.read(path) == [winner]
    for response in responses:
        if not response.is_success:
            assert_error(response, 422)


@EVERY
async def test_error_is_not_stored_under_the_key(backend: Backend, viewer: Viewer, path: str) -> None:
    body, unknown = await body_of(backend, path), str(uuid4())
    name = "episode_id" if path == "/views" else "anime_id"
    missing = body | {name: unknown}
    for _ in range(2):
        assert_error(await post(viewer, path, "a key", missing), 404)
    if path == "/views":
        row = await backend.rows.fetchrow("SELECT release_id FROM episodes WHERE id = $1", UUID(body[name]))
        columns, values = "id, release_id, number", (UUID(unknown), row["release_id"], 2)
        await backend.rows.execute(f"INSERT INTO episodes ({columns}) VALUES ($1, $2, $3)", *values)
    else:
        await backend.rows.execute("INSERT INTO anime (id, title) VALUES ($1, 'x')", UUID(unknown))
    done = await post(viewer, path, "a key", missing)
    assert (done.status_code, done.json()[name]) == (PATHS[path], unknown)
    other = body | ({"device": "a\0b"} if path == "/views" else {"progress_percent": 101})
    assert (await post(viewer, path, "another", other)).is_client_error
    assert (await post(viewer, path, "another", body)).status_code == PATHS[path]


async def test_repeated_progress_changes_the_library_once(backend: Backend, viewer: Viewer) -> None:
    body = await body_of(backend, "/watch/progress") | {"progress_percent": 95}
    entry = f"/library/{body['anime_id']}"
    await viewer.write("PUT", entry, {"status": "plan_to_watch"})
    await post(viewer, "/watch/progress", "a key", body)
    assert (await viewer.read(entry))["status"] == "watching"
    on_hold = await viewer.write("PUT", entry, {"status": "plan_to_watch"})
    await post(viewer, "/watch/progress", "a key", body)
    assert await viewer.read(entry) == on_hold


@EVERY
@pytest.mark.parametrize("key", ["", "x" * 256, "x" * 5000], ids=len)
async def test_key_of_wrong_length_is_422(backend: Backend, viewer: Viewer, path: str, key: str) -> None:
    assert_error(await post(viewer, path, key, await body_of(backend, path)), 422)
    assert await viewer.read(path) == []


@EVERY
@pytest.mark.parametrize("key", ["null", " x y ", "a,b", '"quoted"', "%00", "\xe9\xff"])
async def test_key_of_any_characters_is_accepted(backend: Backend, viewer: Viewer, path: str, key: str) -> None:
    body = await body_of(backend, path)
    headers = {"Idempotency-Key": key.encode("latin-1")}
    first, again = [await viewer.request("POST", path, json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, first.content) == (PATHS[path], again.content)


@EVERY
async def test_key_and_body_are_stored_as_hashes(backend: Backend, viewer: Viewer, path: str) -> None:
    await post(viewer, path, "a-secret-key", await body_of(backend, path))
    row = await backend.rows.fetchrow("SELECT * FROM idempotency_keys WHERE user_id = $1", viewer.id)
    assert b"a-secret-key" not in row["key"] + row["request"]


async def test_deleted_viewer_leaves_no_keys(backend: Backend, viewer: Viewer) -> None:
    await post(viewer, "/views", "a key", await body_of(backend, "/views"))
    await backend.rows.execute("DELETE FROM users WHERE id = $1", viewer.id)
    assert await backend.rows.fetchval("SELECT count(*) FROM idempotency_keys WHERE user_id = $1", viewer.id) == 0
