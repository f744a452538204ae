"""The import of a file: columns, a second run, order, dry run, the real catalogue; helpers of the import's tests."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.engine import URL

from kitsu.db.engine import create_engine
from kitsu.domain.catalogue.importing import Report, import_catalogue
from tests.conftest import SHARED_DATA
from tests.databases import connect

METADATA = {"license": {"name": "CC0-1.0"}, "lastUpdate": "2026-11-22"}


def entry(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a minimal entry, with some other fields."""
    return {
        "sources": [f"https://myanimelist.net/anime/{number}"],
        "title": f"Anime {number}",
        "type": "TV",
        "episodes": 3,
        "status": "FINISHED",
        **fields,
    }


def write(folder: Path, *lines: dict[str, Any] | bytes) -> Path:
    """Write a `.jsonl` of these entries or raw lines; the first of them is line 2."""
    path = folder / "catalogue.jsonl"
    path.write_bytes(b"".join(line_of(line) for line in (METADATA, *lines)))
    return path


def line_of(line: dict[str, Any] | bytes) -> bytes:
    """Return a line of the file, with its line break."""
    return (line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode()) + b"\n"


async def run_import(database: URL, path: Path, **options: Any) -> Report:
    """Import a file, with a new engine as in a command."""
    engine = create_engine(database)
    try:
        return await import_catalogue(engine, path, **options)
    finally:
        await engine.dispose()


async def import_entries(database: URL, folder: Path, *lines: dict[str, Any] | bytes, **options: Any) -> Report:
    """Import a file of these lines."""
    return await run_import(database, write(folder, *lines), **options)


async def rows(database: URL, query: str, *arguments: Any) -> list[Any]:
    """Return the rows of a query: tuples, or the values of its only column."""
    connection = await connect(database)
    try:
        found = [tuple(row) for row in await connection.fetch(query, *arguments)]
    finally:
        await connection.close()
    return [row[0] if len(row) == 1 else row for row in found]


