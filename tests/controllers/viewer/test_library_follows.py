"""The effects of watch progress on a library entry."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.factories import Backend, Viewer

Player = Mapping[str, float]
Posts = list[tuple[int, Player]]
LAST = {"progress_percent": 90}
"""The percentage at which an episode counts as watched."""
BEGUN = {"position_seconds": 1}


def today() -> str:
    return datetime.now(UTC).date().isoformat()


async def put(viewer: Viewer, anime_id: str, status: str) -> Any:
    return await viewer.write("PUT", f"/library/{anime_id}", {"status": status, "score": 7, "notes": "good"})


async def watch(viewer: Viewer, anime_id: str, episode: int, more: Player) -> None:
    await viewer.write("POST", "/watch/progress", {"anime_id": anime_id, "episode": episode, **more})


@pytest.mark.parametrize(
    ("before", "posts", "after", "watched"),
    [
        # A finished episode starts a planned anime.
        ("plan_to_watch", [(1, LAST)], "watching", 1),
        ("plan_to_watch", [(5, LAST)], "watching", 5),
        # The finished last episode completes it, by percentage or position.
        ("watching", [(12, LAST)], "completed", 12),
        ("watching", [(12, {"progress_percent": 100})], "completed", 12),
        ("watching", [(12, {"position_seconds": 1242})], "completed", 12),
        ("watching", [(12, {"position_seconds": 99_999_999})], "completed", 12),
        ("watching", [(12, {"position_seconds": 1, "progress_percent": 95})], "completed", 12),
        ("watching", [(13, LAST)], "completed", 12),
        ("plan_to_watch", [(12, LAST)], "completed", 12),
        ("on_hold", [(12, LAST)], "completed", 12),
        ("dropped", [(12, LAST)], "completed", 12),
        # An episode that is not finished changes nothing but the place.
        ("plan_to_watch", [(1, BEGUN), (12, {"progress_percent": 89.99})], "plan_to_watch", 0),
        ("watching", [(12, {"progress_percent": 89.99})], "watching", 0),
        ("watching", [(12, {"position_seconds": 1241}), (11, {"position_seconds": 0})], "watching", 0),
        ("watching", [(3, LAST), (12, BEGUN)], "watching", 3),
        ("watching", [(11, LAST)], "watching", 11),
        # Other statuses are kept.
        ("on_hold", [(1, BEGUN), (3, LAST), (12, {"progress_percent": 89})], "on_hold", 3),
        ("dropped", [(1, BEGUN), (3, LAST), (12, {"progress_percent": 89})], "dropped", 3),
        # An earlier episode lowers nothing.
        ("watching", [(12, LAST), (1, BEGUN), (3, LAST), (12, BEGUN)], "completed", 12),
        ("completed", [(1, BEGUN), (2, LAST)], "completed", 12),
        ("watching", [(7, LAST), (2, LAST)], "watching", 7),
    ],
)
async def test_progress_updates_the_entry(
    backend: Backend, viewer: Viewer, before: str, posts: Posts, after: str, watched: int
) -> None:
    anime_id = await backend.anime(episode_count=12, duration_seconds=1380)
    first = await put(viewer, anime_id, before)
    for episode, more in posts:
        await watch(viewer, anime_id, episode, more)
    entry = await viewer.read(f"/library/{anime_id}")
    begun = before == "watching" or (before == "plan_to_watch" and after != before)
    assert entry == first | {
        "status": after,
        "episodes_watched": watched,
        "started_on": today() if begun else None,
        "completed_on": today() if after == "completed" else None,
        "version": entry["version"],
        "updated_at": entry["updated_at"],
    }


@pytest.mark.parametrize("duration", [None, 1380])
@pytest.mark.parametrize("status", ["plan_to_watch", "watching", "on_hold", "dropped"])
async def test_anime_without_episode_count_is_never_completed(
    backend: Backend, viewer: Viewer, status: str, duration: int | None
) -> None:
    anime_id = await backend.anime(episode_count=None, duration_seconds=duration)
    await put(viewer, anime_id, status)
    for episode in (1, 12, 1000):
        await watch(viewer, anime_id, episode, {"position_seconds": 5000, "progress_percent": 100})
    entry = await viewer.read(f"/library/{anime_id}")
    assert entry["status"] == ("watching" if status == "plan_to_watch" else status)
    assert (entry["completed_on"], entry["episodes_watched"]) == (None, 1000)


async def test_position_in_unknown_duration_finishes_no_episode(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=12, duration_seconds=None)
    await put(viewer, anime_id, "watching")
    await watch(viewer, anime_id, 12, {"position_seconds": 99_999})
    assert (await viewer.read(f"/library/{anime_id}"))["status"] == "watching"
    await watch(viewer, anime_id, 12, LAST)
    assert (await viewer.read(f"/library/{anime_id}"))["status"] == "completed"


async def test_progress_keeps_existing_dates(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=12)
    await put(viewer, anime_id, "plan_to_watch")
    await backend.rows.execute(
        "UPDATE library_entries SET started_on = '2019-01', completed_on = '2020' WHERE user_id = $1", viewer.id
    )
    for episode, status in ((1, "watching"), (12, "completed")):
        await watch(viewer, anime_id, episode, LAST)
        entry = await viewer.read(f"/library/{anime_id}")
        assert (entry["status"], entry["started_on"], entry["completed_on"]) == (status, "2019-01", "2020")


async def test_progress_never_lowers_episodes_watched(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=12)
    await put(viewer, anime_id, "watching")
    await watch(viewer, anime_id, 7, LAST)
    await put(viewer, anime_id, "plan_to_watch")
    await watch(viewer, anime_id, 2, LAST)
    entry = await viewer.read(f"/library/{anime_id}")
    assert (entry["status"], entry["episodes_watched"]) == ("watching", 7)


async def test_progress_creates_no_entry(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    anime_id, beside = await backend.anime(episode_count=1), await backend.anime(episode_count=1)
    entries = [await put(other, anime_id, "plan_to_watch"), await put(viewer, beside, "plan_to_watch")]
    await watch(viewer, anime_id, 1, LAST)
    assert await viewer.read("/library") == entries[1:]
    assert await other.read("/library") == entries[:1]


async def test_progress_without_effect_keeps_the_version(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=12)
    await put(viewer, anime_id, "watching")
    await watch(viewer, anime_id, 5, BEGUN)
    entry = await viewer.read(f"/library/{anime_id}")
    for episode in (5, 4, 1):
        await watch(viewer, anime_id, episode, {"position_seconds": 60})
    assert await viewer.read(f"/library/{anime_id}") == entry


async def test_finished_rewatch_counts_once_and_keeps_the_days(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=2)
    path = f"/library/{anime_id}"
    first = {"status": "completed", "started_on": "2019", "completed_on": "2019-07-01", "times_rewatched": 4}
    for status in ("completed", "watching"):
        before = await viewer.write("PUT", path, first | {"status": status, "is_rewatching": True})
        await watch(viewer, anime_id, 1, LAST)
        assert (await viewer.read(path))["is_rewatching"] is True
        for percent in (89, 90, 95, 100):
            await watch(viewer, anime_id, 2, {"progress_percent": percent})
        after = await viewer.read(path)
        changed = {"status": "completed", "times_rewatched": 5, "is_rewatching": False, "episodes_watched": 2}
        assert after == before | changed | {name: after[name] for name in ("version", "updated_at")}


async def test_own_edit_wins_over_the_place(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=12)
    path = f"/library/{anime_id}"
    await put(viewer, anime_id, "watching")
    await watch(viewer, anime_id, 9, LAST)
    assert (await viewer.write("PATCH", path, {"episodes_watched": 2}))["episodes_watched"] == 2
    await watch(viewer, anime_id, 9, BEGUN)
    assert (await viewer.read(path))["episodes_watched"] == 2
    await watch(viewer, anime_id, 3, LAST)
    assert (await viewer.read(path))["episodes_watched"] == 3


async def test_concurrent_progress_loses_no_update(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=20)
    await put(viewer, anime_id, "plan_to_watch")
    await asyncio.gather(*(watch(viewer, anime_id, episode, LAST) for episode in range(1, 21)))
    (entry,) = await viewer.read("/library")
    assert (entry["status"], entry["episodes_watched"], entry["completed_on"]) == ("completed", 20, today())
