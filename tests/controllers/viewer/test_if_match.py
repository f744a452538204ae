"""`If-Match` on library entries and collections: a change of an old version gets 412."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.assertions import assert_error
from tests.factories import Backend, Viewer

STALE = "The condition of If-Match is not met"


async def tag_of(viewer: Viewer, path: str) -> str:
    return str((await viewer.request("GET", path)).headers["etag"])


async def entry(backend: Backend, viewer: Viewer) -> str:
    """Create a library entry and return its path."""
    path = f"/library/{await backend.anime()}"
    await viewer.write("PUT", path, {"status": "watching"})
    return path


async def collection(_: Backend, viewer: Viewer) -> str:
    """Create a collection and return its path."""
    return f"/collections/{(await viewer.write('POST', '/collections', {'name': 'x'}, 201))['id']}"


async def put_entry(viewer: Viewer, path: str, tag: str, text: str) -> httpx.Response:
    return await viewer.request(
        "PUT", path, json={"status": "watching", "notes": text}, headers={"If-Match": tag.encode("latin-1")}
    )


async def patch_collection(viewer: Viewer, path: str, tag: str, text: str) -> httpx.Response:
    return await viewer.request("PATCH", path, json={"name": text}, headers={"If-Match": tag.encode("latin-1")})


Make = Callable[[Backend, Viewer], Awaitable[str]]
Change = Callable[[Viewer, str, str, str], Awaitable[httpx.Response]]
BOTH = pytest.mark.parametrize(("make", "change"), [(entry, put_entry), (collection, patch_collection)])


@BOTH
async def test_etag_changes_with_each_change(backend: Backend, viewer: Viewer, make: Make, change: Change) -> None:
    path = await make(backend, viewer)
    known = []
    for text in ("a", "b", "b"):
        tag = await tag_of(viewer, path)
        state = await viewer.read(path)
        assert tag == f'"{state["id"]}.{state["version"]}"'
        assert tag not in known
        known.append(tag)
        changed = await change(viewer, path, tag, text)
        assert changed.status_code == 200
        assert changed.headers["etag"] == await tag_of(viewer, path)
        assert changed.json() == await viewer.read(path)


@BOTH
async def test_change_with_old_tag_is_412(backend: Backend, viewer: Viewer, make: Make, change: Change) -> None:
    path, elsewhere = await make(backend, viewer), await make(backend, viewer)
    old = await tag_of(viewer, path)
    await change(viewer, path, old, "new")
    state, current = await viewer.read(path), await tag_of(viewer, path)
    for stale in (
        *(old, f"W/{old}", f'{old}, "x"', await tag_of(viewer, elsewhere), '"*"', f'{old}, "*"', "", ",", "x"),
        *(current[:-2] + '"', current[:-1] + '0"', current[1:-1].swapcase() + "x", f'"{"x" * 9000}"', "\xff"),
    ):
        assert_error(await change(viewer, path, stale, "stale"), 412, STALE)
    assert await viewer.read(path) == state


@BOTH
@pytest.mark.parametrize("tag", ["*", " * ", '"x", {}', "{},{}", 'W/"x" , {}', "W/{}", '"x", W/{}', "  {}  ", '"", {}'])
async def test_change_with_current_tag_among_others_is_done(
    backend: Backend, viewer: Viewer, make: Make, change: Change, tag: str
) -> None:
    path = await make(backend, viewer)
    current = await tag_of(viewer, path)
    assert (await change(viewer, path, tag.replace("{}", current), "new")).status_code == 200
    assert await tag_of(viewer, path) != current


@BOTH
async def test_concurrent_changes_with_one_tag_store_one(
    backend: Backend, viewer: Viewer, make: Make, change: Change
) -> None:
    path = await make(backend, viewer)
    for _ in range(3):
        tag = await tag_of(viewer, path)
        responses = await asyncio.gather(*(change(viewer, path, tag, f"by {it}") for it in range(20)))
        assert Counter(response.status_code for response in responses) == {200: 1, 412: 19}
        (winner,) = (response.json() for response in responses if response.status_code == 200)
        assert await viewer.read(path) == winner


async def test_any_tag_for_missing_entry_is_412(backend: Backend, viewer: Viewer) -> None:
    path = f"/library/{await backend.anime()}"
    for tag in ("*", '"x"', ""):
        assert_error(await put_entry(viewer, path, tag, "x"), 412, STALE)
    assert await viewer.read("/library") == []


async def test_tag_of_removed_entry_does_not_match_its_successor(backend: Backend, viewer: Viewer) -> None:
    path = await entry(backend, viewer)
    tag = await tag_of(viewer, path)
    await viewer.write("DELETE", path, status=204)
    assert_error(await put_entry(viewer, path, tag, "x"), 412, STALE)
    made = await viewer.write("PUT", path, {"status": "watching"})
    assert_error(await put_entry(viewer, path, tag, "x"), 412, STALE)
    assert await viewer.read("/library") == [made]


async def test_tag_of_another_viewers_entry_does_not_match(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    path = await entry(backend, viewer)
    await other.write("PUT", path, {"status": "dropped"})
    assert_error(await put_entry(other, path, await tag_of(viewer, path), "x"), 412, STALE)


async def test_progress_changes_the_tag_of_an_entry(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    path = f"/library/{anime_id}"
    await viewer.write("PUT", path, {"status": "plan_to_watch"})
    tag = await tag_of(viewer, path)
    await viewer.write("POST", "/watch/progress", {"anime_id": anime_id, "episode": 2, "progress_percent": 95})
    assert_error(await put_entry(viewer, path, tag, "x"), 412, STALE)


@pytest.mark.parametrize("query", ["", "?position=0"])
async def test_items_change_the_tag_of_a_collection(backend: Backend, viewer: Viewer, query: str) -> None:
    path, animes = await collection(backend, viewer), await backend.animes(2)

    async def put(anime_id: str, tag: str) -> httpx.Response:
        return await viewer.request(
            "PUT", f"{path}/anime/{anime_id}{query}", headers={"If-Match": tag.encode("latin-1")}
        )

    known = await tag_of(viewer, path)
    assert (await put(animes[0], known)).status_code == 204
    assert_error(await put(animes[1], known), 412, STALE)
    assert_error(await patch_collection(viewer, path, known, "x"), 412, STALE)
    known = await tag_of(viewer, path)
    await viewer.write("DELETE", f"{path}/anime/{animes[0]}", status=204)
    assert_error(await put(animes[1], known), 412, STALE)
    assert await viewer.read(f"{path}/anime") == []
    assert (await put(animes[1], "*")).status_code == 204


@pytest.mark.parametrize("make", [entry, collection])
async def test_delete_with_old_tag_is_412_and_with_current_tag_done(
    backend: Backend, viewer: Viewer, make: Make
) -> None:
    path = await make(backend, viewer)
    old = await tag_of(viewer, path)
    change = put_entry if make is entry else patch_collection
    await change(viewer, path, old, "new")
    assert_error(await viewer.request("DELETE", path, headers={"If-Match": old}), 412, STALE)
    current = await tag_of(viewer, path)
    assert (await viewer.request("DELETE", path, headers={"If-Match": f"W/{current}"})).status_code == 204
    assert (await viewer.request("GET", path)).status_code == 404
    missing = await viewer.request("DELETE", path, headers={"If-Match": "*"})
    assert missing.status_code == (412 if make is entry else 404)


async def test_removal_from_a_collection_with_its_old_tag_is_412(backend: Backend, viewer: Viewer) -> None:
    path, anime_id = await collection(backend, viewer), await backend.anime()
    item, old = f"{path}/anime/{anime_id}", await tag_of(viewer, path)
    await viewer.write("PUT", item, status=204)
    assert_error(await viewer.request("DELETE", item, headers={"If-Match": old}), 412, STALE)
    assert len(await viewer.read(f"{path}/anime")) == 1
    headers = {"If-Match": await tag_of(viewer, path)}
    assert (await viewer.request("DELETE", item, headers=headers)).status_code == 204


async def test_put_only_if_new_is_412_for_an_entry_that_exists(backend: Backend, viewer: Viewer) -> None:
    path, new = f"/library/{await backend.anime()}", {"If-None-Match": "*"}
    bodies = [{"status": "watching", "notes": f"by {number}"} for number in range(20)]
    responses = await asyncio.gather(*(viewer.request("PUT", path, json=body, headers=new) for body in bodies))
    assert Counter(response.status_code for response in responses) == {200: 1, 412: 19}
    (winner,) = (response.json() for response in responses if response.status_code == 200)
    assert await viewer.read(path) == winner
    refused = await viewer.request("PUT", path, json={"status": "dropped"}, headers=new)
    assert_error(refused, 412, "The condition of If-None-Match is not met")


@pytest.mark.parametrize("query", ["", "?position=0"])
async def test_put_only_if_new_is_412_for_an_anime_in_the_collection(
    backend: Backend, viewer: Viewer, query: str
) -> None:
    path, animes = await collection(backend, viewer), await backend.animes(2)
    headers = {"If-None-Match": "*"}
    for status in (204, 412):
        for anime_id in animes:
            response = await viewer.request("PUT", f"{path}/anime/{anime_id}{query}", headers=headers)
            assert response.status_code == status