async def dump(database: URL) -> dict[str, list[str]]:
    """Return all rows of all tables, with ctid and xmin: a rewritten row differs."""
    tables = await rows(database, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert {"anime", "releases", "episodes", "external_ids", "catalogue_imports"} <= set(tables)
    return {
        t: await rows(database, f"SELECT format('%s %s %s', ctid, xmin, t) FROM {t} t ORDER BY ctid")
        for t in tables
        if t != "command_runs"  # every import writes to it
    }


async def anime(database: URL, external_id: int) -> dict[str, Any]:
    """Return the row of an anime, without generated columns."""
    (found,) = await rows(
        database,
        "SELECT (to_jsonb(a) - ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = 'anime'::regclass "
        "AND attgenerated <> ''))::text FROM anime a "
        "WHERE id IN (SELECT anime_id FROM external_ids WHERE external_id = $1)",
        str(external_id),
    )
    loaded: dict[str, Any] = json.loads(found)
    return loaded


FULL = entry(
    1535,
    sources=["https://anidb.net/anime/4563", "https://myanimelist.net/anime/1535"],
    title="デスノート",
    episodes=2,
    animeSeason={"season": "FALL", "year": 2006},
    picture="https://cdn.example.org/1535.jpg",
    thumbnail="https://cdn.example.org/1535t.jpg",
    duration={"value": 1380, "unit": "SECONDS"},
    score={"arithmeticGeometricMean": 8.71, "arithmeticMean": 8.6, "median": 8.5},
    synonyms=["Death Note", "DN", "Тетрадь смерти"],
    studios=["madhouse"],
    producers=["vap"],
    tags=["mystery", "thriller"],
    relatedAnime=["https://anidb.net/anime/8146"],
)
FULL_COLUMNS = {
    "status": "FINISHED",
    "type": "TV",
    "season": "FALL",
    "episode_count": 2,
    "duration_seconds": 1380,
    "score": 8.71,
    "poster": "https://cdn.example.org/1535.jpg",
    "thumbnail": "https://cdn.example.org/1535t.jpg",
    "synonyms": ["Death Note", "DN", "Тетрадь смерти"],
}
"""The columns that an anime without values gets from it."""


async def test_first_import_adds_anime_releases_and_episodes(database: URL, tmp_path: Path) -> None:
    assert await import_entries(database, tmp_path, FULL, entry(2, title="Other", episodes=1)) == Report(added=2)

    assert await rows(database, "SELECT title FROM anime ORDER BY title") == ["Other", "デスノート"]
    assert await rows(
        database,
        "SELECT a.title, r.title, r.year, r.status FROM releases r JOIN anime a ON a.id = r.anime_id ORDER BY 1",
    ) == [("Other", "Other", None, "FINISHED"), ("デスノート", "デスノート", 2006, "FINISHED")]
    assert await rows(
        database, "SELECT r.title, e.number, e.title FROM episodes e JOIN releases r ON r.id = release_id ORDER BY 1, 2"
    ) == [("Other", 1, None), ("デスノート", 1, None), ("デスノート", 2, None)]
    assert await rows(
        database, "SELECT title, provider, external_id FROM external_ids JOIN anime a ON a.id = anime_id ORDER BY 1, 2"
    ) == [("Other", "myanimelist", "2"), ("デスノート", "anidb", "4563"), ("デスノート", "myanimelist", "1535")]
    ids: list[UUID] = await rows(
        database, "SELECT id FROM anime UNION ALL SELECT id FROM releases UNION ALL SELECT id FROM episodes"
    )
    assert {found.version for found in ids} == {7}


async def test_import_fills_every_column(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, FULL)
    row = await anime(database, 1535)
    assert row.pop("created_at") == row.pop("updated_at")
    del row["id"]
    assert row == {
        "title": "デスノート",
        "title_original": None,
        "description": None,
        "year": 2006,
        "edited_fields": [],
        **FULL_COLUMNS,
        "genres": ["mystery", "thriller"],
        "studios": ["madhouse"],
    }


# Fields of an entry, a column of `anime`, and its value.
MAPPING: list[tuple[dict[str, Any], str, Any]] = [
    ({"episodes": 0}, "episode_count", None),
    ({"episodes": 12}, "episode_count", 12),
    ({"animeSeason": {"season": "UNDEFINED"}}, "season", None),
    ({"animeSeason": {"season": "UNDEFINED", "year": 1999}}, "year", 1999),
    ({"animeSeason": {"season": "WINTER"}}, "season", "WINTER"),
    ({"animeSeason": {"season": "WINTER"}}, "year", None),
    ({"animeSeason": {"season": "WINTER", "year": 1907}}, "year", 1907),
    ({}, "season", None),
    ({}, "year", None),
    ({}, "duration_seconds", None),
    ({"duration": {"value": 0, "unit": "SECONDS"}}, "duration_seconds", None),
    ({}, "score", None),
    ({"score": {"arithmeticGeometricMean": 10}}, "score", 10.0),
    ({"score": {"arithmeticGeometricMean": 6.1000000000000005}}, "score", 6.1000000000000005),
    ({}, "poster", None),
    ({}, "thumbnail", None),
    ({}, "synonyms", []),
    ({"synonyms": ["b", "a", "b"]}, "synonyms", ["b", "a"]),
    ({}, "genres", []),
    ({"tags": ["Drama", "drama", "sci-fi"]}, "genres", ["drama", "sci-fi"]),
    ({}, "studios", []),
    ({"title": "  Spaced  "}, "title", "Spaced"),
    ({"title": "T" * 255}, "title", "T" * 255),
    ({"type": "UNKNOWN"}, "type", "UNKNOWN"),
    *(({"type": kind}, "type", kind) for kind in ("TV", "MOVIE", "OVA", "ONA", "SPECIAL")),
    *(({"status": status}, "status", status) for status in ("FINISHED", "ONGOING", "UPCOMING", "UNKNOWN")),
]


async def test_each_value_becomes_its_column(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, *(entry(n, **fields) for n, (fields, _, _) in enumerate(MAPPING)))
    for number, (fields, column, expected) in enumerate(MAPPING):
        assert (fields, column, (await anime(database, number))[column]) == (fields, column, expected)


async def test_unknown_episode_count_adds_no_episodes(database: URL, tmp_path: Path) -> None:
    assert await import_entries(database, tmp_path, entry(1, episodes=0)) == Report(added=1)
    assert await rows(database, "SELECT (SELECT count(*) FROM releases), (SELECT count(*) FROM episodes)") == [(1, 0)]


async def test_ids_of_unknown_hosts_and_several_ids_of_a_provider_are_stored(database: URL, tmp_path: Path) -> None:
    sources = [
        "https://myanimelist.net/anime/1",
        "https://www.myanimelist.net/anime/2/",
        "http://anime.example.org/shows?id=7#top",
        "https://anidb.net/file/5",
    ]
    await import_entries(database, tmp_path, entry(sources=sources))
    assert await rows(database, "SELECT provider, external_id FROM external_ids ORDER BY 1, 2") == [
        ("anidb.net", "https://anidb.net/file/5"),
        ("anime.example.org", "http://anime.example.org/shows?id=7#top"),
        ("myanimelist", "1"),
        ("myanimelist", "2"),
    ]


async def test_second_import_writes_nothing(database: URL, tmp_path: Path) -> None:
    entries = [FULL, *(entry(n, **fields) for n, (fields, _, _) in enumerate(MAPPING)), entry(1, title="Again")]
    assert await import_entries(database, tmp_path, *entries) == Report(added=len(entries) - 1, merged=1)
    before = await dump(database)
    for _ in range(2):
        assert await import_entries(database, tmp_path, *entries) == Report(unchanged=len(entries) - 1, merged=1)
        assert await dump(database) == before


async def test_connection_is_reused_for_several_imports(database: URL, tmp_path: Path) -> None:
    engine = create_engine(database, pool_size=1, max_overflow=0)
    try:
        assert await import_catalogue(engine, write(tmp_path, entry(1))) == Report(added=1)
        assert await import_catalogue(engine, write(tmp_path, entry(1), entry(2)), dry_run=True) == Report(
            added=1, unchanged=1
        )
        assert await import_catalogue(engine, write(tmp_path, entry(1), entry(2))) == Report(added=1, unchanged=1)
        assert await import_catalogue(engine, write(tmp_path, entry(1), entry(2))) == Report(unchanged=2)
    finally:
        await engine.dispose()


async def test_imported_anime_are_listed_in_the_order_of_the_file(database: URL, tmp_path: Path) -> None:
    entries = [entry(n, episodes=0) for n in range(2300)]  # several batches
    await import_entries(database, tmp_path, *entries)
    titles = [e["title"] for e in entries]
    assert await rows(database, "SELECT title FROM anime ORDER BY created_at DESC, id DESC") == titles
    assert await rows(database, "SELECT title FROM releases ORDER BY created_at DESC, id DESC") == titles
    assert await rows(database, "SELECT count(DISTINCT created_at) FROM anime") == [len(entries)]

    # Anime of a later import are newer; an old one keeps its position.
    await import_entries(database, tmp_path, entry(5000), entries[7] | {"title": "Other"}, entry(5001))
    titles[7] = "Other"
    assert await rows(database, "SELECT title FROM anime ORDER BY created_at DESC, id DESC") == [
        "Anime 5000",
        "Anime 5001",
        *titles,
    ]


async def test_dry_run_returns_the_same_report_and_writes_nothing(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1), entry(2), entry(3), entry(4))
    before = await dump(database)
    changed = (
        entry(1, title="Changed"),
        entry(2),
        entry(3, sources=["https://myanimelist.net/anime/3", "https://myanimelist.net/anime/4"]),
        entry(5),
        entry(6, type="BOOK"),
        entry(2, title="Twice"),
    )
    rehearsed = await import_entries(database, tmp_path, *changed, dry_run=True)
    assert await dump(database) == before
    assert rehearsed == await import_entries(database, tmp_path, *changed)
    assert (rehearsed.added, rehearsed.updated, rehearsed.unchanged, rehearsed.merged) == (1, 1, 2, 1)
    assert rehearsed.identities.reviews == 1
    assert [number for number, _ in rehearsed.refused] == [6]


@pytest.mark.slow
async def test_second_import_of_the_real_catalogue_changes_nothing(database: URL) -> None:
    path = SHARED_DATA / "catalogue.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    assert await run_import(database, path) == Report(added=11_153)
    before = await dump(database)
    assert [len(before[table]) for table in ("anime", "releases", "catalogue_imports")] == [11_153] * 3
    with path.open("rb") as lines:
        entries = [json.loads(line) for line in lines][1:]
    assert len(before["episodes"]) == sum(e["episodes"] for e in entries)
    assert await rows(database, "SELECT title FROM anime ORDER BY created_at DESC, id DESC") == [
        e["title"].strip() for e in entries
    ]
    assert await run_import(database, path) == Report(unchanged=11_153)
    assert await dump(database) == before
