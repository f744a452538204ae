"""The pages of the catalogue: list, bulk edit, anime, releases, history."""

import re
from typing import Any
from uuid import uuid4

import pytest

from tests.admin.browser import Browser
from tests.factories import Backend, insert

UNKNOWN = "90000000-0000-4000-8000-000000000009"
MARKUP = '<b>Bold</b> & "quoted"'


async def added(editor: Browser, **fields: str) -> str:
    """Add an anime with the form, and return its id."""
    response = await editor.send("/anime/new", {"title": f"New {uuid4().hex}", **fields})
    assert response.status_code == 303, response.text
    return response.headers["location"].removeprefix("/admin/anime/").partition("?")[0]


async def api(editor: Browser, path: str) -> Any:
    return (await editor.client.get(path)).json()


async def test_new_anime_is_shown_by_the_api_with_all_fields(editor: Browser) -> None:
    unique = uuid4().hex
    fields = {
        "title": "Violet", "type": "TV", "status": "FINISHED", "season": "WINTER", "year": "2018", "score": "8.7",
        "synonyms": "One\r\nTwo\r\n", "genres": "Drama", "external_ids": f"anilist: {unique}",
    }  # fmt: skip
    anime = await api(editor, f"/anime/{await added(editor, **fields)}")
    expected = {"title": "Violet", "year": 2018, "score": 8.7, "synonyms": ["One", "Two"], "genres": ["drama"]}
    assert anime.items() >= (expected | {"external_ids": {"anilist": unique}, "description": None}).items()


async def test_form_sent_twice_adds_one_anime(editor: Browser) -> None:
    title = f"Twice {uuid4().hex}"
    page = await editor.open("/anime/new")
    key = re.search('name="_key" value="([^"]+)"', page)
    assert key
    statuses = [(await editor.send("/anime/new", {"title": title, "_key": key[1]})).status_code for _ in range(2)]
    assert statuses == [303, 409]
    assert len(await api(editor, f"/search/anime?q={title}")) == 1


async def test_saved_field_is_changed_alone_and_marked(editor: Browser) -> None:
    anime_id = await added(editor, year="2001", description="Two\r\nlines")
    before = await api(editor, f"/anime/{anime_id}")
    response = await editor.send(f"/anime/{anime_id}", {"title": MARKUP})
    assert response.headers["location"] == f"/admin/anime/{anime_id}?done=anime-changed"
    after = await api(editor, f"/anime/{anime_id}")
    assert after | {"updated_at": None} == before | {"title": MARKUP, "updated_at": None}
    page = await editor.open(f"/anime/{anime_id}")
    assert "&lt;b&gt;Bold&lt;/b&gt;" in page
    assert "<b>Bold" not in page
    assert 'edited-fields/title/give-back"' in page


async def test_refused_values_are_named_at_their_fields_and_kept(editor: Browser) -> None:
    anime_id = await added(editor)
    wrong = {"title": " ", "year": "MMXX", "score": "11", "external_ids": "anilist 5", "poster": "javascript:alert(1)"}
    response = await editor.send(f"/anime/{anime_id}", wrong)
    assert response.status_code == 422
    assert 'id="external_ids-error"' in response.text
    response = await editor.send(f"/anime/{anime_id}", wrong | {"external_ids": "unknown: 5"})
    assert response.status_code == 422
    for name in ("title", "year", "score", "poster", "external_ids"):
        assert f'id="{name}-error"' in response.text
    assert 'value="MMXX"' in response.text
    assert (await api(editor, f"/anime/{anime_id}"))["year"] is None


async def test_taken_external_id_is_refused(editor: Browser) -> None:
    unique = uuid4().hex
    await added(editor, external_ids=f"anidb: {unique}")
    response = await editor.send(f"/anime/{await added(editor)}", {"external_ids": f"anidb: {unique}"})
    assert response.status_code == 409
    assert "External id already belongs to another anime" in response.text


async def test_stale_form_is_refused_and_its_text_kept(editor: Browser) -> None:
    anime_id = await added(editor)
    tag = re.search('name="_tag" value="([^"]+)"', await editor.open(f"/anime/{anime_id}"))
    assert tag
    await editor.send(f"/anime/{anime_id}", {"year": "2001"})
    response = await editor.send(f"/anime/{anime_id}", {"title": "My text", "_tag": tag[1]})
    assert response.status_code == 412
    assert 'value="My text"' in response.text
    assert (await api(editor, f"/anime/{anime_id}"))["year"] == 2001


async def test_removed_external_id_is_removed(editor: Browser) -> None:
    anime_id = await added(editor, external_ids=f"anidb: {uuid4().hex}\nanilist: {uuid4().hex}")
    kept = (await api(editor, f"/anime/{anime_id}"))["external_ids"]["anilist"]
    await editor.send(f"/anime/{anime_id}", {"external_ids": f"anilist: {kept}"})
    assert (await api(editor, f"/anime/{anime_id}"))["external_ids"] == {"anilist": kept}


