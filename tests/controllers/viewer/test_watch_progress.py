"""/watch/progress. Continue watching is in test_continue.py, effects on the library are in test_library_follows.py."""

import asyncio
from typing import Any

import pytest

from tests.assertions import assert_error, check_anime_by_one_query, check_bodies_refused, check_list, without_each
from tests.factories import Backend, Viewer
from tests.values import BAD_IDS, EXTRA, MAX_INTEGER, NOT_INTEGERS, NOT_TEXTS, UNKNOWN_ID

FIELDS = {
    *("id", "anime_id", "episode", "position_seconds", "progress_percent", "created_at", "last_watched_at"),
    *("updated_at", "hidden", "next_episode", "anime"),
}
NOT_NUMBERS: tuple[Any, ...] = (True, "x", [], {}, 10**400)
POSITIVE = "Episode number must be positive"
EITHER = "Either position_seconds or progress_percent must be provided"
PERCENT = "Progress percent must be between 0 and 100"
SECONDS = "Position in seconds must be non-negative"


async def watch(viewer: Viewer, anime_id: str, episode: int = 1, **more: Any) -> Any:
    body = {"anime_id": anime_id, "episode": episode, **(more or {"position_seconds": 60})}
    return await viewer.write("POST", "/watch/progress", body)


@pytest.mark.parametrize("slash", ["", "/"])
async def test_progress_is_stored_and_read_back(backend: Backend, viewer: Viewer, slash: str) -> None:
    anime_id = await backend.anime(title="Death Note")
    body = {"anime_id": anime_id, "episode": 7, "position_seconds": 431, "progress_percent": 30.5}
    progress = await viewer.write("POST", f"/watch/progress{slash}", body)
    assert set(progress) == FIELDS
    assert body.items() <= progress.items()
    assert progress["anime"]["title"] == "Death Note"
    times = {progress[name] for name in ("created_at", "last_watched_at", "updated_at")}
    assert len(times) == 1
    assert times.pop().endswith("Z")
    assert await viewer.read(f"/watch/progress{slash}") == [progress]
    assert await viewer.read(f"/watch/continue{slash}") == [progress]


async def test_second_progress_replaces_the_first(backend: Backend, viewer: Viewer) -> None:
    one, other = await backend.animes(2)
    first = await watch(viewer, one, 3, position_seconds=5, progress_percent=1)
    beside = await watch(viewer, other)
    for episode, more in ((4, {"position_seconds": 0}), (2, {"progress_percent": 0}), (2, {"progress_percent": 100})):
        later = await watch(viewer, one, episode, **more)
        assert (later["id"], later["created_at"]) == (first["id"], first["created_at"])
        assert later["last_watched_at"] == later["updated_at"] > first["last_watched_at"]
        assert {"position_seconds": None, "progress_percent": None} | more == {
            name: later[name] for name in ("position_seconds", "progress_percent")
        }
        assert await viewer.read("/watch/progress") == [later, beside]
        first = later


@pytest.mark.parametrize(
    "body",
    [
        {"episode": 1, "position_seconds": 0},
        {"episode": MAX_INTEGER, "position_seconds": MAX_INTEGER},
        {"episode": 1, "progress_percent": 0},
        {"episode": 1, "progress_percent": -0.0},
        {"episode": 1, "progress_percent": 100},
        {"episode": 1, "progress_percent": 99.99999999999999, "position_seconds": None},
        {"episode": 1, "progress_percent": 1e-300},
        {"episode": 1, "position_seconds": 1, "progress_percent": None},
    ],
)
async def test_progress_at_the_limits_is_stored(backend: Backend, viewer: Viewer, body: dict[str, Any]) -> None:
    anime_id = await backend.anime(duration_seconds=MAX_INTEGER, episode_count=MAX_INTEGER)
    await viewer.write("PUT", f"/library/{anime_id}", {"status": "plan_to_watch"})
    progress = await viewer.write("POST", "/watch/progress", {"anime_id": anime_id, **body})
    assert body.items() <= progress.items()
    assert await viewer.read("/watch/progress") == [progress]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        *[({"episode": episode, "position_seconds": 1}, POSITIVE) for episode in (0, -1, -MAX_INTEGER)],
        ({"episode": 1}, EITHER),
        ({"episode": 1, "position_seconds": None, "progress_percent": None}, EITHER),
        *[({"episode": 1, "progress_percent": it}, PERCENT) for it in (-1, -0.001, 100.001, 101, 1e300)],
        *[({"episode": 1, "position_seconds": it}, SECONDS) for it in (-1, -MAX_INTEGER)],
        ({"episode": 1, "position_seconds": 1, "progress_percent": 101}, PERCENT),
        ({"episode": 1, "position_seconds": -1, "progress_percent": 1}, SECONDS),
    ],
)
async def test_progress_out_of_range_is_400(
    backend: Backend, viewer: Viewer, body: dict[str, Any], message: str
) -> None:
    for anime_id in (await backend.anime(), UNKNOWN_ID):
        assert_error(await viewer.request("POST", "/watch/progress", json={"anime_id": anime_id, **body}), 400, message)
    assert await viewer.read("/watch/progress") == []


