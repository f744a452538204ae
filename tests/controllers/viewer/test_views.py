"""/views: the viewer's history."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.assertions import assert_error, check_bodies_refused, check_list, statements, without_each
from tests.factories import Backend, Viewer
from tests.values import BAD_IDS, EXTRA, MAX_INTEGER, NOT_INTEGERS, NOT_TEXTS, UNKNOWN_ID

FIELDS = {"id", "episode_id", "release_id", "anime_id", "episode_number", "progress", "device", "last_viewed_at"}


async def see(viewer: Viewer, episode_id: str, progress: int = 60, **more: Any) -> Any:
    return await viewer.write("POST", "/views", {"episode_id": episode_id, "progress": progress, **more}, 201)


async def episodes(backend: Backend, count: int) -> list[str]:
    anime_id = await backend.anime()
    return [await backend.episode(anime_id, number) for number in range(1, count + 1)]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("device", [None, "", "living room", "д" * 128, "null", "🦊" * 128])
async def test_view_is_stored_and_read_back(backend: Backend, viewer: Viewer, device: str | None, slash: str) -> None:
    anime_id = await backend.anime()
    episode_id = await backend.episode(anime_id, 12)
    body = {"episode_id": episode_id, "progress": 431, "device": device}
    view = await viewer.write("POST", f"/views{slash}", body, 201)
    assert set(view) == FIELDS
    assert (body | {"anime_id": anime_id, "episode_number": 12}).items() <= view.items()
    release_id = await backend.rows.fetchval("SELECT release_id FROM episodes WHERE id = $1", UUID(episode_id))
    assert view["release_id"] == str(release_id)
    assert view["last_viewed_at"].endswith("Z")
    assert await viewer.read(f"/views{slash}") == [view]
    assert await viewer.write("DELETE", f"/views/{view['id']}{slash}", status=204) is None
    assert await viewer.read("/views") == []


async def test_second_view_of_an_episode_replaces_the_first(backend: Backend, viewer: Viewer) -> None:
    one, other = await episodes(backend, 2)
    first, beside = await see(viewer, one, 100, device="tv"), await see(viewer, other)
    for progress in (MAX_INTEGER, 0, 50):
        later = await see(viewer, one, progress)
        assert later["last_viewed_at"] > first["last_viewed_at"]
        assert later == first | {"progress": progress, "device": None, "last_viewed_at": later["last_viewed_at"]}
        assert await viewer.read("/views") == [later, beside]


async def test_invalid_body_is_422(backend: Backend, viewer: Viewer) -> None:
    body = {"episode_id": (await episodes(backend, 1))[0], "progress": 1}
    changes = [
        *[{"episode_id": it} for it in (None, 1, *BAD_IDS, *NOT_TEXTS)],
        *[{"progress": it} for it in (None, -1, *NOT_INTEGERS)],
        *[{"device": it} for it in ("x" * 129, "🦊" * 129, *NOT_TEXTS)],
    ]
    await check_bodies_refused(viewer, "POST", "/views", [body | it for it in changes])
    await check_bodies_refused(viewer, "POST", "/views", without_each(body, "episode_id", "progress"))
    assert await viewer.read("/views") == []


async def test_unknown_view_or_episode_is_404(viewer: Viewer) -> None:
    body = {"episode_id": UNKNOWN_ID, "progress": 1}
    assert_error(await viewer.request("POST", "/views", json=body), 404, "Episode not found")
    assert_error(await viewer.request("DELETE", f"/views/{UNKNOWN_ID}"), 404)
    for bad in BAD_IDS:
        assert_error(await viewer.request("DELETE", f"/views/{bad}"), 422)


async def test_unknown_field_is_422(backend: Backend, viewer: Viewer) -> None:
    (episode_id,) = await episodes(backend, 1)
    others = {"anime_id": UNKNOWN_ID, "last_viewed_at": "2000-01-01T00:00:00Z"}
    bodies = [{"episode_id": episode_id, "progress": 1, name: value} for name, value in {**EXTRA, **others}.items()]
    await check_bodies_refused(viewer, "POST", "/views", bodies)
    assert await viewer.read("/views") == []


async def test_list_is_sorted_last_viewed_first(backend: Backend, viewer: Viewer) -> None:
    ids = await episodes(backend, 5)
    for episode_id in (*ids, ids[1]):
        await see(viewer, episode_id)
    await check_list(viewer, "/views", [ids[1], ids[4], ids[3], ids[2], ids[0]], "episode_id")
    with statements() as seen:
        await viewer.read("/views")
    assert len(seen) == 2, seen


async def test_views_of_another_viewer_are_separate(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    (episode_id,) = await episodes(backend, 1)
    view = await see(viewer, episode_id)
    assert await other.read("/views") == []
    assert_error(await other.request("DELETE", f"/views/{view['id']}"), 404)
    own = await see(other, episode_id, 5)
    assert own["id"] != view["id"]
    assert await other.write("DELETE", "/views", status=204) is None
    assert await other.read("/views") == []
    assert await viewer.read("/views") == [view]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_cleared_history_can_be_filled_again(backend: Backend, viewer: Viewer, slash: str) -> None:
    ids = await episodes(backend, 3)
    for episode_id in ids:
        await see(viewer, episode_id)
    for _ in range(2):
        assert await viewer.write("DELETE", f"/views{slash}", status=204) is None
        assert await viewer.read("/views") == []
    view = await see(viewer, ids[0])
    assert await viewer.read("/views") == [view]


async def test_removing_a_view_keeps_the_others(backend: Backend, viewer: Viewer) -> None:
    one, other = [await see(viewer, episode_id) for episode_id in await episodes(backend, 2)]
    assert await viewer.write("DELETE", f"/views/{one['id']}", status=204) is None
    assert_error(await viewer.request("DELETE", f"/views/{one['id']}"), 404)
    assert await viewer.read("/views") == [other]


async def test_concurrent_views_leave_one_row(backend: Backend, viewer: Viewer) -> None:
    (episode_id,) = await episodes(backend, 1)
    responses = await asyncio.gather(*(see(viewer, episode_id, progress) for progress in range(30)))
    assert len({response["id"] for response in responses}) == 1
    (stored,) = await viewer.read("/views")
    assert stored in responses
    assert sorted(response["progress"] for response in responses) == list(range(30))
