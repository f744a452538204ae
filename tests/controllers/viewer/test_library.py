"""/library. Effects of watch progress are in test_library_follows.py."""

import asyncio
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.assertions import assert_error, check_anime_by_one_query, check_bodies_refused, check_list
from tests.factories import Backend, Viewer
from tests.values import BAD_IDS, EXTRA, NOT_INTEGERS, NOT_TEXTS, UNKNOWN_ID

FIELDS = {
    *("id", "anime_id", "status", "score", "notes", "episodes_watched", "started_on", "completed_on"),
    *("times_rewatched", "is_rewatching", "tags", "version", "created_at", "updated_at", "anime"),
}
STATUSES = ("watching", "completed", "on_hold", "dropped", "plan_to_watch")


def today(zone: str = "UTC") -> str:
    return datetime.now(ZoneInfo(zone)).date().isoformat()


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
    assert entry["started_on"] == (today() if status == "watching" else None)
    assert entry["completed_on"] == (today() if status == "completed" else None)
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
    anime_id = await backend.anime(episode_count=12)
    entry = await put(viewer, anime_id, score=1)
    changes: list[dict[str, Any]] = [
        *[{"status": it} for it in (None, "", "WATCHING", "planned", "watching ", 1, *NOT_TEXTS)],
        *[{"score": it} for it in (0, 0.9, 10.1, 11, -1, 7.25, 32768, True)],
        *[{name: it} for name in ("episodes_watched", "times_rewatched") for it in (-1, *NOT_INTEGERS)],
        {"episodes_watched": 13},
        *[{"started_on": it} for it in ("", "20", "2026-13", "2026-02-30", "0000", "2026-1-1", "2026-01-01T00:00:00Z")],
        *[{"completed_on": it} for it in ("2025-02-29", 2026, *NOT_TEXTS)],
        *[{"is_rewatching": it} for it in (None, 2, "x")],
        *[{"tags": it} for it in ("x" * 2_001, *NOT_TEXTS)],
        *[{"notes": it} for it in ("x" * 10_001, *NOT_TEXTS)],
    ]
    bodies = [{"status": "watching", **change} for change in changes]
    for headers in ({}, {"If-Match": "*"}):
        await check_bodies_refused(viewer, "PUT", f"/library/{anime_id}", [*bodies, {"score": 1}], headers)
        await check_bodies_refused(viewer, "PATCH", f"/library/{anime_id}", changes, headers)
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


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_unknown_fields_are_refused(backend: Backend, viewer: Viewer, method: str) -> None:
    anime_id = await backend.anime()
    entry = await put(viewer, anime_id)
    bodies = [{"status": "dropped", name: value} for name, value in (EXTRA | {"anime_id": UNKNOWN_ID}).items()]
    await check_bodies_refused(viewer, method, f"/library/{anime_id}", bodies)
    assert await viewer.read("/library") == [entry]


EVERY_FIELD = {
    "status": "completed", "score": 7.5, "notes": "x", "episodes_watched": 5, "started_on": "2020-05-01",
    "completed_on": "2021", "times_rewatched": 2, "is_rewatching": True, "tags": "a, b",
}  # fmt: skip


async def test_every_field_is_stored(backend: Backend, viewer: Viewer) -> None:
    anime_id, other = await backend.animes(2)
    for path in (f"/library/{anime_id}", f"/library/{other}"):
        entry = await viewer.write("PUT", path, EVERY_FIELD)
        assert EVERY_FIELD.items() <= entry.items()
        nothing = {"status": "plan_to_watch", "started_on": None, "completed_on": None, "tags": None}
        later = await viewer.write("PUT", path, nothing)
        kept = {"episodes_watched": 5, "times_rewatched": 2, "is_rewatching": True, "score": None, "notes": None}
        assert later == entry | nothing | kept | {"version": 2, "updated_at": later["updated_at"]}
        assert await viewer.read(path) == later


@pytest.mark.parametrize("name", EVERY_FIELD)
async def test_patch_changes_only_what_it_names(backend: Backend, viewer: Viewer, name: str) -> None:
    path = f"/library/{await backend.anime()}"
    assert_error(await viewer.request("PATCH", path, json={"score": 1}), 404, "Library entry not found")
    first = await viewer.write("PUT", path, {"status": "watching", "score": 3, "notes": "old", "tags": "old"})
    changed = await viewer.write("PATCH", path, {name: EVERY_FIELD[name]})
    follows = {"completed_on": today()} if name == "status" else {}
    expected = first | {name: EVERY_FIELD[name]} | follows | {"version": 2, "updated_at": changed["updated_at"]}
    assert changed == expected
    assert await viewer.read("/library") == [changed]


async def test_own_values_win_over_those_of_a_new_status(backend: Backend, viewer: Viewer) -> None:
    path = f"/library/{await backend.anime(episode_count=12)}"
    own = {"episodes_watched": 3, "completed_on": None, "started_on": None}
    for status in ("completed", "watching"):
        entry = await viewer.write("PUT", path, {"status": status, **own})
        assert own.items() <= entry.items()
    await viewer.write("PATCH", path, {"status": "completed"})
    await viewer.write("PATCH", path, own)
    # Only a new status has effects.
    again = await viewer.write("PUT", path, {"status": "completed", "score": 9})
    assert own.items() <= again.items()


async def test_days_are_those_of_the_viewer(backend: Backend, viewer: Viewer) -> None:
    days = []
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        await viewer.write("PATCH", "/users/me", {"timezone": zone})
        anime_id = await backend.anime(episode_count=1)
        entry = await put(viewer, anime_id, "completed")
        assert entry["completed_on"] == today(zone)
        other = await backend.anime(episode_count=1)
        await put(viewer, other, "plan_to_watch")
        body = {"anime_id": other, "episode": 1, "progress_percent": 100}
        await viewer.write("POST", "/watch/progress", body)
        followed = await viewer.read(f"/library/{other}")
        assert followed["started_on"] == followed["completed_on"] == entry["completed_on"]
        days.append(entry["completed_on"])
    assert days[0] > days[1]


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
