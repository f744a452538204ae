"""/favorites."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.assertions import assert_error, check_anime_by_one_query, check_bodies_refused, check_list
from tests.factories import Backend, Viewer
from tests.values import BAD_IDS, EXTRA, NOT_TEXTS, UNKNOWN_ID

FIELDS = {"id", "anime_id", "created_at", "anime"}
STORED = "SELECT count(*) FROM favorites WHERE user_id = $1"


async def add(viewer: Viewer, anime_id: str) -> Any:
    return await viewer.write("POST", "/favorites", {"anime_id": anime_id}, 201)


async def test_favorite_is_added_and_read_back(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(title="Death Note", year=2006, type="TV", episode_count=37)
    favorite = await add(viewer, anime_id)
    assert set(favorite) == FIELDS
    assert favorite["anime_id"] == favorite["anime"]["id"] == anime_id
    assert favorite["anime"]["title"] == "Death Note"
    assert favorite["created_at"].endswith("Z")
    assert await viewer.read("/favorites") == [favorite]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_trailing_slash_is_optional(backend: Backend, viewer: Viewer, slash: str) -> None:
    anime_id = await backend.anime()
    favorite = await viewer.write("POST", f"/favorites{slash}", {"anime_id": anime_id}, 201)
    assert await viewer.read(f"/favorites{slash}") == [favorite]
    assert await viewer.write("DELETE", f"/favorites/{anime_id}{slash}", status=204) is None
    assert await viewer.read("/favorites") == []


async def test_favorite_added_twice_is_409(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    favorite = await add(viewer, anime_id)
    for _ in range(2):
        assert_error(
            await viewer.request("POST", "/favorites", json={"anime_id": anime_id}), 409, "Favorite already exists"
        )
    assert await viewer.read("/favorites") == [favorite]


async def test_removed_favorite_can_be_removed_and_added_again(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    for _ in range(2):
        favorite = await add(viewer, anime_id)
        assert await viewer.read("/favorites") == [favorite]
        for _ in range(2):
            assert await viewer.write("DELETE", f"/favorites/{anime_id}", status=204) is None
        assert await viewer.read("/favorites") == []


async def test_favorite_of_unknown_anime_is_404(viewer: Viewer) -> None:
    assert_error(await viewer.request("POST", "/favorites", json={"anime_id": UNKNOWN_ID}), 404, "Anime not found")
    assert await viewer.write("DELETE", f"/favorites/{UNKNOWN_ID}", status=204) is None
    assert await viewer.read("/favorites") == []


async def test_invalid_body_is_422(viewer: Viewer) -> None:
    ids = (None, 1, True, [], {}, "", *BAD_IDS, *NOT_TEXTS)
    await check_bodies_refused(viewer, "POST", "/favorites", [{}, [], None, "x", *({"anime_id": it} for it in ids)])
    assert await viewer.read("/favorites") == []


@pytest.mark.parametrize("anime_id", BAD_IDS)
async def test_path_without_valid_id_is_422(viewer: Viewer, anime_id: str) -> None:
    assert_error(await viewer.request("DELETE", f"/favorites/{anime_id}"), 422)


async def test_unsupported_method_is_405(viewer: Viewer) -> None:
    for method, path in (("DELETE", "/favorites"), ("PUT", "/favorites"), ("GET", f"/favorites/{UNKNOWN_ID}")):
        assert_error(await viewer.request(method, path), 405)


async def test_unknown_fields_are_ignored(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    anime_id = await backend.anime()
    body = EXTRA | {"user_id": str(other.id), "anime_id": anime_id}
    favorite = await viewer.write("POST", "/favorites", body, 201)
    assert favorite["id"] != UNKNOWN_ID
    assert await viewer.read("/favorites") == [favorite]
    assert await other.read("/favorites") == []
    assert (await viewer.read("/users/me"))["role"] == "user"


async def test_list_is_sorted_newest_first(backend: Backend, viewer: Viewer) -> None:
    ids = [(await add(viewer, anime_id))["id"] for anime_id in await backend.animes(5)]
    await check_list(viewer, "/favorites", ids[::-1])


async def test_favorites_of_equal_time_are_sorted_by_id(backend: Backend, viewer: Viewer) -> None:
    ids = [(await add(viewer, anime_id))["id"] for anime_id in await backend.animes(5)]
    await backend.rows.execute("UPDATE favorites SET created_at = '2024-01-01' WHERE user_id = $1", viewer.id)
    await check_list(viewer, "/favorites", sorted(ids, reverse=True))


async def test_list_reads_its_anime_in_one_statement(backend: Backend, viewer: Viewer) -> None:
    for anime_id in await backend.animes(6):
        await add(viewer, anime_id)
    await check_anime_by_one_query(viewer, "/favorites", backend)


async def test_favorites_of_another_viewer_are_separate(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    anime_id = await backend.anime()
    favorite = await add(viewer, anime_id)
    assert await other.read("/favorites") == []
    for named in (anime_id, favorite["id"]):
        assert await other.write("DELETE", f"/favorites/{named}", status=204) is None
    assert await viewer.read("/favorites") == [favorite]
    own = await add(other, anime_id)
    assert own["id"] != favorite["id"]
    assert await other.read("/favorites") == [own]


async def test_deleted_anime_deletes_its_favorites(backend: Backend, viewer: Viewer) -> None:
    gone, stays = await backend.animes(2)
    await add(viewer, gone)
    favorite = await add(viewer, stays)
    await backend.rows.execute("DELETE FROM anime WHERE id = $1", gone)
    assert await viewer.read("/favorites") == [favorite]


async def test_concurrent_adds_store_one_favorite(backend: Backend, viewer: Viewer) -> None:
    body = {"anime_id": await backend.anime()}
    for _ in range(2):
        responses = await asyncio.gather(*(viewer.request("POST", "/favorites", json=body) for _ in range(50)))
        assert Counter(response.status_code for response in responses) == {201: 1, 409: 49}
        assert await backend.rows.fetchval(STORED, viewer.id) == 1
        for response in responses:
            if response.status_code == 409:
                assert_error(response, 409, "Favorite already exists")
        removals = await asyncio.gather(
            *(viewer.request("DELETE", f"/favorites/{body['anime_id']}") for _ in range(10))
        )
        assert {response.status_code for response in removals} == {204}
        assert await backend.rows.fetchval(STORED, viewer.id) == 0


async def test_favorite_is_removed_by_its_own_id(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    anime_id = await backend.anime()
    own, kept, others = [
        await each.write("POST", "/favorites", {"anime_id": it}, 201)
        for each, it in ((viewer, anime_id), (viewer, await backend.anime()), (other, anime_id))
    ]
    for wanted in (own["id"], own["id"], others["id"], UNKNOWN_ID):
        assert await viewer.write("DELETE", f"/favorites/{wanted}", status=204) is None
        assert await viewer.read("/favorites") == [kept]
    assert await other.read("/favorites") == [others]
    since = "?updated_since=2000-01-01T00:00:00Z&deleted=true"
    assert [it["id"] for it in await viewer.read(f"/favorites{since}") if "deleted_at" in it] == [own["id"]]
