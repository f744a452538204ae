"""GET /library/export in its formats, and that an import of it stores the same entries."""

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.engine import URL

from tests.controllers.viewer.imported_lists import FIELDS, bring, entry, known_anime, link
from tests.factories import Backend, Viewer, backend_of

ENTRIES: list[dict[str, Any]] = [
    {"status": "watching", "episodes_watched": 3, "started_on": "2020-05", "score": 8.5},
    {"status": "completed", "episodes_watched": 12, "started_on": "2019", "completed_on": "2020-05-17", "score": 10.0},
    {"status": "completed", "episodes_watched": 0, "times_rewatched": 2},
    {"status": "completed", "episodes_watched": 12, "is_rewatching": True, "times_rewatched": 1},
    {"status": "watching", "episodes_watched": 5, "is_rewatching": True},
    {"status": "on_hold", "notes": '=HYPERLINK("x")', "tags": "+a, -b"},
    {"status": "dropped", "notes": "two\r\nlines, \"quoted\" 'single' & <b>&amp;</b> <br /> é 鋼 😀\t", "tags": "'"},
    {"status": "plan_to_watch", "notes": "'=x", "tags": "@all"},
]


@pytest.fixture(scope="module")
async def backend(server: URL, template: URL) -> AsyncIterator[Backend]:
    """Yield a backend with an anime for each entry, the last of which has no external ids."""
    async with backend_of(server, template) as backend:
        for number in range(1, len(ENTRIES)):
            await known_anime(backend, number, episode_count=12, year=2000 + number)
        await backend.anime(title="Without ids", year=2009)
        yield backend


@pytest.fixture
async def viewer(backend: Backend) -> Viewer:
    """Return a viewer with the entries."""
    viewer = await backend.viewer()
    rows = await backend.rows.fetch("SELECT id FROM anime ORDER BY year")
    for fields, (anime_id,) in zip(ENTRIES, rows, strict=True):
        await entry(backend, viewer, str(anime_id), **fields)
    return viewer


async def export(viewer: Viewer, query: str = "") -> bytes:
    response = await viewer.request("GET", f"/library/export{query}")
    assert response.status_code == 200
    return response.content


def comparable(exported: bytes) -> list[dict[str, Any]]:
    """Return the entries of a JSON export without the ids and times of the rows."""
    own = {"id", "version", "created_at", "updated_at"}
    return [
        {**each, "entry": {name: value for name, value in each["entry"].items() if name not in own}}
        for each in json.loads(exported)["entries"]
    ]


@pytest.mark.parametrize("path", ["/library/export", "/library/export?format=csv", "/users/me/export"])
async def test_import_of_export_stores_the_same_entries(backend: Backend, viewer: Viewer, path: str) -> None:
    other = await backend.viewer()
    file = (await viewer.request("GET", path)).content
    report = await bring(other, file)
    assert (report["added"], report["not_imported"], report["remarks"]) == (len(ENTRIES), [], [])
    exported = comparable(await export(viewer))
    assert [[each["entry"][name] for name in fields] for each, fields in zip(exported, ENTRIES, strict=True)] == [
        list(fields.values()) for fields in ENTRIES
    ]
    assert comparable(await export(other)) == exported
    again = (await other.request("GET", "/library/export?format=csv")).content
    strip = re.compile(rb"20\d\d-\d\d-\d\dT[^,]*")  # updated_at
    assert strip.sub(b"", again) == strip.sub(b"", await export(viewer, "?format=csv"))
    report = await bring(other, file, "?policy=replace")
    assert (report["unchanged"], report["updated"]) == (len(ENTRIES), 0)


async def test_another_installation_finds_the_anime_by_external_ids(viewer: Viewer, server: URL, template: URL) -> None:
    file = (await viewer.request("GET", "/users/me/export")).content
    async with backend_of(server, template) as elsewhere:
        anime_id = await elsewhere.anime(title="Another title", episode_count=12)
        await link(elsewhere, anime_id, 2)
        stranger = await elsewhere.viewer()
        report = await bring(stranger, file)
        assert (report["added"], report["unknown_count"]) == (1, len(ENTRIES) - 1)
        stored = await stranger.read(f"/library/{anime_id}")
    assert {name: stored[name] for name in ENTRIES[1]} == ENTRIES[1]


async def test_csv_has_a_column_for_each_field_and_no_formulas(viewer: Viewer) -> None:
    response = await viewer.request("GET", "/library/export?format=csv")
    assert response.headers["content-type"].startswith("text/csv")
    assert 'filename="kitsu-library.csv"' in response.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(response.content.decode(), newline="")))
    assert set(FIELDS) < rows[0].keys()
    assert (rows[0]["score"], rows[0]["is_rewatching"], rows[0]["notes"]) == ("8.5", "false", "")
    assert (rows[0]["myanimelist_id"], rows[0]["external_ids"], rows[0]["year"]) == ("1", "myanimelist:1", "2001")
    assert [rows[number][name] for number in (5, 7) for name in ("notes", "tags")] == [
        *('\'=HYPERLINK("x")', "'+a, -b"),
        *("''=x", "'@all"),
    ]


async def test_xml_says_what_it_leaves_out(backend: Backend, viewer: Viewer) -> None:
    xml = (await export(viewer, "?format=mal")).decode()
    assert "entries without an id of MyAnimeList (1)" in xml
    assert "<!-- Left out, without an id of MyAnimeList: Without ids -->" in xml
    assert f"<user_total_anime>{len(ENTRIES) - 1}</user_total_anime>" in xml
    assert "<user_total_completed>4</user_total_completed>" in xml
    anime = re.findall(r"<anime>.*?</anime>", xml, re.DOTALL)
    again = [each for each in anime if "<my_rewatching>1</my_rewatching>" in each]
    assert len(again) == 2
    assert all("<my_status>Completed</my_status>" in each for each in again)
    assert "<my_score>9</my_score>" in anime[0]

    other = await backend.viewer()
    report = await bring(other, xml.encode())
    assert (report["added"], report["not_imported"]) == (len(ENTRIES) - 1, [])
    names = ("notes", "tags", "started_on", "completed_on", "times_rewatched", "is_rewatching")
    mine, theirs = [comparable(await export(each)) for each in (viewer, other)]
    assert [[each["entry"][name] for name in names] for each in theirs] == [
        [each["entry"][name] for name in names] for each in mine[:-1]
    ]
