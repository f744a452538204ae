"""Failures: entries that are refused, and imports that change nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import URL

from kitsu.domain.catalogue.importing import CatalogueFileError, ImportBusyError, Report
from kitsu.domain.catalogue.importing.files import MAX_LINE
from tests.databases import connect
from tests.domain.catalogue.test_import import dump, entry, import_entries, line_of, rows, run_import, write

DEEP = b"[" * 10_000 + b"]" * 10_000

# Invalid lines, and a part of the reason.
REFUSED: list[tuple[dict[str, Any] | bytes, str]] = [
    (b"no JSON at all", "JSON"),
    (b'{"sources": ["https://myanimelist.net/anime/9"], "title": "Cut', "JSON"),
    (b'{"title": "\xff\xfe"}', "utf-8"),
    (b"[]", "object"),
    (b"null", "object"),
    (b'"text"', "object"),
    (entry(title=5), "title"),
    (entry(episodes="12"), "episodes"),
    (entry(sources="https://myanimelist.net/anime/1"), "sources"),
    (entry(type="BOOK"), "type"),
    (entry(status="CANCELLED"), "status"),
    *(
        ({k: v for k, v in entry().items() if k != key}, key)
        for key in ("sources", "title", "type", "episodes", "status")
    ),
    (entry(title="T" * 256), "title"),
    (entry(title=""), "title"),
    (entry(title=" \t\u3000"), "title"),
    (entry(title="a\0b"), "NUL"),
    (json.dumps(entry(title="\ud800")).encode(), "surrogate"),
    (entry(episodes=20_001), "episodes"),
    (entry(episodes=10**30), "episodes"),
    (entry(episodes=-1), "episodes"),
    (entry(sources=[]), "sources"),
    (entry(sources=["no url"]), "'no url' is not a URL"),
    (entry(sources=["https://myanimelist.net/anime/9", "javascript:alert(1)"]), "'javascript:alert(1)' is not a URL"),
    (entry(sources=["https://example.org/\0"]), "NUL"),
    (entry(sources=["https://example.org/" + "x" * 500]), "sources"),
    (entry(synonyms=["x" * 1000] * 1100), f"longer than {MAX_LINE:,} bytes"),
    (b'{"unknown": ' + DEEP + b"}", "nested too deep"),
    (b'{"tags": ' + DEEP + b"}", "nested too deep"),
]


async def test_invalid_lines_are_reported_and_the_others_imported(database: URL, tmp_path: Path) -> None:
    lines = [line for n, (bad, _) in enumerate(REFUSED) for line in (bad, entry(100 + n, episodes=0))]
    report = await import_entries(database, tmp_path, *lines)
    assert report.added == len(REFUSED)
    assert await rows(database, "SELECT count(*) FROM anime") == [len(REFUSED)]
    # Metadata is line 1; every other line of the rest is bad.
    assert [number for number, _ in report.refused] == [2 * (n + 1) for n in range(len(REFUSED))]
    for (bad, about), (_, reason) in zip(REFUSED, report.refused, strict=True):
        assert about in reason, bad
        assert reason.isprintable(), bad
        assert len(reason) < 200, bad


# Wrong optional values: the column that stays empty, and what a remark names.
LEFT_OUT: list[tuple[dict[str, Any], str, str]] = [
    ({"animeSeason": "FALL"}, "season", "animeSeason"),
    ({"animeSeason": {"season": "AUTUMN", "year": 2001}}, "season", "animeSeason.season"),
    ({"animeSeason": {"season": "FALL", "year": 1906}}, "year", "animeSeason.year"),
    ({"animeSeason": {"season": "FALL", "year": 10**12}}, "year", "animeSeason.year"),
    ({"duration": {"value": 24, "unit": "MINUTES"}}, "duration_seconds", "duration.unit"),
    ({"duration": {"value": 2**31, "unit": "SECONDS"}}, "duration_seconds", "duration.value"),
    ({"score": {"arithmeticGeometricMean": 10.1}}, "score", "score"),
    ({"picture": "javascript:alert(1)"}, "poster", "picture"),
    ({"picture": 'https://example.org/" onerror="alert(1)'}, "poster", "picture"),
    ({"picture": "https://example.org/a.jpg\n"}, "poster", "picture"),
    ({"thumbnail": "data:image/png;base64,"}, "thumbnail", "thumbnail"),
    ({"airingSchedule": [{"episode": 0, "airingAt": 5}]}, "thumbnail", "airingSchedule[0]"),
]


@pytest.mark.parametrize(("wrong", "column", "named"), LEFT_OUT)
async def test_wrong_optional_value_is_left_out(
    database: URL, tmp_path: Path, wrong: dict[str, Any], column: str, named: str
) -> None:
    fine = {"picture": "https://example.org/a.jpg", "episodes": 3}
    report = await import_entries(database, tmp_path, entry(1, **fine | wrong), entry(2, **fine))
    assert (report.added, report.refused, report.values_left_out) == (2, [], 1)
    ((number, text),) = report.remarks
    assert number == 2
    assert text.startswith(f"`{named}")
    query = f"SELECT {column} IS NULL FROM anime WHERE title = 'Anime 1' AND episode_count = 3"
    assert await rows(database, query) == [True]


async def test_wrong_item_of_a_list_is_left_out(database: URL, tmp_path: Path) -> None:
    lists = {"synonyms": ["fine", "a\0b", "x" * 1001, "good", 5], "tags": ["x" * 201, "drama"]}
    many = {"synonyms": ["fine", *[""] * 50]}
    report = await import_entries(database, tmp_path, entry(1, **lists), entry(2, **many))
    assert (report.added, report.values_left_out, len(report.remarks)) == (2, 15, 15)
    found = await rows(database, "SELECT synonyms || genres FROM anime ORDER BY title")
    assert found == [["fine", "good", "drama"], []]


async def test_reason_of_refusal_is_short(database: URL, tmp_path: Path) -> None:
    report = await import_entries(database, tmp_path, entry(1), entry(2, type="x" * (MAX_LINE - 1000)))
    ((number, reason),) = report.refused
    assert number == 3
    assert len(reason) < 1000


@pytest.mark.parametrize(
    "fields", [pytest.param({"sources": ["https://no host/1"]}, id="source with a blank in its host")]
)
async def test_entry_with_invalid_url_is_refused(database: URL, tmp_path: Path, fields: dict[str, Any]) -> None:
    report = await import_entries(database, tmp_path, entry(1), entry(2, **fields))
    assert [number for number, _ in report.refused] == [3]


HAN = "".join(map(chr, range(0x4E00, 0x4E00 + 1000)))
RARE_HAN = "".join(map(chr, range(0x20000, 0x20000 + 500)))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"tags": [HAN]}, id="tag"),
        pytest.param({"sources": [f"https://{RARE_HAN[:240]}/{RARE_HAN[240:490]}"]}, id="source"),
        pytest.param({"title": RARE_HAN[:255]}, id="title"),
        pytest.param({"title": "\ufdfa" * 255}, id="title that folding makes 18 times as long"),
        pytest.param({"studios": [HAN], "synonyms": [RARE_HAN * 2] * 20}, id="studio and synonyms"),
    ],
)
async def test_long_text_does_not_prevent_the_import_of_others(
    database: URL, tmp_path: Path, fields: dict[str, Any]
) -> None:
    """PostgreSQL may refuse a long text in an index. Then the import refuses only its entry."""
    report = await import_entries(database, tmp_path, entry(1), entry(2, **fields), entry(3))
    assert report.added + len(report.refused) == 3
    assert await rows(database, "SELECT count(*) FROM anime WHERE title IN ('Anime 1', 'Anime 3')") == [2]


async def test_file_with_invalid_entries_only_is_refused(database: URL, tmp_path: Path) -> None:
    before = await dump(database)
    with pytest.raises(CatalogueFileError, match=r"catalogue\.jsonl holds no anime.*2, because.*type"):
        await import_entries(database, tmp_path, entry(1, type="BOOK"), entry(2, type="BOOK"))
    assert await dump(database) == before


@pytest.fixture
async def filled(database: URL, tmp_path: Path) -> AsyncIterator[URL]:
    """A database with a small catalogue that the test must not change."""
    await import_entries(database, tmp_path, entry(1), entry(2))
    before = await dump(database)
    yield database
    assert await dump(database) == before


# Adds anime, changes one and adds episodes.
BIG = [entry(1, title="Changed", episodes=9), *(entry(n) for n in range(2, 3000))]


async def test_truncated_file_changes_nothing(filled: URL, tmp_path: Path) -> None:
    path = write(tmp_path, *BIG)
    path.write_bytes(path.read_bytes() + line_of(entry(9999))[:60])
    with pytest.raises(CatalogueFileError, match=r"catalogue\.jsonl.* cut short.* line 3001"):
        await run_import(filled, path)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
async def test_error_in_progress_changes_nothing(filled: URL, tmp_path: Path, error: type[BaseException]) -> None:
    path = write(tmp_path, *BIG)

    def progress(done: int) -> None:
        if done > path.stat().st_size * 0.9:
            raise error

    with pytest.raises(error):
        await run_import(filled, path, progress=progress)


# The sessions that wait for the table in this database; other tests may use the same server.
WAITING = (
    "FROM pg_locks WHERE NOT granted AND relation = 'episodes'::regclass "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
# Polled, with a pause that leaves the processor to the import.
WAITS = f"SELECT EXISTS (SELECT {WAITING}) FROM pg_sleep(0.02)"


@asynccontextmanager
async def held_up(
    database: URL, work: Callable[[], Any]
) -> AsyncIterator[tuple[asyncio.Task[Any], asyncpg.Connection]]:
    """Run an import that has inserted its anime and waits to insert episodes, until the context ends."""
    connection = await connect(database)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE episodes IN SHARE MODE")
            task = asyncio.create_task(work())
            while not await connection.fetchval(WAITS):
                assert not task.done()
            yield task, connection
    finally:
        await connection.close()


async def test_cancelled_import_changes_nothing(filled: URL, tmp_path: Path) -> None:
    path = write(tmp_path, *BIG)
    async with held_up(filled, lambda: run_import(filled, path)) as (task, _):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_import_with_lost_connection_changes_nothing(filled: URL, tmp_path: Path) -> None:
    path = write(tmp_path, *BIG)
    async with held_up(filled, lambda: run_import(filled, path)) as (task, connection):
        await connection.execute(f"SELECT pg_terminate_backend(pid) {WAITING}")
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await task


async def test_import_during_another_import_is_refused(database: URL, tmp_path: Path) -> None:
    path = write(tmp_path, *BIG)
    async with held_up(database, lambda: run_import(database, path)) as (task, _):
        for dry_run in (False, True):
            with pytest.raises(ImportBusyError, match="Another import runs"):
                await run_import(database, path, dry_run=dry_run)
    assert await task == Report(added=len(BIG))
    assert await run_import(database, path) == Report(unchanged=len(BIG))
