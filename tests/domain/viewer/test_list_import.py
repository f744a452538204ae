"""Import of other sites' lists into the library, and its export."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.sax.saxutils import escape

import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.domain.catalogue.importing import import_catalogue
from tests.accounts import bearer, register
from tests.application import client_of
from tests.cli.invoke import invoked
from tests.conftest import ROOT, SHARED_DATA
from tests.databases import copy_of, engine_of, execute

REAL = SHARED_DATA / "catalogue.jsonl"
# Without the real catalogue all tests but one use the sample.
CATALOGUE = REAL if REAL.exists() else ROOT / "kitsu" / "sample_catalogue.jsonl"
ENTRIES = 2000
MAL_TYPE = {"TV": "TV", "MOVIE": "Movie", "OVA": "OVA", "ONA": "ONA", "SPECIAL": "Special", "UNKNOWN": "Unknown"}
STATUSES = ("Watching", "Completed", "On-Hold", "Dropped", "Plan to Watch")
TOTALS = ("watching", "completed", "onhold", "dropped", "plantowatch")


def block(number: int, anime: dict[str, Any]) -> str:
    """Return an entry as in MyAnimeList's export."""
    status = STATUSES[number % 5]
    begun = date(2015, 1, 1) + timedelta(days=number)
    # A completed entry without a number has all episodes, and none has more than there are.
    watched = min(number % 30 or int(status == "Completed"), anime["episodes"] or 30)
    note = f"Notes & more of <{number}> ü 鋼" if number % 3 == 0 else ""
    dates = (
        "0000-00-00" if number % 7 == 0 else f"{begun.year}-00-00" if number % 11 == 0 else begun.isoformat(),
        (begun + timedelta(days=30)).isoformat() if status == "Completed" else "0000-00-00",
    )
    return f"""	<anime>
		<series_animedb_id>{anime["id"]}</series_animedb_id>
		<series_title><![CDATA[{anime["title"]}]]></series_title>
		<series_type>{MAL_TYPE[anime["type"]]}</series_type>
		<series_episodes>{anime["episodes"]}</series_episodes>
		<my_id></my_id>
		<my_watched_episodes>{watched}</my_watched_episodes>
		<my_start_date>{dates[0]}</my_start_date>
		<my_finish_date>{dates[1]}</my_finish_date>
		<my_rated></my_rated>
		<my_score>{number % 11}</my_score>
		<my_storage></my_storage>
		<my_storage_value>0.00</my_storage_value>
		<my_status>{status}</my_status>
		<my_comments><![CDATA[{note}]]></my_comments>
		<my_times_watched>{number % 4}</my_times_watched>
		<my_rewatch_value></my_rewatch_value>
		<my_priority>LOW</my_priority>
		<my_tags><![CDATA[{"a, b" if number % 5 == 0 else ""}]]></my_tags>
		<my_rewatching>{int(status == "Completed" and number % 4 == 0)}</my_rewatching>
		<my_rewatching_ep>0</my_rewatching_ep>
		<my_discuss>1</my_discuss>
		<my_sns>default</my_sns>
		<update_on_import>1</update_on_import>
	</anime>"""


def whole(blocks: list[str], name: str) -> str:
    counts = [sum(f"<my_status>{status}</my_status>" in item for item in blocks) for status in STATUSES]
    totals = "".join(f"<user_total_{n}>{count}</user_total_{n}>" for n, count in zip(TOTALS, counts, strict=True))
    info = f"<user_name>{escape(name)}</user_name><user_export_type>1</user_export_type>"
    info += f"<user_total_anime>{len(blocks)}</user_total_anime>{totals}"
    body = "\n".join(blocks)
    return f'<?xml version="1.0" encoding="UTF-8" ?>\n<myanimelist>\n<myinfo>{info}</myinfo>\n{body}\n</myanimelist>\n'


def real_anime() -> list[dict[str, Any]]:
    """Return the anime of the catalogue that have one id at MyAnimeList."""
    found = []
    for line in CATALOGUE.read_text().splitlines()[1:]:
        entry = json.loads(line)
        ids = [m[1] for source in entry["sources"] if (m := re.fullmatch(r".*myanimelist\.net/anime/(\d+)", source))]
        if len(ids) == 1:
            found.append({"id": ids[0], "title": entry["title"], "type": entry["type"], "episodes": entry["episodes"]})
    return found


@pytest.fixture(scope="module")
async def real(server: URL, template: URL) -> AsyncIterator[tuple[httpx.AsyncClient, URL]]:
    """Yield a client of the application with the real catalogue."""
    async with copy_of(template, server) as url:
        async with engine_of(url) as engine:
            await import_catalogue(engine, CATALOGUE, dry_run=False, progress=lambda _: None)
        async with client_of(url, rate_limit_enabled=False) as client:
            yield client, url


