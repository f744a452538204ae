"""POST, PATCH and DELETE of anime, releases and episodes."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.accounts import FORBIDDEN
from tests.factories import Backend, Viewer, insert_one_of_each

FIELDS = {
    "title": "Violet Evergarden",
    "description": "An auto memory doll learns what love is.",
    "year": 2018,
    "status": "FINISHED",
    "type": "TV",
    "season": "WINTER",
    "episode_count": 13,
    "duration_seconds": 1440,
    "score": 8.7,
    "poster": "https://pictures.example.org/violet.jpg",
    "thumbnail": "https://pictures.example.org/violet-t.jpg",
    "synonyms": ["Violet", "VE"],
    "genres": ["drama", "fantasy"],
    "studios": ["kyoto animation"],
}
UNKNOWN = "90000000-0000-4000-8000-000000000009"
NOTHING = {
    "releases": 0, "episodes": 0, "favorites": 0, "watch_progress": 0, "views": 0, "library_entries": 0,
    "collection_items": 0,
}  # fmt: skip


@pytest.fixture
def new_anime() -> dict[str, Any]:
    """All fields of a new anime. No other anime has its ids, or its second title."""
    unique = uuid4().hex
    ids = {"myanimelist": str(int(unique, 16)), "notify_moe": unique}
    return FIELDS | {"title_original": f"Original {unique}", "external_ids": ids}


def search_of(anime: dict[str, Any]) -> str:
    return f"/search/anime?q={anime['title_original']}"


@pytest.fixture
async def editor(backend: Backend) -> Viewer:
    return await backend.viewer("editor")


async def tag(viewer: Viewer, path: str) -> str:
    """Return the `ETag` of a GET."""
    return (await viewer.request("GET", path)).headers["etag"]


async def test_anime_is_created_with_all_fields(editor: Viewer, new_anime: dict[str, Any]) -> None:
    made = await editor.write("POST", "/anime", new_anime, 201)
    assert {name: made[name] for name in new_anime} == new_anime
    assert await editor.read(f"/anime/{made['id']}") == made
    assert [item["id"] for item in await editor.read(search_of(new_anime))] == [made["id"]]
    bare = await editor.write("POST", "/anime", {"title": "  Bare  "}, 201)
    assert bare == {**dict.fromkeys(made), **{name: [] for name in ("synonyms", "genres", "studios")}} | {
        "id": bare["id"], "title": "Bare", "type": "UNKNOWN", "external_ids": {}, "created_at": bare["created_at"],
        "updated_at": bare["updated_at"],
    }  # fmt: skip


async def test_patch_changes_only_what_it_names(editor: Viewer, new_anime: dict[str, Any]) -> None:
    made = await editor.write("POST", "/anime", new_anime, 201)
    path = f"/anime/{made['id']}"
    changed = await editor.write("PATCH", path, {"title": "Violet", "year": None, "genres": ["Drama", "drama"]})
    assert changed == made | {
        "title": "Violet", "year": None, "genres": ["drama"], "updated_at": changed["updated_at"]
    }  # fmt: skip
    assert changed["updated_at"] > made["updated_at"]
    assert await editor.read(path) == changed
    number = uuid4().hex
    ids = {"myanimelist": number, "notify_moe": None, "anilist": number}
    changed = await editor.write("PATCH", path, {"external_ids": ids})
    assert changed["external_ids"] == {"myanimelist": number, "anilist": number}
    assert (await editor.write("PATCH", path, {}))["external_ids"] == changed["external_ids"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        *[({"title": value}, "title") for value in (None, "", "  ", "a" * 256, 5, "nul\0")],
        *[({"year": value}, "year") for value in (0, 1899, 10_000, 1.5)],
        *[({"score": value}, "score") for value in (0.9, 10.1)],
        *[({"episode_count": value}, "episode_count") for value in (0, -1, 20_001, 2**31)],
        *[({"poster": value}, "poster") for value in ("javascript:alert(1)", "//x.org/a.jpg", "https://x.org/a b")],
        *[({"synonyms": value}, "synonyms") for value in (None, "one", [""], ["a" * 256], ["a"] * 201)],
        *[({"external_ids": value}, "external_ids") for value in ({"unknown": "1"}, {"anilist": 1}, {"anilist": ""})],
        ({"status": "RUNNING"}, "status"),
        ({"season": "AUTUMN"}, "season"),
        ({"titel": "Violet"}, "titel"),
        ({"id": UNKNOWN}, "id"),
    ],
)
async def test_invalid_field_gets_422(
    editor: Viewer, new_anime: dict[str, Any], wrong: dict[str, Any], field: str
) -> None:
    made = await editor.write("POST", "/anime", new_anime, 201)
    own_title = {"title": "Violet", "title_original": new_anime["title_original"]}
    for method, path, body in (("POST", "/anime", own_title | wrong), ("PATCH", f"/anime/{made['id']}", wrong)):
        error = await editor.write(method, path, body, 422)
        assert error["code"] == "VALIDATION_ERROR"
        assert wrong == {"title": "nul\0"} or field in str(error["details"])
    assert await editor.read(f"/anime/{made['id']}") == made
    assert len(await editor.read(search_of(new_anime))) == 1


async def test_external_id_of_another_anime_gets_409(editor: Viewer, new_anime: dict[str, Any]) -> None:
    made = await editor.write("POST", "/anime", new_anime, 201)
    other = await editor.write("POST", "/anime", {"title": "Other"}, 201)
    ids = {"external_ids": {"myanimelist": made["external_ids"]["myanimelist"]}}
    unique = uuid4().hex
    for method, path, body in (
        ("POST", "/anime", {"title": f"Third {unique}"} | ids),
        ("PATCH", f"/anime/{other['id']}", {"title": "Changed"} | ids),
    ):
        error = await editor.write(method, path, body, 409)
        assert (error["code"], error["message"]) == ("CONFLICT_ERROR", "External id already belongs to another anime")
    assert await editor.read(f"/anime/{other['id']}") == other
    assert await editor.read(search_of({"title_original": f"Third {unique}"})) == []
    assert (await editor.write("PATCH", f"/anime/{made['id']}", ids))["external_ids"] == made["external_ids"]


async def test_releases_and_episodes_are_created_and_changed(editor: Viewer, new_anime: dict[str, Any]) -> None:
    anime_id = (await editor.write("POST", "/anime", {"title": "Violet"}, 201))["id"]
    new = {"anime_id": anime_id, "title": "TV", "year": 2018, "status": "FINISHED"}
    release = await editor.write("POST", "/releases", new | {"episode_count": 2}, 201)
    assert release == new | {"id": release["id"], "episode_count": 2, "created_at": release["created_at"]}
    path = f"/releases/{release['id']}"
    assert await editor.read(path) == release
    assert await editor.write("PATCH", path, {"title": "TV, HD"}) == release | {"title": "TV, HD"}

    episodes = f"/episodes?release_id={release['id']}"
    assert [episode["number"] for episode in await editor.read(episodes)] == [1, 2]
    third = {"number": 3, "title": "May you be an exemplary Doll", "airs_at": "2018-01-25T00:00:00Z"}
    made = await editor.write("POST", "/episodes", {"release_id": release["id"]} | third, 201)
    assert made == {"id": made["id"]} | third
    assert (await editor.read(episodes))[2] == made
    changed = await editor.write("PATCH", f"/episodes/{made['id']}", {"number": 4, "airs_at": None})
    assert changed == made | {"number": 4, "airs_at": None}
    for method, to, body in (
        ("POST", "/episodes", {"release_id": release["id"], "number": 4}),
        ("PATCH", f"/episodes/{made['id']}", {"number": 1}),
    ):
        assert (await editor.write(method, to, body, 409))["message"] == "Episode number already exists"
    assert (await editor.read(episodes))[2] == changed


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        *[("PATCH", f"/{kind}/{UNKNOWN}", {"title": "x"}) for kind in ("anime", "releases", "episodes")],
        *[("DELETE", f"/{kind}/{UNKNOWN}", None) for kind in ("anime", "releases", "episodes")],
        *[("DELETE", f"/{kind}/{UNKNOWN}?dry_run=true", None) for kind in ("anime", "releases", "episodes")],
        ("POST", "/releases", {"anime_id": UNKNOWN, "title": "x"}),
        ("POST", "/episodes", {"release_id": UNKNOWN, "number": 1}),
    ],
)
async def test_unknown_row_gets_404(editor: Viewer, method: str, path: str, body: Any) -> None:
    assert (await editor.write(method, path, body, 404))["code"] == "NOT_FOUND"


async def test_stale_tag_gets_412_and_the_tag_of_a_get_is_current(editor: Viewer, new_anime: dict[str, Any]) -> None:
    anime = await editor.write("POST", "/anime", new_anime, 201)
    release = await editor.write("POST", "/releases", {"anime_id": anime["id"], "title": "TV"}, 201)
    for path in (f"/anime/{anime['id']}", f"/releases/{release['id']}"):
        first = await tag(editor, path)
        response = await editor.request("PATCH", path, json={"title": "A"}, headers={"If-Match": first})
        assert response.status_code == 200
        assert response.headers["etag"] == await tag(editor, path) != first
        for method, more in (("PATCH", {"json": {"title": "B"}}), ("DELETE", {})):
            response = await editor.request(method, path, headers={"If-Match": first}, **more)
            assert (response.status_code, response.json()["code"]) == (412, "PRECONDITION_FAILED")
        assert (await editor.read(path))["title"] == "A"
    made = await editor.request("POST", "/episodes", json={"release_id": release["id"], "number": 1})
    episode = f"/episodes/{made.json()['id']}"
    assert (await editor.request("PATCH", episode, json={"title": "A"}, headers={"If-Match": '"x"'})).status_code == 412
    stale = made.headers["etag"]
    assert (await editor.request("PATCH", episode, json={"title": "A"}, headers={"If-Match": stale})).status_code == 200
    assert (await editor.request("DELETE", episode, headers={"If-Match": stale})).status_code == 412


async def test_deletion_takes_all_along_and_is_counted_before(
    backend: Backend, editor: Viewer, new_anime: dict[str, Any]
) -> None:
    anime = await editor.write("POST", "/anime", new_anime, 201)
    release = await editor.write("POST", "/releases", {"anime_id": anime["id"], "title": "TV", "episode_count": 3}, 201)
    episode, *_ = await editor.read(f"/episodes?release_id={release['id']}")
    viewer = await backend.viewer()
    await insert_one_of_each(backend.rows, viewer.id, anime["id"], episode["id"])
    before = (await viewer.request("GET", "/favorites?updated_since=2020-01-01T00:00:00Z")).headers["x-updated-until"]

    counts = NOTHING | {"episodes": 1, "views": 1}
    assert await editor.write("DELETE", f"/episodes/{episode['id']}?dry_run=true") == counts
    counts |= {"releases": 1, "episodes": 3}
    assert await editor.write("DELETE", f"/releases/{release['id']}?dry_run=true") == counts
    counts |= {"favorites": 1, "watch_progress": 1, "library_entries": 1, "collection_items": 1}
    assert await editor.write("DELETE", f"/anime/{anime['id']}?dry_run=true") == counts
    assert len(await viewer.read("/favorites")) == 1

    assert await editor.write("DELETE", f"/anime/{anime['id']}") == counts
    for path in (f"/anime/{anime['id']}", f"/releases/{release['id']}", f"/episodes?release_id={release['id']}"):
        assert (await editor.request("GET", path)).status_code == 404
    assert await editor.read(search_of(new_anime)) == []
    assert await viewer.read("/favorites") == []
    changes = await viewer.read(f"/favorites?updated_since={before}&deleted=true")
    assert [change["anime_id"] for change in changes] == [anime["id"]]
    await editor.write("POST", "/anime", new_anime, 201)  # its external ids are free


async def test_releases_and_episodes_are_deleted(editor: Viewer, new_anime: dict[str, Any]) -> None:
    anime_id = (await editor.write("POST", "/anime", new_anime, 201))["id"]
    release = await editor.write("POST", "/releases", {"anime_id": anime_id, "title": "TV", "episode_count": 2}, 201)
    path = f"/episodes?release_id={release['id']}"
    first, second = await editor.read(path)
    await editor.write("DELETE", f"/episodes/{first['id']}")
    assert await editor.read(path) == [second]
    await editor.write("DELETE", f"/releases/{release['id']}")
    assert await editor.read(f"/releases?anime_id={anime_id}") == []


async def test_only_editors_and_administrators_edit(backend: Backend) -> None:
    viewer, admin = await backend.viewer(), await backend.viewer("admin")
    for path in ("/anime", "/releases", "/episodes"):
        assert await viewer.write("POST", path, {"title": "x"}, 403) == FORBIDDEN
        assert (await backend.client.post(path, json={"title": "x"})).status_code == 401
    await admin.write("POST", "/anime", {"title": "x"}, 201)


async def test_of_two_edits_at_once_with_one_tag_one_wins(editor: Viewer, new_anime: dict[str, Any]) -> None:
    made = await editor.write("POST", "/anime", new_anime, 201)
    path = f"/anime/{made['id']}"
    headers = {"If-Match": await tag(editor, path)}
    edits = [editor.request("PATCH", path, json={"title": f"Edit {number}"}, headers=headers) for number in range(5)]
    statuses = [response.status_code for response in await asyncio.gather(*edits)]
    assert sorted(statuses) == [200, 412, 412, 412, 412]
    winner = statuses.index(200)
    assert (await editor.read(path))["title"] == f"Edit {winner}"