async def test_invalid_body_is_422(backend: Backend, viewer: Viewer) -> None:
    body = {"anime_id": await backend.anime(), "episode": 1, "position_seconds": 1}
    changes = [
        *[{"anime_id": it} for it in (None, 1, *BAD_IDS, *NOT_TEXTS)],
        *[{name: it} for name in ("episode", "position_seconds") for it in NOT_INTEGERS],
        {"episode": None},
        *[{"progress_percent": it} for it in NOT_NUMBERS],
    ]
    await check_bodies_refused(viewer, "POST", "/watch/progress", [body | it for it in changes])
    await check_bodies_refused(viewer, "POST", "/watch/progress", without_each(body, "anime_id", "episode"))
    assert await viewer.read("/watch/progress") == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
async def test_non_finite_number_is_422(backend: Backend, viewer: Viewer, number: str) -> None:
    body = f'{{"anime_id": "{await backend.anime()}", "episode": 1, "progress_percent": {number}}}'
    headers = {"Content-Type": "application/json"}
    assert_error(await viewer.request("POST", "/watch/progress", content=body, headers=headers), 422)


async def test_progress_of_unknown_anime_is_404(viewer: Viewer) -> None:
    body = {"anime_id": UNKNOWN_ID, "episode": 1, "position_seconds": 1}
    assert_error(await viewer.request("POST", "/watch/progress", json=body), 404, "Anime not found")
    for path in ("/watch/continue", "/watch/progress"):
        assert await viewer.write("DELETE", f"{path}/{UNKNOWN_ID}", status=204) is None


@pytest.mark.parametrize("anime_id", BAD_IDS)
async def test_path_without_valid_id_is_422(viewer: Viewer, anime_id: str) -> None:
    for path in ("/watch/continue", "/watch/progress"):
        assert_error(await viewer.request("DELETE", f"{path}/{anime_id}"), 422)


async def test_unknown_fields_are_ignored(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    progress = await watch(
        viewer, await backend.anime(), **{**EXTRA, "user_id": str(other.id), "hidden": True, "position_seconds": 1}
    )
    assert progress["id"] != UNKNOWN_ID
    assert progress["created_at"] == progress["last_watched_at"]
    assert await viewer.read("/watch/continue") == [progress]
    assert await other.read("/watch/progress") == []


@pytest.mark.parametrize("path", ["/watch/progress", "/watch/continue"])
async def test_lists_are_sorted_last_watched_first(backend: Backend, viewer: Viewer, path: str) -> None:
    animes = await backend.animes(5)
    for anime_id in (*animes, animes[1]):
        await watch(viewer, anime_id)
    order = [animes[1], animes[4], animes[3], animes[2], animes[0]]
    await check_list(viewer, path, order, "anime_id")
    await check_anime_by_one_query(viewer, path, backend)


async def test_progress_of_another_viewer_is_separate(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    anime_id = await backend.anime()
    progress = await watch(viewer, anime_id, 5)
    for path in ("/watch/progress", "/watch/continue"):
        assert await other.read(path) == []
    assert await other.write("DELETE", f"/watch/continue/{anime_id}", status=204) is None
    own = await watch(other, anime_id, 1)
    assert own["id"] != progress["id"]
    for path in ("/watch/progress", "/watch/continue"):
        assert await viewer.read(path) == [progress]
        assert await other.read(path) == [own]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_progress_is_removed(backend: Backend, viewer: Viewer, slash: str) -> None:
    removed, kept = await backend.animes(2)
    other = await backend.viewer()
    for each in (viewer, other):
        await watch(each, removed, progress_percent=95)
    beside = await watch(viewer, kept)
    entry = await viewer.write("PUT", f"/library/{removed}", {"status": "watching"})
    for _ in range(2):
        assert await viewer.write("DELETE", f"/watch/progress/{removed}{slash}", status=204) is None
        assert await viewer.read("/watch/progress") == await viewer.read("/watch/continue") == [beside]
    assert len(await other.read("/watch/progress")) == 1
    assert await viewer.read("/library") == [entry]
    assert len(await viewer.read("/history")) == 1
    assert (await watch(viewer, removed, 2))["episode"] == 2


async def test_concurrent_progress_leaves_one_row(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    responses = await asyncio.gather(*(watch(viewer, anime_id, episode) for episode in range(1, 31)))
    assert len({response["id"] for response in responses}) == 1
    (stored,) = await viewer.read("/watch/progress")
    assert stored in responses
    assert sorted(response["episode"] for response in responses) == list(range(1, 31))
