"""POST /library/import: the policies, the report, and the rows whose anime is unknown."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.engine import URL

from tests.controllers.viewer.imported_lists import as_csv, as_json, as_xml, bring, entry, fields_of, known_anime, row
from tests.databases import connect
from tests.factories import Backend, Viewer, backend_of
from tests.jobs.working import until

NUMBERS = count(1)
"""Ids at MyAnimeList: no two tests have the same anime."""
COUNTS = ("added", "updated", "unchanged", "kept_different", "not_imported_count")


@pytest.fixture(scope="module")
async def backend(server: URL, template: URL) -> AsyncIterator[Backend]:
    async with backend_of(server, template) as backend:
        yield backend


def counts(report: dict[str, Any]) -> tuple[int, ...]:
    return tuple(report[name] for name in COUNTS)


@pytest.mark.parametrize(
    ("policy", "mine", "theirs", "changed"),
    [
        ("keep", {"status": "watching"}, {"status": "completed"}, {}),
        # A field that the file does not have stays as it is; null is a value.
        ("replace", {"status": "watching", "score": 9, "notes": "x"}, {"status": "dropped"}, {"status": "dropped"}),
        ("replace", {"status": "watching", "score": 9}, {"status": "watching", "score": None}, {"score": None}),
        ("replace", {"status": "watching", "episodes_watched": 9}, {"status": "watching", "episodes_watched": 3}, ...),
        ("newer", {"status": "watching"}, {"status": "dropped", "updated_at": "2099-01-01T00:00:00Z"}, ...),
        ("newer", {"status": "watching"}, {"status": "dropped", "updated_at": "2001-01-01T00:00:00Z"}, {}),
        ("newer", {"status": "watching"}, {"status": "dropped"}, {}),
        # The further progress wins, and what one side does not have comes from the other.
        (
            "greater",
            {"status": "watching", "episodes_watched": 20, "notes": "mine"},
            {"status": "watching", "episodes_watched": 12, "score": 9, "notes": "theirs"},
            {"score": 9},
        ),
        (
            "greater",
            {"status": "watching", "episodes_watched": 20, "score": 5},
            {"status": "completed", "episodes_watched": 24, "score": 9, "completed_on": "2020-05"},
            {"status": "completed", "episodes_watched": 24, "completed_on": "2020-05"},
        ),
        ("greater", {"status": "dropped", "episodes_watched": 9}, {"status": "plan_to_watch"}, {}),
        ("greater", {"status": "plan_to_watch"}, {"status": "on_hold"}, ...),
        ("greater", {"status": "dropped"}, {"status": "watching"}, {}),
        (
            "greater",
            {"status": "completed", "times_rewatched": 1},
            {"status": "watching", "is_rewatching": True, "times_rewatched": 1},
            {"status": "watching", "is_rewatching": True},
        ),
        (
            "greater",
            {"status": "watching", "is_rewatching": True},
            {"status": "completed", "times_rewatched": 1},
            {"status": "completed", "is_rewatching": False, "times_rewatched": 1},
        ),
        ("greater", {"status": "watching", "is_rewatching": True}, {"status": "completed"}, {}),
    ],
)
async def test_policy_decides_by_fields(
    backend: Backend, policy: str, mine: dict[str, Any], theirs: dict[str, Any], changed: Any
) -> None:
    viewer, number = await backend.viewer(), next(NUMBERS)
    anime_id = await known_anime(backend, number)
    await entry(backend, viewer, anime_id, **mine)
    before = await fields_of(viewer, anime_id)
    if changed is ...:
        changed = {name: value for name, value in theirs.items() if name != "updated_at"}
    report = await bring(viewer, as_json(row(number, **theirs)), f"?policy={policy}")
    assert counts(report) == ((0, 1, 0, 0, 0) if changed else (0, 0, 0, 1, 0))
    assert await fields_of(viewer, anime_id) == {**before, **changed}
    stored = await viewer.read(f"/library/{anime_id}")
    assert stored["version"] == (2 if changed else 1)


async def test_kept_entry_is_reported_with_both_values(backend: Backend) -> None:
    viewer, (same, other) = await backend.viewer(), (next(NUMBERS), next(NUMBERS))
    for number in (same, other):
        await entry(backend, viewer, await known_anime(backend, number), status="watching", score=3.5)
    report = await bring(viewer, as_json(row(same, score=3.5), row(other, "completed", score=9, notes="n" * 30)))
    assert counts(report) == (0, 0, 1, 1, 0)
    (kept,) = report["remarks"]
    assert (kept["number"], kept["title"], kept["outcome"]) == (2, f"Title {other}", "kept_different")
    assert " ".join(kept["remarks"]) == (
        "The library kept status watching (the file has completed), score 3.5 (the file has 9), "
        f"notes none (the file has {'n' * 20}…)."
    )


async def test_episodes_beyond_the_last_are_clamped_and_reported(backend: Backend) -> None:
    viewer, (known, unknown) = await backend.viewer(), (next(NUMBERS), next(NUMBERS))
    anime_id = await known_anime(backend, known, episode_count=25)
    endless = await known_anime(backend, unknown)
    rows = (row(known, "completed", episodes_watched=99_999), row(unknown, episodes_watched=99_999))
    report = await bring(viewer, as_json(*rows))
    assert counts(report) == (2, 0, 0, 0, 0)
    assert (await fields_of(viewer, anime_id))["episodes_watched"] == 25
    assert (await fields_of(viewer, endless))["episodes_watched"] == 99_999
    (clamped,) = report["remarks"]
    assert clamped["anime_id"] == anime_id
    assert clamped["remarks"] == ["It has 99,999 watched episodes; 25 are all that the anime has."]
    # The file agrees with what was stored of it.
    assert counts(await bring(viewer, as_json(*rows), "?policy=replace")) == (0, 0, 2, 0, 0)


async def test_completed_without_number_has_all_episodes(backend: Backend) -> None:
    viewer, number = await backend.viewer(), next(NUMBERS)
    anime_id = await known_anime(backend, number, episode_count=37)
    await bring(viewer, as_xml(row(number, "Completed")))
    assert (await fields_of(viewer, anime_id))["episodes_watched"] == 37
    # An export of Kitsu means what it says.
    await bring(viewer, as_json(row(number, "completed", episodes_watched=0)), "?policy=replace")
    assert (await fields_of(viewer, anime_id))["episodes_watched"] == 0


async def test_anime_is_found_by_title_only_where_it_is_certain(backend: Backend) -> None:
    viewer = await backend.viewer()
    single = await backend.anime(title="Only One", year=2001)
    for year in (2001, 2002):
        await backend.anime(title="Two of Them", year=year)

    def named(title: str, year: int | None, ids: dict[str, str]) -> dict[str, Any]:
        return {"entry": {"status": "watching", "anime": {"title": title, "year": year}}, "external_ids": ids}

    report = await bring(
        viewer,
        as_json(
            named("only one", None, {}),
            named("Two of Them", None, {}),
            named("Two of Them", 2002, {}),
            named("Only One", 1999, {}),
            named("Only One", 2001, {"anidb": "987654321"}),
        ),
    )
    assert counts(report) == (2, 0, 0, 0, 3)
    assert [each["number"] for each in report["not_imported"]] == [2, 4, 5]
    assert all(each["suggestion"] for each in report["not_imported"])
    assert report["remarks"][0]["anime_id"] == single
    assert report["remarks"][0]["remarks"] == ["Its anime was found by the title."]


async def test_low_anilist_id_is_looked_up_at_myanimelist(backend: Backend) -> None:
    viewer, (plain, titled, conflicting) = await backend.viewer(), (next(NUMBERS), next(NUMBERS), next(NUMBERS))
    ids = [await known_anime(backend, number) for number in (plain, titled, conflicting, 20_001)]
    await backend.rows.execute(
        "INSERT INTO external_ids (provider, external_id, anime_id) VALUES ('anilist', '99999', $1)", UUID(ids[2])
    )

    def of_anilist(number: int, title: str | None = None) -> dict[str, Any]:
        return {"entry": {"status": "watching", "anime": {"title": title}}, "external_ids": {"anilist": str(number)}}

    rows = (plain, None), (titled, "Another title"), (titled, f"title {titled}"), (conflicting, None), (20_001, None)
    report = await bring(viewer, as_json(*(of_anilist(*each) for each in rows)))
    assert counts(report) == (2, 0, 0, 0, 3)
    assert [each["number"] for each in report["not_imported"]] == [2, 4, 5]
    assert [each["anime_id"] for each in report["remarks"]] == ids[:2]


async def test_same_anime_twice_is_imported_once(backend: Backend) -> None:
    viewer, number = await backend.viewer(), next(NUMBERS)
    await known_anime(backend, number)
    report = await bring(viewer, as_json(row(number), row(number, "dropped")))
    assert counts(report) == (1, 0, 0, 0, 1)
    assert report["unknown_count"] == 0
    assert report["not_imported"][0]["reason"] == "It is the same anime as entry 1."


@pytest.mark.parametrize(
    ("write", "suffix"),
    [(as_xml, "xml"), (as_csv, "csv"), (as_json, "json"), (lambda *rows: gzip.compress(as_xml(*rows)), "xml")],
    ids=["xml", "csv", "json", "gzip"],
)
async def test_unknown_rows_are_downloaded_and_imported_later(
    backend: Backend, write: Callable[..., bytes], suffix: str
) -> None:
    viewer, (known, late, all_episodes) = await backend.viewer(), (next(NUMBERS), next(NUMBERS), next(NUMBERS))
    await known_anime(backend, known)
    rows = (
        row(known, score=8, notes="a", episodes_watched=3),
        row(late, "on_hold", score=7, notes="'=1+1 <b> & ü", episodes_watched=5),
        row(all_episodes, "completed", score=7, notes="c", episodes_watched=12),
    )
    report = await bring(viewer, write(*rows))
    assert counts(report) == (1, 0, 0, 0, 2)
    assert report["unknown_count"] == 2
    response = await viewer.request("GET", f"/library/imports/{report['id']}/not-imported")
    assert response.status_code == 200
    assert f'filename="kitsu-not-imported.{suffix}"' in response.headers["content-disposition"]
    assert str(known) not in {each["title"].split()[-1] for each in report["not_imported"]}

    ids = [await known_anime(backend, number, episode_count=12) for number in (late, all_episodes)]
    # What the upload did not have, here the tags, is not in the download either.
    for anime_id in ids:
        await entry(backend, viewer, anime_id, status="watching", tags="mine")
    assert counts(await bring(viewer, response.content, "?policy=replace")) == (0, 2, 0, 0, 0)
    stored = [await fields_of(viewer, anime_id) for anime_id in ids]
    names = ("status", "score", "notes", "episodes_watched", "tags")
    assert [[each[name] for name in names] for each in stored] == [
        ["on_hold", 7, "'=1+1 <b> & ü", 5, "mine"],
        ["completed", 7, "c", 12, "mine"],
    ]


@pytest.mark.parametrize("write", [as_xml, as_csv, as_json])
async def test_download_keeps_that_all_episodes_are_watched(backend: Backend, write: Callable[..., bytes]) -> None:
    viewer, number = await backend.viewer(), next(NUMBERS)
    rows = [row(number, "completed", **({} if write is as_csv else {"all_episodes": True}))]
    report = await bring(viewer, write(*rows))
    response = await viewer.request("GET", f"/library/imports/{report['id']}/not-imported")
    anime_id = await known_anime(backend, number, episode_count=12)
    await bring(viewer, response.content)
    assert (await fields_of(viewer, anime_id))["episodes_watched"] == 12


async def test_report_is_bounded_and_rows_are_complete(backend: Backend) -> None:
    viewer, numbers = await backend.viewer(), [next(NUMBERS) for _ in range(1_201)]
    await known_anime(backend, numbers[0])
    report = await bring(viewer, as_json(*map(row, numbers)))
    assert counts(report) == (1, 0, 0, 0, 1_200)
    assert len(report["not_imported"]) == 1_000
    path = f"/library/imports/{report['id']}"
    rows = await viewer.read(f"{path}/rows")
    assert [each["number"] for each in rows] == list(range(1, 1_202))
    assert [each["outcome"] for each in rows] == ["added", *["not_imported"] * 1_200]
    assert rows[-1]["remarks"] == ["It is not in the catalogue."]
    assert len((await viewer.read(f"{path}/not-imported"))["entries"]) == 1_200
    stored = await viewer.read(path)
    assert stored["report"] == report
    assert (stored["state"], stored["rows_done"], stored["rows_total"]) == ("done", 1_201, 1_201)


async def test_dry_run_stores_only_its_report(backend: Backend) -> None:
    viewer, (known, unknown) = await backend.viewer(), (next(NUMBERS), next(NUMBERS))
    await known_anime(backend, known)
    report = await bring(viewer, as_json(row(known), row(unknown)), "?dry_run=true")
    assert counts(report) == (1, 0, 0, 0, 1)
    assert await viewer.read("/library") == []
    path = f"/library/imports/{report['id']}"
    assert (await viewer.read(path))["dry_run"] is True
    assert len((await viewer.read(f"{path}/not-imported"))["entries"]) == 1


async def test_files_of_import_without_unknown_rows_are_404(backend: Backend) -> None:
    viewer = await backend.viewer()
    report = await bring(viewer, as_json())
    path = f"/library/imports/{report['id']}"
    assert await viewer.read(f"{path}/rows") == []
    response = await viewer.request("GET", f"{path}/not-imported")
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")


async def test_last_ten_imports_are_listed(backend: Backend) -> None:
    viewer, other = await backend.viewer(), await backend.viewer()
    ids = [(await bring(viewer, as_json()))["id"] for _ in range(12)]
    assert [each["id"] for each in await viewer.read("/library/imports")] == ids[:1:-1]
    assert await other.read("/library/imports") == []
    page = await viewer.request("GET", "/library/imports?limit=3&total=true")
    assert page.headers["x-total-count"] == "10"
    assert "next" in page.headers["link"]


async def test_entry_added_meanwhile_is_kept(backend: Backend) -> None:
    viewer, number = await backend.viewer(), next(NUMBERS)
    anime_id = await known_anime(backend, number)
    meanwhile = await connect(backend.url)
    transaction = meanwhile.transaction()
    await transaction.start()
    await meanwhile.execute(
        "INSERT INTO library_entries (id, user_id, anime_id, status) VALUES (gen_random_uuid(), $1, $2, 'dropped')",
        *(viewer.id, UUID(anime_id)),
    )
    importing = asyncio.create_task(bring(viewer, as_json(row(number, score=8))))

    async def is_waiting() -> bool:
        return bool(await backend.rows.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await until(is_waiting)
    await transaction.commit()
    await meanwhile.close()
    assert counts(await importing) == (0, 0, 0, 1, 0)
    assert (await fields_of(viewer, anime_id))["status"] == "dropped"


async def test_own_id_of_merged_anime_is_found(backend: Backend) -> None:
    editor, viewer, number = await backend.viewer("editor"), await backend.viewer(), next(NUMBERS)
    old, new = await known_anime(backend, number), await known_anime(backend, next(NUMBERS))
    await editor.write("POST", f"/anime/{old}/merge", {"into": new})
    listed = {"entry": {"anime_id": old, "status": "watching"}}
    assert counts(await bring(viewer, as_json(listed))) == (1, 0, 0, 0, 0)
    assert (await fields_of(viewer, new))["status"] == "watching"


async def test_status_that_an_import_changes_is_later_than_reports_of_players(backend: Backend) -> None:
    viewer, number = await backend.viewer(), next(NUMBERS)
    anime_id = await known_anime(backend, number)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    await entry(backend, viewer, anime_id, status="watching", status_set_at=long_ago)
    query = "SELECT status_set_at FROM library_entries WHERE user_id = $1"
    await bring(viewer, as_json(row(number, score=7)), "?policy=replace")
    assert await backend.rows.fetchval(query, viewer.id) == long_ago
    await bring(viewer, as_json(row(number, "dropped")), "?policy=replace")
    assert await backend.rows.fetchval(query, viewer.id) > long_ago


async def test_unknown_policy_is_rejected(backend: Backend) -> None:
    viewer: Viewer = await backend.viewer()
    body = await bring(viewer, as_json(), "?policy=all", status=422)
    assert [each["field"] for each in body["details"]] == ["policy"]
