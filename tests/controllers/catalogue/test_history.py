"""The history of the catalogue, reverted changes, and fields that imports leave alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from kitsu.domain.catalogue.importing import import_catalogue
from tests.databases import engine_of
from tests.factories import Backend, Viewer


@pytest.fixture
async def editor(backend: Backend) -> Viewer:
    return await backend.viewer("editor")


class Catalogue:
    """One anime of a catalogue file, which is imported again with other values."""

    def __init__(self, backend: Backend, path: Path) -> None:
        self._backend, self._path = backend, path / "catalogue.jsonl"
        self._number = int(uuid4().hex[:12], 16)

    async def imported(self, more: Sequence[str] = (), **fields: Any) -> str:
        """Import the anime with these values and more sources, and return its id."""
        source = f"https://myanimelist.net/anime/{self._number}"
        entry = {
            "sources": [source, *more],
            "title": "Imported",
            "type": "TV",
            "episodes": 2,
            "status": "FINISHED",
        } | fields
        self._path.write_text(json.dumps({"license": {}}) + "\n" + json.dumps(entry) + "\n")
        async with engine_of(self._backend.url) as engine:
            self.report = await import_catalogue(engine, self._path)
        sql = "SELECT anime_id FROM external_ids WHERE provider = 'myanimelist' AND external_id = $1"
        return str(await self._backend.rows.fetchval(sql, str(self._number)))


@pytest.fixture
def catalogue(backend: Backend, tmp_path: Path) -> Catalogue:
    return Catalogue(backend, tmp_path)


async def history(editor: Viewer, anime_id: str) -> list[Any]:
    """Return the changes without ids and times, oldest first."""
    changes = (await editor.read(f"/anime/{anime_id}/history"))[::-1]
    return [(each["source"], each["entity"], each["action"], each["fields"]) for each in changes]


async def test_edits_are_recorded_with_author_and_values(backend: Backend, editor: Viewer) -> None:
    anime = await editor.write("POST", "/anime", {"title": "One", "external_ids": {"anilist": uuid4().hex}}, 201)
    path = f"/anime/{anime['id']}"
    await editor.write("PATCH", path, {"title": "Two", "year": 2001, "genres": ["drama"]})
    release = await editor.write("POST", "/releases", {"anime_id": anime["id"], "title": "TV", "episode_count": 1}, 201)
    (episode,) = await editor.read(f"/episodes?release_id={release['id']}")
    await editor.write("PATCH", f"/episodes/{episode['id']}", {"title": "Pilot"})
    await editor.write("PATCH", path, {"title": "Two"})  # no change
    changes = (await editor.read(path + "/history"))[::-1]
    name = await backend.rows.fetchval("SELECT username FROM users WHERE id = $1", editor.id)
    assert {each["by"] for each in changes} == {name}
    assert {each["source"] for each in changes} == {"edit"}
    assert [(each["entity"], each["action"], each["entity_id"]) for each in changes] == [
        ("anime", "create", anime["id"]),
        ("external_id", "create", f"anilist:{anime['external_ids']['anilist']}"),
        ("anime", "update", anime["id"]),
        ("release", "create", release["id"]),
        ("episode", "create", episode["id"]),
        ("episode", "update", episode["id"]),
    ]
    assert changes[0]["fields"]["title"] == {"before": None, "after": "One"}
    assert changes[2]["fields"] == {
        "title": {"before": "One", "after": "Two"},
        "year": {"before": None, "after": 2001},
        "genres": {"before": [], "after": ["drama"]},
    }
    assert changes[5]["fields"] == {"title": {"before": None, "after": "Pilot"}}
    sets = [each["change_set"] for each in changes]
    assert (sets[0] == sets[1], sets[3] == sets[4], len(set(sets))) == (True, True, 4)
    assert [each["id"] for each in await editor.read(path + "/history?limit=2")] == [changes[5]["id"], changes[4]["id"]]


async def test_edits_of_another_program_are_recorded_and_kept(
    backend: Backend, editor: Viewer, catalogue: Catalogue
) -> None:
    anime_id = await catalogue.imported()
    await backend.rows.execute("UPDATE anime SET year = 1999 WHERE id = $1", UUID(anime_id))
    await catalogue.imported(animeSeason={"season": "FALL", "year": 2006})
    assert await history(editor, anime_id) == [
        ("import", "anime", "create", {}),
        ("database", "anime", "update", {"year": {"before": None, "after": 1999}}),
        ("import", "anime", "update", {"season": {"before": None, "after": "FALL"}}),
        ("import", "release", "update", {"year": {"before": None, "after": 2006}}),
    ]
    anime = await editor.read(f"/anime/{anime_id}")
    assert (anime["year"], anime["season"]) == (1999, "FALL")


async def test_import_leaves_edited_fields_until_they_are_given_back(editor: Viewer, catalogue: Catalogue) -> None:
    anime_id = await catalogue.imported(animeSeason={"season": "FALL", "year": 2006})
    path = f"/anime/{anime_id}"
    await editor.write("PATCH", path, {"year": 2005, "genres": ["drama"]})
    await catalogue.imported(animeSeason={"season": "FALL", "year": 2007}, tags=["drama"])
    assert (await editor.read(path))["year"] == 2005
    listed = [each for each in await editor.read("/edited-fields?limit=100") if each["anime_id"] == anime_id]
    assert listed == [{"anime_id": anime_id, "title": "Imported", "field": "year", "value": 2005, "imported": 2007}]
    assert (await editor.write("DELETE", path + "/edited-fields/year"))["year"] == 2007
    await catalogue.imported(animeSeason={"season": "FALL", "year": 2008}, tags=["action"])
    anime = await editor.read(path)
    assert (anime["year"], anime["genres"]) == (2008, ["drama"])
    assert (await editor.write("DELETE", path + "/edited-fields/year", status=404))["message"] == "Field is not edited"
    await editor.write("DELETE", path + "/edited-fields/description", status=422)


async def test_edit_is_reverted(editor: Viewer) -> None:
    ids = {"anilist": uuid4().hex, "myanimelist": uuid4().hex}
    anime = await editor.write("POST", "/anime", {"title": "One", "year": 2000, "external_ids": ids}, 201)
    path = f"/anime/{anime['id']}"
    change = {"title": "Two", "year": None, "external_ids": {"anilist": uuid4().hex, "myanimelist": None}}
    await editor.write("PATCH", path, change)
    (first, *_) = await editor.read(path + "/history")
    reverted = await editor.write("POST", f"{path}/history/{first['id']}/revert")
    assert reverted == anime | {"updated_at": reverted["updated_at"]}
    assert await editor.read(path) == reverted
    newest = (await editor.read(path + "/history"))[0]
    assert newest["source"] == "revert"


async def test_deletion_is_reverted(backend: Backend, editor: Viewer) -> None:
    new = {"title": "One", "synonyms": ["I"], "external_ids": {"anilist": uuid4().hex}}
    anime = await editor.write("POST", "/anime", new, 201)
    path = f"/anime/{anime['id']}"
    release = await editor.write("POST", "/releases", {"anime_id": anime["id"], "title": "TV", "episode_count": 2}, 201)
    episodes = await editor.read(f"/episodes?release_id={release['id']}")
    await editor.write("DELETE", path)
    (last, *_) = await editor.read(path + "/history")
    restored = await editor.write("POST", f"{path}/history/{last['id']}/revert")
    assert restored == anime | {"updated_at": restored["updated_at"]}
    assert await editor.read(f"/releases/{release['id']}") == release
    assert await editor.read(f"/episodes?release_id={release['id']}") == episodes
    assert await backend.rows.fetchval("SELECT edited_fields FROM anime WHERE id = $1", UUID(anime["id"])) == [
        "synonyms", "title",
    ]  # fmt: skip
    again = await editor.write("POST", f"{path}/history/{last['id']}/revert", status=409)
    assert again["message"] == "It exists already"


async def test_change_that_was_changed_again_or_is_unknown_is_not_reverted(editor: Viewer) -> None:
    anime = await editor.write("POST", "/anime", {"title": "One"}, 201)
    path = f"/anime/{anime['id']}"
    for title in ("Two", "Three"):
        await editor.write("PATCH", path, {"title": title})
    _, second, first = await editor.read(path + "/history")
    error = await editor.write("POST", f"{path}/history/{second['id']}/revert", status=409)
    assert error["message"] == "Changed again since: title"
    error = await editor.write("POST", f"{path}/history/{first['id']}/revert", status=409)
    assert error["message"] == "Delete what was created instead"
    other = await editor.write("POST", "/anime", {"title": "Other"}, 201)
    await editor.write("POST", f"/anime/{other['id']}/history/{second['id']}/revert", status=404)
    await editor.write("POST", f"{path}/history/0/revert", status=422)
    assert (await editor.read(path))["title"] == "Three"
    await editor.write("GET", f"/anime/{uuid4()}/history", status=404)


async def test_deleted_author_leaves_the_record(backend: Backend) -> None:
    author, reader = await backend.viewer("editor"), await backend.viewer("editor")
    anime = await author.write("POST", "/anime", {"title": "One"}, 201)
    await backend.rows.execute("DELETE FROM users WHERE id = $1", author.id)
    (change,) = await reader.read(f"/anime/{anime['id']}/history")
    assert (change["by"], change["fields"]["title"]["after"]) == (None, "One")


async def test_new_id_of_an_import_is_recorded(editor: Viewer, catalogue: Catalogue) -> None:
    anime_id = await catalogue.imported()
    await catalogue.imported(more=["https://simkl.com/anime/" + str(uuid4().int)])
    changes = await editor.read(f"/anime/{anime_id}/history")
    assert [(each["source"], each["entity"], each["action"]) for each in changes] == [
        ("import", "external_id", "create"), ("import", "anime", "create"),
    ]  # fmt: skip
    assert changes[0]["entity_id"].startswith("simkl:")


async def test_deleted_anime_is_left_out_of_imports_until_its_deletion_is_reverted(
    editor: Viewer, catalogue: Catalogue
) -> None:
    anime = await catalogue.imported()
    await editor.write("DELETE", f"/anime/{anime}")
    assert await catalogue.imported() == "None"
    assert catalogue.report.left_out == 1
    deletion = (await editor.read(f"/anime/{anime}/history"))[0]
    await editor.write("POST", f"/anime/{anime}/history/{deletion['id']}/revert")
    assert await catalogue.imported(title="New title") == anime
    assert (await editor.read(f"/anime/{anime}"))["title"] == "New title"


async def test_new_anime_with_an_id_of_a_deleted_one_takes_its_imports(editor: Viewer, catalogue: Catalogue) -> None:
    deleted = await catalogue.imported()
    ids = (await editor.read(f"/anime/{deleted}"))["external_ids"]
    await editor.write("DELETE", f"/anime/{deleted}")
    made = await editor.write("POST", "/anime", {"title": "Again", "external_ids": ids}, 201)
    assert await catalogue.imported(animeSeason={"season": "FALL", "year": 2006}) == made["id"] != deleted
    assert catalogue.report.left_out == 0
    anime = await editor.read(f"/anime/{made['id']}")
    assert (anime["title"], anime["year"]) == ("Again", 2006)


async def test_export_of_editor_has_changes_of_the_catalogue(editor: Viewer) -> None:
    anime = await editor.write("POST", "/anime", {"title": "One"}, 201)
    await editor.write("PATCH", f"/anime/{anime['id']}", {"title": "Two"})
    exported = (await editor.read("/users/me/export"))["catalogue_changes"]
    assert [(each["anime_id"], each["fields"].get("title")) for each in exported] == [
        (anime["id"], {"before": None, "after": "One"}),
        (anime["id"], {"before": "One", "after": "Two"}),
    ]