async def viewer(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    """Return the headers of a new user."""
    return bearer(await register(client, f"{name}@example.org"))


async def bring(client: httpx.AsyncClient, who: dict[str, str], data: bytes | str, query: str = "") -> dict[str, Any]:
    """Import a list and return the report."""
    response = await client.post(f"/library/import{query}", content=data, headers=who)
    assert response.status_code == 200, response.text
    report: dict[str, Any] = response.json()
    return report


def counts(report: dict[str, Any]) -> tuple[int, int, int, int]:
    return report["added"], report["updated"], report["unchanged"], report["not_imported_count"]


async def library(client: httpx.AsyncClient, who: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the stored entries by title."""
    exported = (await client.get("/library/export", headers=who)).json()
    return {item["entry"]["anime"]["title"]: item["entry"] for item in exported["entries"]}


def blocks_of(xml: str) -> list[str]:
    return sorted(re.sub(r">\s+<", "><", item) for item in re.findall(r"<anime>.*?</anime>", xml, re.DOTALL))


def info_of(xml: str) -> set[str]:
    found = re.search(r"<myinfo>(.*?)</myinfo>", xml, re.DOTALL)
    assert found is not None
    return set(re.findall(r"<(\w+)>([^<]+)</", found[1]))


@pytest.mark.slow
async def test_import_and_export_of_2000_entries_are_equal(real: tuple[httpx.AsyncClient, URL]) -> None:
    if not REAL.exists():
        pytest.skip(f"{REAL} does not exist")
    client, _ = real
    who = await viewer(client, "mal")
    blocks = [block(number, anime) for number, anime in enumerate(real_anime()[:ENTRIES])]
    xml = whole(blocks, "mal")
    assert counts(await bring(client, who, gzip.compress(xml.encode()), "?dry_run=true")) == (ENTRIES, 0, 0, 0)
    assert (await client.get("/library", headers=who)).json() == []
    assert counts(await bring(client, who, gzip.compress(xml.encode()))) == (ENTRIES, 0, 0, 0)
    response = await client.get("/library/export?format=mal", headers=who)
    assert response.headers["content-type"].startswith("application/xml")
    assert "attachment" in response.headers["content-disposition"]
    assert blocks_of(response.text) == blocks_of(xml)
    assert info_of(response.text) == info_of(xml)
    # Import the export: all entries exist unchanged.
    for policy in ("keep", "newer", "replace"):
        assert counts(await bring(client, who, response.content, f"?policy={policy}")) == (0, 0, ENTRIES, 0)


LIST = {
    "lists": [
        {
            "name": "Watching",
            "status": "CURRENT",
            "entries": [
                {"score": 8, "progress": 3, "media": {"id": 1535, "idMal": 1535, "title": {"romaji": "DEATH NOTE"}}},
                {"progress": 1, "media": {"id": 99999999, "idMal": None, "title": {"english": "Steins;Gate"}}},
                {"progress": 1, "media": {"id": 99999998, "title": {"english": "An Unknown Title 7"}}},
                {"progress": 1, "media": {"id": 99999997, "title": {"romaji": "シュタインズ・ゲート"}}},
            ],
        }
    ]
}


async def test_entry_known_by_title_only_is_suggested(real: tuple[httpx.AsyncClient, URL]) -> None:
    client, _ = real
    who = await viewer(client, "anilist")
    report = await bring(client, who, json.dumps(LIST))
    assert counts(report) == (1, 0, 0, 3)
    steins, unknown, japanese = report["not_imported"]
    assert [item["number"] for item in report["not_imported"]] == [2, 3, 4]
    assert {item["reason"] for item in report["not_imported"]} == {"It is not in the catalogue."}
    assert steins["suggestion"]["title"] == "Steins;Gate"
    assert UUID(steins["suggestion"]["anime_id"])
    assert unknown["suggestion"] is None
    assert japanese["suggestion"]["title"] == "Steins;Gate"
    (entry,) = (await library(client, who)).values()
    assert (entry["status"], entry["score"], entry["episodes_watched"]) == ("watching", 8, 3)


def anilist(status: str, **more: Any) -> str:
    media = {"id": 1535, "idMal": 1535, "title": {"romaji": "DEATH NOTE"}}
    return json.dumps({"lists": [{"name": "x", "entries": [{"status": status, "media": media, **more}]}]})


@pytest.mark.parametrize(
    ("policy", "file", "wins"),
    [
        ("keep", anilist("DROPPED"), False),
        ("replace", anilist("DROPPED"), True),
        ("newer", anilist("DROPPED"), False),
        ("newer", anilist("DROPPED", updatedAt=1), False),
        ("newer", anilist("DROPPED", updatedAt=4_000_000_000), True),
        ("newer", anilist("DROPPED", completedAt={"year": 2999, "month": 1, "day": 2}), True),
        ("newer", anilist("DROPPED", startedAt={"year": 2999, "month": None, "day": None}), True),
        ("newer", anilist("DROPPED", completedAt={"year": 2019, "month": 1, "day": 2}), False),
    ],
)
async def test_policy_decides_about_existing_entry(
    real: tuple[httpx.AsyncClient, URL], policy: str, file: str, wins: bool
) -> None:
    client, _ = real
    who = await viewer(client, f"u{abs(hash((policy, file)))}")
    await bring(client, who, anilist("CURRENT", score=9, notes="mine"))
    (before,) = (await library(client, who)).values()
    report = await bring(client, who, file, f"?policy={policy}")
    assert counts(report) == (0, int(wins), 0, 0)
    assert report["kept_different"] == (not wins)
    (after,) = (await library(client, who)).values()
    assert (after["status"] == "dropped") is wins
    assert after["version"] == before["version"] + wins
    assert after["id"] == before["id"]


async def test_import_with_invalid_rows_stores_the_others(real: tuple[httpx.AsyncClient, URL]) -> None:
    client, _ = real
    who = await viewer(client, "rows")
    anime = real_anime()
    good = block(1, anime[0])
    rows = [
        block(1, anime[1]).replace("<series_animedb_id>", "<series_animedb_id>x"),
        good,
        good,
        block(1, anime[2]).replace("<my_status>Completed<", "<my_status>Eaten<"),
        block(1, {**anime[3], "id": "77777777"}),
        block(1, anime[4]),
    ]
    report = await bring(client, who, whole(rows, "rows"))
    assert counts(report) == (2, 0, 0, 4)
    assert [item["number"] for item in report["not_imported"]] == [1, 3, 4, 5]
    assert report["not_imported"][1]["reason"] == "It is the same anime as entry 2."
    assert all(item["reason"] for item in report["not_imported"])


@pytest.mark.parametrize("form", [True, False], ids=["form", "body"])
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 422),
        (b"hello", 422),
        (b"<myanimelist><myinfo/>", 422),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><myanimelist>&b;</myanimelist>', 422),
        (b"<!DOCTYPE a><myanimelist></myanimelist>", 422),
        (gzip.compress(b"0" * (33 << 20), 1), 413),
        (gzip.compress(b"<myanimelist></myanimelist>")[:-9], 422),
        (b"{" * 100_000, 422),
        (b" " * (34 << 20), 413),
    ],
    ids=["empty", "text", "cut", "entity", "doctype", "bomb", "cut gzip", "deep", "large"],
)
async def test_import_of_invalid_file_is_rejected(
    reader: httpx.AsyncClient, form: bool, data: bytes, status: int
) -> None:
    who = await viewer(reader, f"f{abs(hash((form, data)))}")
    sent: dict[str, Any] = {"files": {"file": ("list.xml", data)}} if form else {"content": data}
    response = await reader.post("/library/import", headers=who, **sent)
    assert response.status_code == status, response.text
    assert response.json()["code"] == {413: "PAYLOAD_TOO_LARGE", 422: "VALIDATION_ERROR"}[status]
    if status == 422:
        assert response.json()["details"][0]["field"] == "file"


@pytest.mark.parametrize("query", ["?policy=all", "?policy=", "?dry_run=maybe"])
async def test_invalid_options_are_422(reader: httpx.AsyncClient, query: str) -> None:
    who = await viewer(reader, f"o{abs(hash(query))}")
    assert (await reader.post(f"/library/import{query}", content=b"{}", headers=who)).status_code == 422
    assert (await reader.get("/library/export?format=xls", headers=who)).status_code == 422


async def test_import_list_command_reports_counts_and_errors(
    real: tuple[httpx.AsyncClient, URL], tmp_path: Path
) -> None:
    client, url = real
    who = await viewer(client, "command")
    (tmp_path / "list.json").write_text(json.dumps(LIST))
    arguments = ("import-list", "list.json", "--user", "Command@example.org")
    code, out, err = await invoked(tmp_path, *arguments, "--dry-run", database=url)
    assert (code, out) == (
        1,
        "1 added, 0 updated, 0 unchanged, 0 kept different, 3 not imported (a dry run: nothing was written)\n",
    )
    assert await library(client, who) == {}
    code, out, err = await invoked(tmp_path, *arguments, database=url)
    assert (code, out) == (1, "1 added, 0 updated, 0 unchanged, 0 kept different, 3 not imported\n")
    assert "not imported 2 Steins;Gate: It is not in the catalogue. Is it 'Steins;Gate' (" in err
    assert list(await library(client, who)) == ["Death Note"]
    for wrong, message in (
        (("import-list", "none.json", "--user", "command@example.org"), "none.json can't be read: No such file"),
        (("import-list", "list.json", "--user", "unknown@example.org"), "There is no user with the e-mail"),
    ):
        code, out, err = await invoked(tmp_path, *wrong, database=url)
        assert (code, out) == (1, "")
        assert message in err
    (tmp_path / "bad.xml").write_text("<myanimelist>")
    code, _, err = await invoked(tmp_path, "import-list", "bad.xml", "--user", "command@example.org", database=url)
    assert code == 1
    assert err.endswith(" Nothing was imported.\n")


async def test_import_of_deleted_user_is_401(database: URL) -> None:
    async with client_of(database) as client:
        who = await viewer(client, "gone")
        await execute(database, "DELETE FROM users")
        assert (await client.post("/library/import", content=b"{}", headers=who)).status_code == 401