async def test_release_with_twelve_episodes_is_added_and_edited(editor: Browser) -> None:
    anime_id = await added(editor)
    fields = {"title": "Season 1", "episode_count": "12"}
    response = await editor.send(f"/anime/{anime_id}/releases/new", fields)
    path = response.headers["location"].removeprefix("/admin").partition("?")[0]
    episodes = await api(editor, f"/episodes?release_id={path.removeprefix('/releases/')}")
    assert [episode["number"] for episode in episodes] == [*range(1, 13)]
    second = f"{path}/episodes/{episodes[1]['id']}"
    await editor.send(path, {"title": "The second", "airs_at": "2026-04-05T16:30"}, action=second)
    await editor.send(path, {}, action=f"{path}/episodes/{episodes[11]['id']}/delete")
    taken = await editor.send(path, {"number": "3"}, action=f"{path}/episodes")
    assert taken.status_code == 409
    assert "Episode number already exists" in taken.text
    await editor.send(path, {"number": "12", "title": "The last"}, action=f"{path}/episodes")
    await editor.send(path, {"year": "2026"}, action=path)
    after = await api(editor, f"/episodes?release_id={path.removeprefix('/releases/')}")
    assert [episode["title"] for episode in after] == [None, "The second", *[None] * 9, "The last"]
    assert after[1]["airs_at"] == "2026-04-05T16:30:00Z"
    assert (await api(editor, path))["year"] == 2026
    response = await editor.send(path, action=f"{path}/delete")
    assert response.headers["location"] == f"/admin/anime/{anime_id}?done=release-deleted"


async def test_history_shows_changes_and_reverts_one(editor: Browser) -> None:
    anime_id = await added(editor, year="2001")
    await editor.send(f"/anime/{anime_id}", {"year": "2002"})
    page = await editor.open(f"/anime/{anime_id}/history")
    assert "<del>2001</del> <ins>2002</ins>" in page
    assert editor.user_id is not None
    assert editor.user_id.hex in page
    revert = re.search(r'action="/admin([^"]+/revert)"', page)
    assert revert
    await editor.send(f"/anime/{anime_id}/history", action=revert[1])
    assert (await api(editor, f"/anime/{anime_id}"))["year"] == 2001


async def test_deletion_shows_what_goes_with_it_and_can_be_reverted(editor: Browser, backend: Backend) -> None:
    anime_id = await added(editor)
    await backend.viewer()
    page = await editor.open(f"/anime/{anime_id}/delete")
    assert "Favourites" in page
    response = await editor.send(f"/anime/{anime_id}/delete")
    assert response.status_code == 303
    await editor.open(f"/anime/{anime_id}", status=404)
    page = await editor.open(f"/anime/{anime_id}/history?done=anime-deleted")
    revert = re.search(r'action="/admin([^"]+/revert)"', page)
    assert revert
    await editor.send(f"/anime/{anime_id}/history", action=revert[1])
    await editor.open(f"/anime/{anime_id}")


async def test_list_searches_filters_and_pages(editor: Browser, backend: Backend) -> None:
    word = uuid4().hex
    for number in range(60):
        await insert(backend.rows, "anime", {"title": f"Listed {word} {number:02}", "year": 1950, "type": "OVA"})
    first = await editor.open("/anime", params={"year": "1950", "type": "OVA", "sort": "title"})
    titles = re.findall(rf">(Listed {word} \d\d)</a>", first)
    following = re.search(r'href="/admin([^"]+)" rel="next"', first)
    assert following
    second = await editor.open(following[1].replace("&amp;", "&"))
    titles += re.findall(rf">(Listed {word} \d\d)</a>", second)
    assert titles == [f"Listed {word} {number:02}" for number in range(60)]
    found = await editor.open("/anime", params={"q": f"listed {word} 07", "genre": ""})
    assert f">Listed {word} 07</a>" in found
    wrong = await editor.open("/anime", params={"year": "x", "sort": "best"})
    assert 'id="year-error"' in wrong
    assert 'id="sort-error"' in wrong


async def test_bulk_edit_changes_the_selected_anime(editor: Browser) -> None:
    first, second = await added(editor, genres="action\nold"), await added(editor, genres="old")
    fields: dict[str, Any] = {"id": [first, second], "status": "FINISHED", "add_genre": "New", "remove_genre": "old"}
    response = await editor.send("/anime", fields, action="/anime/bulk")
    assert response.text.count(">changed</span>") == 2
    anime = [await api(editor, f"/anime/{each}") for each in (first, second)]
    assert [each["genres"] for each in anime] == [["action", "new"], ["new"]]
    assert {each["status"] for each in anime} == {"FINISHED"}
    again = await editor.send("/anime", fields, action="/anime/bulk")
    assert again.text.count(">unchanged</span>") == 2
    for nothing in (
        {"status": "FINISHED"},
        {"id": [first]},
        {"id": [first], "year": "x"},
        {"id": ["x"], "year": "2001"},
    ):
        response = await editor.send("/anime", nothing, action="/anime/bulk")
        assert response.status_code == 422
        assert "Nothing was changed." in response.text
    gone = await editor.send("/anime", {"id": [first, UNKNOWN], "year": "2001"}, action="/anime/bulk")
    assert gone.status_code == 404
    assert (await api(editor, f"/anime/{first}"))["year"] is None


@pytest.mark.parametrize("path", ["/anime/x", f"/anime/{UNKNOWN}", f"/releases/{UNKNOWN}", "/releases/x"])
async def test_unknown_addresses_get_a_page(editor: Browser, path: str) -> None:
    assert "<h1>Not found</h1>" in await editor.open(path, 404)
