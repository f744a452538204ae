"""/watch/continue: what is begun and not ended, and what to play next. The model is in test_library_model.py."""

from typing import Any
from uuid import UUID

import pytest

from tests.assertions import check_list
from tests.factories import Backend, Viewer, insert


async def watch(viewer: Viewer, anime_id: str, episode: int = 1, **more: Any) -> Any:
    body = {"anime_id": anime_id, "episode": episode, **(more or {"position_seconds": 60})}
    return await viewer.write("POST", "/watch/progress", body)


async def test_completed_and_dropped_are_left_out_until_watched_again(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    by_status = {}
    for status in ("watching", "completed", "on_hold", "dropped", "plan_to_watch", None):
        anime_id = by_status[status] = await backend.anime()
        await watch(viewer, anime_id)
        # Another viewer's library entries have no effect.
        await other.write("PUT", f"/library/{anime_id}", {"status": "dropped"})
        if status:
            await viewer.write("PUT", f"/library/{anime_id}", {"status": status})
    left = [by_status[status] for status in (None, "plan_to_watch", "on_hold", "watching")]
    await check_list(viewer, "/watch/continue", left, "anime_id")
    assert len(await viewer.read("/watch/progress")) == 6
    # A change of the score is no new choice of the status.
    again = [by_status["dropped"], by_status["completed"]]
    for anime_id in reversed(again):
        await watch(viewer, anime_id, 2)
        await viewer.write("PATCH", f"/library/{anime_id}", {"score": 3})
    await check_list(viewer, "/watch/continue", [*again, *left], "anime_id")


@pytest.mark.parametrize("status", [None, "watching", "plan_to_watch"])
async def test_anime_is_gone_with_its_last_episode(backend: Backend, viewer: Viewer, status: str | None) -> None:
    anime_id = await backend.anime(episode_count=12, duration_seconds=1000)
    if status:
        await viewer.write("PUT", f"/library/{anime_id}", {"status": status})
    for episode, more, listed in (
        (11, {"progress_percent": 100}, [12]),
        (12, {"progress_percent": 89}, [None]),
        (12, {"position_seconds": 899}, [None]),
        (12, {"position_seconds": 900}, []),
        (1, {"progress_percent": 5}, [None]),
        (1, {"progress_percent": 95}, [2]),
        (13, {"progress_percent": 95}, []),
    ):
        progress = await watch(viewer, anime_id, episode, **more)
        found = await viewer.read("/watch/continue")
        assert [each["next_episode"] for each in found] == listed
        assert found == ([progress] if listed else [])
        response = await viewer.request("GET", "/watch/continue?total=true")
        assert response.headers["x-total-count"] == str(len(listed))


async def test_next_episode_of_an_unknown_count_is_the_next_known_one(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    release_id = UUID(await insert(backend.rows, "releases", {"anime_id": UUID(anime_id), "title": "TV"}))
    for number in (1, 2, 5):
        await insert(backend.rows, "episodes", {"release_id": release_id, "number": number})
    for episode, expected in ((1, 2), (2, 5), (3, 5), (5, None), (6, None)):
        assert (await watch(viewer, anime_id, episode, progress_percent=90))["next_episode"] == expected
        # It stays: this may not have been the last one.
        assert [each["next_episode"] for each in await viewer.read("/watch/continue")] == [expected]


async def test_longer_anime_comes_back(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(episode_count=5)
    await watch(viewer, anime_id, 5, progress_percent=100)
    assert await viewer.read("/watch/continue") == []
    await backend.rows.execute("UPDATE anime SET episode_count = 6 WHERE id = $1", UUID(anime_id))
    assert [each["next_episode"] for each in await viewer.read("/watch/continue")] == [6]


async def test_hidden_anime_reappears_when_played_again(backend: Backend, viewer: Viewer) -> None:
    hidden, other = await backend.animes(2)
    progress, beside = await watch(viewer, hidden, 5, position_seconds=77), await watch(viewer, other)
    for slash in ("", "/"):
        assert await viewer.write("DELETE", f"/watch/continue/{hidden}{slash}", status=204) is None
        assert await viewer.read("/watch/continue") == [beside]
    response = await viewer.request("GET", "/watch/continue?total=true")
    assert response.headers["x-total-count"] == "1"
    kept = (await viewer.read("/watch/progress"))[1]
    assert kept == progress | {"updated_at": kept["updated_at"], "hidden": True}
    again = await watch(viewer, hidden, 5, position_seconds=80)
    assert again["id"] == progress["id"]
    assert await viewer.read("/watch/continue") == [again, beside]
