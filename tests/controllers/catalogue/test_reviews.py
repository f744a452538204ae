"""The review queue of imports."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kitsu.domain.catalogue.importing import Report, import_catalogue
from tests.databases import engine_of
from tests.factories import Backend, Viewer


@pytest.fixture
async def editor(backend: Backend) -> Viewer:
    return await backend.viewer("editor")


class File:
    """A catalogue file with two ids, which no other test has."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self._backend, self._path = backend, folder / "catalogue.jsonl"
        number = int(uuid4().hex[:12], 16)
        self.sources = [f"https://myanimelist.net/anime/{number}", f"https://anilist.co/anime/{number}"]
        self.ids = {"myanimelist": str(number), "anilist": str(number)}

    async def imported(self, *entries: tuple[str, list[str]]) -> Report:
        """Import entries of these titles and sources."""
        rest = {"type": "TV", "episodes": 2, "status": "FINISHED"}
        lines = [json.dumps({"title": title, "sources": sources} | rest) for title, sources in entries]
        self._path.write_text("\n".join([json.dumps({"license": {}}), *lines]) + "\n")
        async with engine_of(self._backend.url) as engine:
            return await import_catalogue(engine, self._path)


@pytest.fixture
def file(backend: Backend, tmp_path: Path) -> File:
    return File(backend, tmp_path)


async def review_of(editor: Viewer, file: File) -> Any:
    ids = {f"{provider}:{value}" for provider, value in file.ids.items()}
    (found,) = [each for each in await editor.read("/import-reviews?limit=100") if ids & {*each["external_ids"]}]
    return found


async def test_applied_merge_is_done_as_the_file_says(backend: Backend, editor: Viewer, file: File) -> None:
    await file.imported(("Aki", file.sources[:1]), ("Haru", file.sources[1:]))
    viewer = await backend.viewer()
    await file.imported(("Aki", file.sources))
    review = await review_of(editor, file)
    titles = (review["kind"], review["from_title"], review["into_title"], review["entry"]["title"])
    assert titles == ("merge", "Haru", "Aki", "Aki")
    await viewer.write("POST", "/favorites", {"anime_id": review["from_id"]}, 201)
    decided = await editor.write("POST", f"/import-reviews/{review['id']}", {"decision": "apply"})
    assert (decided["state"], decided["by"]) == ("applied", editor.id.hex)
    anime = await editor.read(f"/anime/{review['into_id']}")
    assert anime["external_ids"] == file.ids
    assert [row["anime_id"] for row in await viewer.read("/favorites")] == [anime["id"]]
    assert (await file.imported(("Aki", file.sources))).identities.reviews == 0
    await editor.write("POST", f"/import-reviews/{review['id']}", {"decision": "keep"}, 409)


async def test_applied_split_adds_an_anime_that_imports_update(editor: Viewer, file: File) -> None:
    await file.imported(("Aki", file.sources))
    parts = (("Haru", file.sources[:1]), ("Natsu", file.sources[1:]))
    await file.imported(*parts)
    review = await review_of(editor, file)
    assert (review["kind"], review["into_id"]) == ("split", None)
    await editor.write("POST", f"/import-reviews/{review['id']}", {"decision": "apply"})
    (new,) = await editor.read(f"/anime?source=anilist&external_id={file.ids['anilist']}")
    assert new["title"] == "Natsu"
    releases = await editor.read(f"/releases?anime_id={new['id']}")
    assert [release["episode_count"] for release in releases] == [2]
    assert (await file.imported(*parts)).unchanged == 2
    assert (await file.imported(parts[0], ("Natsu 2", file.sources[1:]))).updated == 1


async def test_kept_difference_does_not_come_again(editor: Viewer, file: File) -> None:
    await file.imported(("Aki", file.sources[:1]), ("Haru", file.sources[1:]))
    await file.imported(("Aki", file.sources))
    review = await review_of(editor, file)
    kept = await editor.write("POST", f"/import-reviews/{review['id']}", {"decision": "keep"})
    assert kept["state"] == "kept"
    report = await file.imported(("Aki", file.sources))
    assert (report.identities.reviews, report.identities.anime_merged) == (0, 0)
    assert review["id"] in {each["id"] for each in await editor.read("/import-reviews?state=kept&limit=100")}
    assert (await editor.read(f"/anime/{review['from_id']}"))["id"] == review["from_id"]


async def test_editors_merge_and_split_outlast_the_next_import(editor: Viewer, file: File) -> None:
    apart = (("Aki", file.sources[:1]), ("Haru", file.sources[1:]))
    await file.imported(*apart)
    found = [await editor.read(f"/anime?source={each}&external_id={file.ids[each]}") for each in file.ids]
    (first,), (second,) = found
    await editor.write("POST", f"/anime/{second['id']}/merge", {"into": first["id"]})
    report = await file.imported(*apart)
    assert (report.identities.anime_split, report.identities.reviews) == (0, 1)
    assert (await editor.read(f"/anime/{first['id']}"))["external_ids"] == file.ids
    split = {"title": "Haru", "external_ids": {"anilist": file.ids["anilist"]}}
    await editor.write("POST", f"/anime/{first['id']}/split", split, 201)
    report = await file.imported(("Aki", file.sources))
    assert (report.identities.anime_merged, report.identities.reviews) == (0, 1)


async def test_review_of_changed_anime_is_not_applied(editor: Viewer, file: File) -> None:
    await file.imported(("Aki", file.sources[:1]), ("Haru", file.sources[1:]))
    await file.imported(("Aki", file.sources))
    review = await review_of(editor, file)
    await editor.write("DELETE", f"/anime/{review['from_id']}")
    await editor.write("POST", f"/import-reviews/{review['id']}", {"decision": "apply"}, 409)
    await editor.write("POST", f"/import-reviews/{review['id']}", {"decision": "wait"}, 422)
    refused = await editor.write("GET", "/import-reviews?state=done", status=422)
    assert [detail["field"] for detail in refused["details"]] == ["state"]
    assert (await review_of(editor, file))["state"] == "open"
