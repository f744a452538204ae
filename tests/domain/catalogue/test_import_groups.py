"""Entries with a shared source: in two files, in one, and of two anime of the catalogue."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import URL

from kitsu.db.engine import create_engine
from kitsu.domain.catalogue.importing import Report, import_catalogue
from tests.databases import execute
from tests.domain.catalogue.test_import import dump, entry, import_entries, rows, write

A, B, C, D = (f"https://a.example.org/{letter}" for letter in "abcd")


SPELLINGS = (
    "https://kitsu.io/anime/{}",
    "https://www.kitsu.app/anime/{}",
    "https://www.kitsu.io/anime/{}/",
    "http://kitsu.app/anime/{}",
    "https://kitsu.app/anime/{}/",
    "HTTPS://Kitsu.App/anime/{}",
)


async def test_source_in_another_spelling_is_the_same_anime(database: URL, tmp_path: Path) -> None:
    count = len(SPELLINGS)
    first = [entry(n, sources=[f"https://kitsu.app/anime/{n}"]) for n in range(count)]
    second = [entry(n, sources=[spelling.format(n)]) for n, spelling in enumerate(SPELLINGS)]
    both = [entry(n, sources=[each.format(n) for each in SPELLINGS]) for n in range(count)]
    assert await import_entries(database, tmp_path, *first) == Report(added=count)
    before = await dump(database)
    assert await import_entries(database, tmp_path, *second) == Report(unchanged=count)
    assert await import_entries(database, tmp_path, *both) == Report(unchanged=count)
    assert await import_entries(database, tmp_path, *first, *second) == Report(unchanged=count, merged=count)
    assert await dump(database) == before


async def test_entry_with_any_shared_source_is_the_same_anime(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, sources=[A, B]), entry(2, sources=[C]))
    (kept,) = await rows(database, "SELECT id FROM anime WHERE title = 'Anime 1'")
    assert await import_entries(database, tmp_path, entry(3, sources=[D, B])) == Report(updated=1)
    assert await rows(database, "SELECT title FROM anime WHERE id = $1", kept) == ["Anime 3"]
    assert await rows(database, "SELECT external_id FROM external_ids WHERE anime_id = $1 ORDER BY 1", kept) == [
        A,
        B,
        D,
    ]
    assert await import_entries(database, tmp_path, entry(3, sources=[D])) == Report(unchanged=1)


SAME: dict[str, list[dict[str, Any]]] = {
    "directly": [entry(1, sources=[A, B]), entry(2, sources=[B, C])],
    "by a chain": [entry(1, sources=[A, B]), entry(2, sources=[B, C]), entry(3, sources=[C, D])],
    "by one that comes last": [entry(1, sources=[A]), entry(2, sources=[D]), entry(3, sources=[A, D])],
    "word for word": [entry(1, sources=[A]), entry(1, sources=[A])],
}


@pytest.mark.parametrize("how", SAME)
async def test_entries_that_share_a_source_are_merged(database: URL, tmp_path: Path, how: str) -> None:
    entries = [entry(8), *SAME[how], entry(9)]
    merged = len(SAME[how]) - 1
    assert await import_entries(database, tmp_path, *entries) == Report(added=3, merged=merged)
    # The first entry is used, with the ids of all.
    assert await rows(database, "SELECT title FROM anime ORDER BY title") == ["Anime 1", "Anime 8", "Anime 9"]
    assert await rows(database, "SELECT title FROM releases ORDER BY title") == ["Anime 1", "Anime 8", "Anime 9"]
    assert await rows(database, "SELECT count(*) FROM episodes") == [9]
    assert await rows(
        database, "SELECT external_id FROM external_ids JOIN anime ON id = anime_id WHERE title = 'Anime 1' ORDER BY 1"
    ) == sorted({source for found in SAME[how] for source in found["sources"]})

    before = await dump(database)
    for _ in range(2):
        assert await import_entries(database, tmp_path, *entries) == Report(unchanged=3, merged=merged)
        assert await dump(database) == before


async def test_anime_merged_by_an_editor_are_one(database: URL, tmp_path: Path) -> None:
    entries = (entry(1, sources=[A]), entry(2, sources=[B]), entry(3, sources=[A, B]))
    await import_entries(database, tmp_path, *entries[:2])
    report = await import_entries(database, tmp_path, *entries)
    assert (report.unchanged, [number for number, _ in report.refused]) == (2, [4])
    await execute(
        database,
        "UPDATE external_ids SET anime_id = (SELECT id FROM anime WHERE title = 'Anime 1')",
        "DELETE FROM anime WHERE title = 'Anime 2'",
    )
    assert await import_entries(database, tmp_path, *entries) == Report(unchanged=1, merged=2)


async def test_source_that_all_entries_have_by_mistake_belongs_to_none(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, *(entry(n, episodes=0) for n in range(1, 301)))
    mistaken = [
        entry(n, title=f"New {n}", episodes=0, sources=[f"https://myanimelist.net/anime/{n}", "https://example.org/"])
        for n in range(1, 301)
    ]
    assert await import_entries(database, tmp_path, *mistaken) == Report(updated=300)
    assert await rows(database, "SELECT count(*) FROM external_ids WHERE provider = 'example.org'") == [0]
    assert await import_entries(database, tmp_path, *mistaken) == Report(unchanged=300)


def chain(count: int, order: list[int]) -> list[dict[str, Any]]:
    """Write entries, each of which shares a source with the next, in this order of the file."""
    links = [f"https://a.example.org/{n}" for n in range(count + 1)]
    return [entry(n, sources=links[n : n + 2], episodes=0) for n in order]


ORDERS: dict[str, Callable[[int], list[int]]] = {
    "from its beginning": lambda count: list(range(count)),
    "from its end": lambda count: list(range(count))[::-1],
    "shuffled": lambda count: random.Random(7).sample(range(count), count),  # noqa: S311 - the same each time
    # All entries settle on the beginning, which comes second, before they learn of the end, which comes first.
    "its two ends first": lambda count: [count - 1, *range(count - 1)],
}


@pytest.mark.parametrize("order", ORDERS)
async def test_long_chain_of_shared_sources_is_one_anime(database: URL, tmp_path: Path, order: str) -> None:
    statements: Counter[str] = Counter()
    engine = create_engine(database)

    @event.listens_for(engine.sync_engine, "connect")
    def listen(connection: Any, _: Any) -> None:
        connection.driver_connection.add_query_logger(lambda query: statements.update([query.query]))

    try:
        # One round per entry would take minutes for a chain of some thousands.
        entries = chain(300, ORDERS[order](300))
        assert await import_catalogue(engine, write(tmp_path, *entries), dry_run=True) == Report(added=1, merged=299)
        assert statements.most_common(1)[0][1] < 30

        entries = chain(2000, ORDERS[order](2000))
        assert await import_catalogue(engine, write(tmp_path, *entries)) == Report(added=1, merged=1999)
    finally:
        await engine.dispose()
    assert await rows(database, "SELECT title FROM anime") == [entries[0]["title"]]
    assert await rows(database, "SELECT count(*) FROM external_ids") == [2001]
