"""/library. Effects of watch progress are in test_library_follows.py."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.assertions import assert_error, check_anime_by_one_query, check_bodies_refused, check_list
from tests.factories import Backend, Viewer
from tests.values import BAD_IDS, EXTRA, NOT_INTEGERS, NOT_TEXTS, UNKNOWN_ID

FIELDS = {
    *("id", "anime_id", "status", "score", "notes", "episodes_watched", "started_on", "completed_on"),
    *("times_rewatched", "is_rewatching", "tags", "version", "created_at", "updated_at", "anime"),
}
STATUSES = ("watching", "completed", "on_hold", "dropped", "plan_to_watch")


async def put(viewer: Viewer, anime_id: str, status: str = "watching", **more: Any) -> Any:
    return await viewer.write("PUT", f"/library/{anime_id}", {"status": status, **more})


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("status", STATUSES)
async def test_entry_is_stored_and_read_back(backend: Backend, viewer: Viewer, status: str, slash: str) -> None:
    anime_id = await backend.anime(title="Death Note", episode_count=37)
    body = {"status": status, "score": 8, "notes": "null"}
    path = f"/library/{anime_id}{slash}"
    entry = await viewer.write("PUT", path, body)
    assert set(entry) == FIELDS
    assert (body | {"anime_id": anime_id, "version": 1}).items() <= entry.items()
    assert entry["anime"]["title"] == "Death Note"
    today = datetime.now(UTC).date().isoformat()
    assert entry["started_on"] == (today if status == "watching" else None)
    assert entry["completed_on"] == (today if status == "completed" else None)
    assert entry["episodes_watched"] == (37 if status == "completed" else 0)
    assert await viewer.read(path) == entry
    assert await viewer.read(f"/library{slash}") == [entry]
    for _ in range(2):
        assert await viewer.write("DELETE", path, status=204) is None
        assert_error(await viewer.request("GET", path), 404)
    assert await viewer.read("/library") == []


async def test_omitted_fields_become_null(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    first = await put(viewer, anime_id, score=10, notes="д" * 10_000)
    later = await put(viewer, anime_id, "on_hold")
    assert (later["score"], later["notes"], later["status"], later["version"]) == (None, None, "on_hold", 2)
    assert (later["id"], later["created_at"]) == (first["id"], first["created_at"])
    assert later["updated_at"] > first["updated_at"]
    assert await viewer.read("/library") == [later]


async def test_status_change_keeps_existing_dates(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=12)
    await put(viewer, anime_id, "watching")
    done = await put(viewer, anime_id, "completed")
    await backend.rows.execute(
        "UPDATE library_entries SET started_on = '2019-01', completed_on = '2020' WHERE user_id = $1", viewer.id
    )
    for status in (*STATUSES, *STATUSES):
        entry = await put(viewer, anime_id, status)
        assert (entry["started_on"], entry["completed_on"]) == ("2019-01", "2020")
        assert entry["episodes_watched"] == done["episodes_watched"] == 12


async def test_invalid_body_is_422(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    entry = await put(viewer, anime_id, score=1)
    changes = [
        *[{"status": it} for it in (None, "", "WATCHING", "planned", "watching ", 1, *NOT_TEXTS)],
        *[{"score": it} for it in (0, 11, -1, 32768, *NOT_INTEGERS)],
        *[{"notes": it} for it in ("x" * 10_001, *NOT_TEXTS)],
    ]
    bodies = [{"status": "watching", **change} for change in changes]
    for headers in ({}, {"If-Match": "*"}):
        await check_bodies_refused(viewer, "PUT", f"/library/{anime_id}", [*bodies, {"score": 1}], headers)
    assert await viewer.read("/library") == [entry]


async def test_unknown_entry_or_anime_is_404(viewer: Viewer) -> None:
    assert_error(await viewer.request("GET", f"/library/{UNKNOWN_ID}"), 404)
    assert_error(
        await viewer.request("PUT", f"/library/{UNKNOWN_ID}", json={"status": "watching"}), 404, "Anime not found"
    )
    assert await viewer.write("DELETE", f"/library/{UNKNOWN_ID}", status=204) is None
    for bad in BAD_IDS:
        for method, body in (("GET", {}), ("PUT", {"json": {"status": "watching"}}), ("DELETE", {})):
            assert_error(await viewer.request(method, f"/library/{bad}", **body), 422)


async def test_unknown_field_is_422(backend: Backend, viewer: Viewer) -> None:
    others = {"scores": 8, "anime_id": UNKNOWN_ID, "episodes_watched": 5, "started_on": "1999", "tags": "x"}
    bodies = [{"status": "watching", name: value} for name, value in {**EXTRA, **others}.items()]
    await check_bodies_refused(viewer, "PUT", f"/library/{await backend.anime()}", bodies)
    assert await viewer.read("/library") == []


async def test_list_is_sorted_last_changed_first(backend: Backend, viewer: Viewer) -> None:
    animes = await backend.animes(5)
    for anime_id in (*animes, animes[1]):
        await put(viewer, anime_id)
    await check_list(viewer, "/library", [animes[i] for i in (1, 4, 3, 2, 0)], "anime_id")
    await check_anime_by_one_query(viewer, "/library", backend)


async def test_list_of_one_status_has_no_others(backend: Backend, viewer: Viewer) -> None:
    animes = await backend.animes(10)
    for number, anime_id in enumerate(animes):
        await put(viewer, anime_id, STATUSES[number % 5])
    for number, status in enumerate(STATUSES):
        response = await viewer.request("GET", f"/library?status={status}&total=true&limit=1")
        assert [entry["anime_id"] for entry in response.json()] == [animes[number + 5]]
        assert response.headers["x-total-count"] == "2"
        assert f"status={status}" in response.headers["link"]
        assert [it["anime_id"] for it in await viewer.read(f"/library?status={status}")] == [
            animes[number + 5],
            animes[number],
        ]
    for wrong in ("", "x", "null", "WATCH", "watching,dropped", "%00"):
        assert_error(await viewer.request("GET", f"/library?status={wrong}"), 422)


async def test_library_of_another_viewer_is_separate(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    anime_id = await backend.anime()
    entry = await put(viewer, anime_id, score=3)
    assert_error(await other.request("GET", f"/library/{anime_id}"), 404)
    assert await other.read("/library") == []
    assert await other.write("DELETE", f"/library/{anime_id}", status=204) is None
    own = await put(other, anime_id, "dropped")
    assert own["id"] != entry["id"]
    assert await viewer.read("/library") == [entry]


async def test_concurrent_puts_leave_one_entry(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    responses = await asyncio.gather(*(put(viewer, anime_id, notes=str(it)) for it in range(20)))
    assert len({response["id"] for response in responses}) == 1
    assert sorted(response["version"] for response in responses) == list(range(1, 21))
    assert await viewer.read("/library") == [max(responses, key=lambda response: response["version"])]
