"""How much one viewer may store: collections, anime in them, plays, stored responses and tombstones."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.accounts import bearer, register
from tests.application import client_of
from tests.databases import connect
from tests.factories import Backend, Viewer, backend_of

LIMITS = {"max_collections": 10, "max_collection_anime": 10, "max_plays": 10, "db_pool_size": 10}
FULL_HISTORY = "The history is full: remove plays with DELETE /history/{play_id}"


@pytest.fixture(scope="module")
async def backend(server: URL, template: URL) -> AsyncIterator[Backend]:
    async with backend_of(server, template, **LIMITS) as backend:
        yield backend


async def statuses(*requests: Any) -> Counter[int]:
    """Send requests at once, and return the number of responses by status."""
    return Counter([response.status_code for response in await asyncio.gather(*requests)])


def is_full(response: httpx.Response, message: str) -> bool:
    """Check that the response is the error of a limit."""
    body = {"code": "CONFLICT_ERROR", "message": message, "details": None}
    assert (response.status_code, response.json()) == (409, body)
    return True


async def collections(viewer: Viewer, count: int) -> list[str]:
    """Create collections, and return their ids."""
    return [(await viewer.write("POST", "/collections", {"name": "x"}, 201))["id"] for _ in range(count)]


async def test_collection_beyond_the_limit_is_409(backend: Backend, viewer: Viewer) -> None:
    made = await collections(viewer, 8)
    sent = [viewer.request("POST", "/collections", json={"name": "x"}) for _ in range(100)]
    assert await statuses(*sent) == {201: 2, 409: 98}
    message = "An account may have 10 collections: remove some before you add others"
    assert is_full(await viewer.request("POST", "/collections", json={"name": "x"}), message)
    assert len(await viewer.read("/collections")) == 10
    await viewer.write("PATCH", f"/collections/{made[0]}", {"name": "y"})
    await viewer.write("DELETE", f"/collections/{made[0]}", status=204)
    await collections(viewer, 1)
    assert await collections(await backend.viewer(), 1)


async def test_anime_beyond_the_limit_of_all_collections_is_409(backend: Backend, viewer: Viewer) -> None:
    animes = await backend.animes(20)
    made = await collections(viewer, 5)
    paths = [f"/collections/{collection}/anime/{anime}" for collection in made for anime in animes]
    assert await statuses(*(viewer.request("PUT", path) for path in paths)) == {204: 10, 409: 90}
    counts = {each["id"]: each["item_count"] for each in await viewer.read("/collections")}
    assert sum(counts.values()) == 10
    message = "An account may have 10 anime in collections: remove some before you add others"
    # One that is in the collection stays there, or moves.
    one = next(each for each in made if counts[each])
    inside = {each["id"] for each in await viewer.read(f"/collections/{one}/anime")}
    for anime in animes:
        for query in ("", "?position=0"):
            response = await viewer.request("PUT", f"/collections/{one}/anime/{anime}{query}")
            assert response.status_code == 204 if anime in inside else is_full(response, message)
    await viewer.write("DELETE", f"/collections/{one}", status=204)
    other = next(each for each in made if each != one and not counts[each]) if 0 in counts.values() else made[1]
    await viewer.request("PUT", f"/collections/{other}/anime/{animes[0]}")
    assert (await viewer.request("PUT", f"/collections/{other}/anime/{animes[1]}")).status_code == 204


async def test_lowered_limit_keeps_what_is_there(server: URL, backend: Backend, viewer: Viewer) -> None:
    animes = await backend.animes(4)
    (collection,) = await collections(viewer, 1)
    for anime in animes[:3]:
        await viewer.write("PUT", f"/collections/{collection}/anime/{anime}", status=204)
        await viewer.write("POST", "/watch/progress", finished(anime))
    async with client_of(backend.url, max_collection_anime=1, max_plays=1, rate_limit_enabled=False) as client:
        same = Viewer(client, viewer.id, viewer.token)
        assert (await same.request("PUT", f"/collections/{collection}/anime/{animes[3]}")).status_code == 409
        assert (await same.request("POST", "/watch/progress", json=finished(animes[3]))).status_code == 409
        await same.write("PUT", f"/collections/{collection}/anime/{animes[2]}?position=0", status=204)
        plays = await same.read("/history")
        assert len(plays) == 3
        for play in plays:
            await same.write("DELETE", f"/history/{play['id']}", status=204)
        await same.write("POST", "/watch/progress", finished(animes[3]))


def finished(anime: str, episode: int = 1) -> dict[str, Any]:
    """Return a report of an episode that was watched to its end."""
    return {"anime_id": anime, "episode": episode, "progress_percent": 100}


async def test_play_beyond_the_limit_is_409_and_changes_nothing(backend: Backend, viewer: Viewer) -> None:
    animes = await backend.animes(100)
    for anime in animes[:8]:
        await viewer.write("POST", "/watch/progress", finished(anime))
    sent = [viewer.request("POST", "/watch/progress", json=finished(anime)) for anime in animes[8:]]
    assert await statuses(*sent) == {200: 2, 409: 90}
    assert len(await viewer.read("/history?limit=100")) == 10
    assert len(await viewer.read("/watch/progress?limit=100")) == 10
    assert is_full(await viewer.request("POST", "/watch/progress", json=finished(animes[0], 2)), FULL_HISTORY)
    # What adds no play is stored.
    await viewer.write("POST", "/watch/progress", finished(animes[0]))
    await viewer.write("POST", "/watch/progress", {"anime_id": animes[50], "episode": 1, "progress_percent": 50})


async def test_view_and_batch_beyond_the_limit_of_plays_are_409(backend: Backend, viewer: Viewer) -> None:
    anime = await backend.anime(duration_seconds=100)
    episodes = [await backend.episode(anime, number) for number in range(1, 4)]
    for number in range(11, 19):
        await viewer.write("POST", "/watch/progress", finished(anime, number))
    for episode in episodes[:2]:
        await viewer.write("POST", "/views", {"episode_id": episode, "progress": 95}, 201)
    view = {"episode_id": episodes[2], "progress": 95}
    assert is_full(await viewer.request("POST", "/views", json=view), FULL_HISTORY)
    reports = [{"anime_id": anime, "episode": 30, "progress_percent": 10}, finished(anime, 31)]
    for headers in ({}, {"Idempotency-Key": "a"}):
        response = await viewer.request("POST", "/watch/progress/batch", json={"reports": reports}, headers=headers)
        assert is_full(response, FULL_HISTORY)
    assert (await viewer.read("/watch/progress"))[0]["episode"] == 18
    await viewer.write("DELETE", "/history", status=204)
    results = await viewer.write("POST", "/watch/progress/batch", {"reports": reports})
    assert [each["status"] for each in results["results"]] == [200, 200]


async def test_batches_and_reports_of_other_devices_do_not_block_each_other(server: URL, template: URL) -> None:
    async with backend_of(server, template, db_pool_size=10) as backend:
        viewer, animes = await backend.viewer(), sorted(await backend.animes(10))
        batches = [
            {"reports": [finished(anime, episode) for anime in animes for episode in range(first, first + 5)]}
            for first in range(1, 41, 5)
        ]
        sent = [
            *(viewer.request("POST", "/watch/progress/batch", json=batch) for batch in batches),
            *(viewer.request("POST", "/watch/progress", json=finished(animes[-1], n)) for n in range(41, 101)),
        ]
        assert await statuses(*sent) == {200: len(sent)}
        plays = await backend.rows.fetchval("SELECT count(*) FROM plays")
        assert plays == 10 * 40 + 60
        assert await backend.rows.fetchval("SELECT plays FROM play_counts") == plays
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await backend.rows.fetchval(deadlocks) == 0


async def test_deleted_plays_are_not_counted(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    animes = await backend.animes(3)
    for each in (viewer, other):
        for anime in animes:
            for episode in (1, 2):
                await each.write("POST", "/watch/progress", finished(anime, episode))
    play = (await viewer.read("/history"))[0]
    await viewer.write("DELETE", f"/history/{play['id']}", status=204)
    await backend.rows.execute("DELETE FROM anime WHERE id = $1", UUID(animes[0]))
    count = "SELECT plays FROM play_counts WHERE user_id = $1"
    assert await backend.rows.fetchval(count, other.id) == 4
    assert await backend.rows.fetchval(count, viewer.id) == len(await viewer.read("/history"))
    await other.write("DELETE", "/history", status=204)
    assert await backend.rows.fetchval(count, other.id) == 0
    await backend.rows.execute("DELETE FROM users WHERE id = $1", other.id)
    assert await backend.rows.fetchval(count, other.id) is None


async def test_responses_stored_at_once_stay_within_the_limit(database: URL) -> None:
    async with client_of(database, rate_limit_idempotency=(5, 86_400), db_pool_size=10) as client:
        headers = bearer(await register(client))
        rows = await connect(database)
        anime = str(await rows.fetchval("INSERT INTO anime (id, title) VALUES (gen_random_uuid(), 'A') RETURNING id"))
        report = {"anime_id": anime, "episode": 1, "progress_percent": 10}
        keyed = [headers | {"Idempotency-Key": str(number)} for number in range(100)]
        sent = [client.post("/watch/progress", json=report, headers=each) for each in keyed]
        assert await statuses(*sent) == {200: 5, 429: 95}
        assert await rows.fetchval("SELECT count(*) FROM idempotency_keys") == 5
        await rows.close()


async def test_stored_responses_of_a_user_are_limited(database: URL) -> None:
    async with client_of(database, rate_limit_idempotency=(5, 86_400)) as client:
        headers = bearer(await register(client))
        rows = await connect(database)
        anime = str(await rows.fetchval("INSERT INTO anime (id, title) VALUES (gen_random_uuid(), 'A') RETURNING id"))
        report = {"anime_id": anime, "episode": 1, "progress_percent": 10}

        async def send(key: str, reports: int) -> httpx.Response:
            body = {"reports": [report] * reports}
            keyed = headers | {"Idempotency-Key": key}
            return await client.post("/watch/progress/batch", json=body, headers=keyed)

        assert [(await send(str(number), 2)).status_code for number in range(3)] == [200, 200, 429]
        # The stored response again, also at the limit. What is refused counts for nothing.
        sent = [await send(key, reports) for key, reports in (("2", 1), ("0", 2), ("3", 1))]
        assert [response.status_code for response in sent] == [200, 200, 429]
        response = await client.post("/watch/progress", json=report, headers=headers | {"Idempotency-Key": "x"})
        assert (response.status_code, response.json()["code"]) == (429, "RATE_LIMITED")
        assert response.headers["ratelimit-policy"] == '"idempotency";q=5;w=86400'
        assert int(response.headers["retry-after"]) > 86_000
        assert (await client.post("/watch/progress", json=report, headers=headers)).status_code == 200
        assert await rows.fetchval("SELECT count(*) FROM idempotency_keys") == 3
        await rows.close()


async def test_oldest_tombstones_of_a_list_are_dropped(backend: Backend, viewer: Viewer) -> None:
    kept, bulk = 50_000, 100
    await backend.rows.execute(
        "INSERT INTO tombstones (id, user_id, kind, deleted_at) SELECT gen_random_uuid(), $1, kind, "
        "now() - n * interval '1 second' FROM generate_series(1, $2) n, (VALUES ('favorites'), ('views')) k (kind)",
        viewer.id,
        kept,
    )
    await backend.rows.execute(
        "WITH a AS (INSERT INTO anime (id, title) SELECT gen_random_uuid(), n FROM generate_series(1, $2) n "
        "RETURNING id) INSERT INTO favorites (id, user_id, anime_id) SELECT id, $1, id FROM a",
        viewer.id,
        bulk,
    )
    await backend.rows.execute("DELETE FROM favorites WHERE user_id = $1", viewer.id)
    counts = await backend.rows.fetch(
        "SELECT kind, count(*), now() - min(deleted_at) < $2 * interval '1 second' AS is_newest FROM tombstones "
        "WHERE user_id = $1 GROUP BY kind ORDER BY kind",
        viewer.id,
        kept - bulk + 60,
    )
    assert [tuple(row) for row in counts] == [("favorites", kept, True), ("views", kept, False)]
