"""Reports of a player that come late, alone and in batches, and the history that they leave."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.assertions import assert_error, check_bodies_refused, check_list
from tests.factories import Backend, Viewer, insert
from tests.values import UNKNOWN_ID

FUTURE = "watched_at must not be in the future"
BATCH = "/watch/progress/batch"


def ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


def report(anime_id: str, episode: int = 1, percent: float = 95, **more: Any) -> dict[str, Any]:
    return {"anime_id": anime_id, "episode": episode, "progress_percent": percent, **more}


async def watch(viewer: Viewer, *args: Any, **more: Any) -> Any:
    return await viewer.write("POST", "/watch/progress", report(*args, **more))


async def plays(viewer: Viewer) -> list[tuple[str, int]]:
    return [(each["anime_id"], each["episode"]) for each in await viewer.read("/history?limit=100")]


async def test_late_report_changes_no_newer_place(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=12)
    await viewer.write("PUT", f"/library/{anime_id}", {"status": "plan_to_watch"})
    newer = await watch(viewer, anime_id, 6, 50)
    assert await watch(viewer, anime_id, 4, watched_at=ago(days=2)) == newer
    assert await viewer.read("/watch/continue") == [newer]
    # It counts for the library and the history, on the day when it was watched.
    entry = await viewer.read(f"/library/{anime_id}")
    assert (entry["status"], entry["episodes_watched"], entry["started_on"]) == ("watching", 4, ago(days=2)[:10])
    assert await plays(viewer) == [(anime_id, 4)]
    # One that is newer than the place replaces it.
    await viewer.write("DELETE", f"/watch/progress/{anime_id}", status=204)
    for hours, episode in ((9, 1), (7, 2), (8, 1)):
        place = await watch(viewer, anime_id, episode, 10, watched_at=ago(hours=hours))
    assert place["episode"] == 2
    assert place["last_watched_at"] < ago(hours=6)


async def test_late_report_changes_no_later_choice(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=12)
    path = f"/library/{anime_id}"
    for choice in (
        {"status": "dropped"},
        {"status": "on_hold"},
        {"status": "watching", "is_rewatching": True},
        {"status": "completed", "is_rewatching": True},
    ):
        chosen = await viewer.write("PUT", path, {**choice, "episodes_watched": 3})
        await watch(viewer, anime_id, 12, watched_at=ago(days=1))
        assert await viewer.read(path) == chosen


async def test_late_report_does_not_bring_back_a_hidden_anime(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    await watch(viewer, anime_id, 1, 10, watched_at=ago(hours=3))
    await viewer.write("DELETE", f"/watch/continue/{anime_id}", status=204)
    assert (await watch(viewer, anime_id, 2, 10, watched_at=ago(hours=2)))["episode"] == 2
    assert await viewer.read("/watch/continue") == []
    await watch(viewer, anime_id, 2, 20)
    assert len(await viewer.read("/watch/continue")) == 1


@pytest.mark.parametrize("path", ["/watch/progress", "/views"])
async def test_time_of_a_report_is_checked(backend: Backend, viewer: Viewer, path: str) -> None:
    anime_id = await backend.anime()
    body = report(anime_id) if path != "/views" else {"episode_id": await backend.episode(anime_id), "progress": 5}
    tomorrow = {"watched_at": ago(days=-1)}
    assert_error(await viewer.request("POST", path, json=body | tomorrow), 400, FUTURE)
    wrong: tuple[Any, ...] = ("", "yesterday", "2026-01-01", "2026-01-01T00:00:00", [], "2026-13-01T00:00:00Z")
    await check_bodies_refused(viewer, "POST", path, [body | {"watched_at": it} for it in wrong])
    assert await viewer.read(path) == []
    # The clock of a device may be fast by some seconds.
    row = await viewer.write(
        "POST", path, body | {"watched_at": ago(seconds=-20)}, status=201 if path == "/views" else 200
    )
    assert row["last_viewed_at" if path == "/views" else "last_watched_at"] <= datetime.now(UTC).isoformat()


async def test_late_view_changes_no_newer_one(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(duration_seconds=100)
    episode_id = await backend.episode(anime_id, 7)
    body = {"episode_id": episode_id, "device": "tv"}
    newer = await viewer.write("POST", "/views", body | {"progress": 20}, status=201)
    late = {"progress": 95, "device": "phone", "watched_at": ago(days=1)}
    assert await viewer.write("POST", "/views", body | late, status=201) == newer
    assert await viewer.read("/views") == [newer]
    assert await plays(viewer) == [(anime_id, 7)]


async def test_devices_in_step_hear_of_what_comes_late(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    view = {"episode_id": await backend.episode(anime_id), "progress": 5, "watched_at": ago(days=3)}
    for path, body, status in (
        ("/views", view, 201),
        ("/watch/progress", report(anime_id, watched_at=ago(days=3)), 200),
    ):
        since = (await viewer.request("GET", f"{path}?updated_since=2000-01-01T00:00:00Z")).headers["x-updated-until"]
        row = await viewer.write("POST", path, body, status=status)
        assert await viewer.read(f"{path}?updated_since={since}") == [row]


async def test_play_is_recorded_for_each_time(backend: Backend, viewer: Viewer) -> None:
    anime_id, film = await backend.anime(episode_count=12), await backend.anime(episode_count=1)
    for percent in (10, 89, 90, 95, 100):
        await watch(viewer, anime_id, 1, percent)
    assert await plays(viewer) == [(anime_id, 1)]
    # Begun again and finished again; then days apart, from a device that reports only the end.
    for percent in (3, 91, 100):
        await watch(viewer, anime_id, 1, percent)
    for days in (3, 2, 3, 1):
        await watch(viewer, film, watched_at=ago(days=days))
    assert await plays(viewer) == [(anime_id, 1), (anime_id, 1), *[(film, 1)] * 3]
    # A view of what the progress told already, and a number above the count.
    await watch(viewer, anime_id, 13)
    await watch(viewer, anime_id, 12)
    view = {"episode_id": await backend.episode(anime_id, 12), "progress": 1400}
    await backend.rows.execute("UPDATE anime SET duration_seconds = 1400")
    await viewer.write("POST", "/views", view, status=201)
    assert [number for each, number in await plays(viewer) if each == anime_id] == [12, 1, 1]


async def test_plays_are_listed_newest_first_and_removed(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    animes = await backend.animes(4)
    for days, anime_id in enumerate(animes):
        await watch(viewer, anime_id, watched_at=ago(days=days))
    await watch(other, animes[0])
    await check_list(viewer, "/history", animes, "anime_id")
    newest, *rest = await viewer.read("/history")
    assert set(newest) == {"id", "anime_id", "episode", "watched_at", "anime"}
    assert newest["anime"]["id"] == animes[0]
    assert_error(await other.request("DELETE", f"/history/{newest['id']}"), 404, "Play not found")
    await viewer.write("DELETE", f"/history/{newest['id']}", status=204)
    assert_error(await viewer.request("DELETE", f"/history/{newest['id']}"), 404, "Play not found")
    assert await viewer.read("/history") == rest
    await viewer.write("DELETE", "/history", status=204)
    assert await viewer.read("/history") == []
    assert len(await other.read("/history")) == 1
    assert len(await viewer.read("/watch/progress")) == 4


async def test_merge_and_its_undo_move_plays(backend: Backend, viewer: Viewer) -> None:
    editor = await backend.viewer("editor")
    old, into = await backend.animes(2)
    for number, anime_id in enumerate((old, old, into), 1):
        await watch(viewer, anime_id, number)
    before = await plays(viewer)
    await editor.write("POST", f"/anime/{old}/merge", {"into": into})
    assert await plays(viewer) == [(into, 3), (into, 2), (into, 1)]
    removed = (await viewer.read("/history"))[1]["id"]
    await viewer.write("DELETE", f"/history/{removed}", status=204)
    (merge,) = await editor.read("/merges")
    await editor.write("POST", f"/merges/{merge['id']}/undo")
    assert await plays(viewer) == [before[0], before[2]]


async def test_batch_has_a_result_for_each_report(backend: Backend, viewer: Viewer) -> None:
    anime_id, other = await backend.anime(episode_count=12), await backend.anime()
    await viewer.write("PUT", f"/library/{anime_id}", {"status": "watching"})
    reports: list[Any] = [
        report(anime_id, 3, 40, watched_at=ago(hours=1)),
        report(anime_id, 1, watched_at=ago(hours=3)),
        report(anime_id, 2, watched_at=ago(hours=2)),
        report(UNKNOWN_ID),
        report(other, 0),
        report(other, 1, watched_at=ago(days=-1)),
        {"anime_id": other, "position_seconds": 5},
        report(other, "x"),  # type: ignore[arg-type]
        report("x"),
        {},
        report(other, 2, unknown=1),
    ]
    results = (await viewer.write("POST", BATCH, {"reports": reports}))["results"]
    assert [each["status"] for each in results] == [200, 200, 200, 404, 400, 400, 422, 422, 422, 422, 200]
    place = {each["anime_id"]: each for each in await viewer.read("/watch/progress")}
    assert results[0] == {"status": 200, "progress": place[anime_id], "error": None}
    assert results[10]["progress"] == place[other]
    assert place[anime_id]["episode"] == 3
    assert (await viewer.read(f"/library/{anime_id}"))["episodes_watched"] == 2
    assert await plays(viewer) == [(other, 2), (anime_id, 2), (anime_id, 1)]
    assert results[3]["error"] == {"code": "NOT_FOUND", "message": "Anime not found", "details": None}
    assert results[5]["error"]["message"] == FUTURE
    assert [results[at]["error"]["details"][0]["field"] for at in (7, 8)] == ["episode", "anime_id"]


async def test_bad_batch_stores_nothing(backend: Backend, viewer: Viewer) -> None:
    one = report(await backend.anime())
    bodies = [{}, [one], {"reports": []}, {"reports": {}}, {"reports": [1]}, {"reports": [one] * 501}]
    await check_bodies_refused(viewer, "POST", BATCH, [*bodies, {"reports": [one], "more": 1}])
    assert await viewer.read("/watch/progress") == []


async def test_largest_batch_is_stored_once(backend: Backend, viewer: Viewer) -> None:
    rows = [{"id": uuid4(), "title": f"Anime {number}", "episode_count": 10} for number in range(50)]
    animes = [await insert(backend.rows, "anime", row) for row in rows]
    await backend.rows.execute(
        "INSERT INTO library_entries (id, user_id, anime_id, status) SELECT gen_random_uuid(), $1, id, 'watching'"
        " FROM anime WHERE id = any($2)",
        *(viewer.id, [UUID(each) for each in animes]),
    )
    reports = [
        report(anime_id, episode, watched_at=ago(days=20 - episode))
        for episode in range(10, 0, -1)
        for anime_id in animes
    ]
    headers = {"Idempotency-Key": "one"}
    first = await viewer.request("POST", BATCH, json={"reports": reports}, headers=headers)
    assert first.status_code == 200
    assert len(first.json()["results"]) == 500
    again = await viewer.request("POST", BATCH, json={"reports": reports}, headers=headers)
    assert again.json() == first.json()
    response = await viewer.request("GET", "/history?total=true&limit=1")
    assert response.headers["x-total-count"] == "500"
    entries = await viewer.read("/library?limit=100")
    assert {(each["status"], each["episodes_watched"]) for each in entries} == {("completed", 10)}
    assert await viewer.read("/watch/continue") == []
