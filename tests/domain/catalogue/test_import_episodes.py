"""Importing again: the numbered episodes of a release, on which viewers' history hangs."""

from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from kitsu.domain.catalogue.importing import Report
from tests.databases import execute
from tests.domain.catalogue.test_import import entry, import_entries, rows

NUMBERS = "SELECT number FROM episodes ORDER BY number"


async def test_more_episodes(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=2), entry(2, episodes=1))
    before = await rows(database, "SELECT e::text FROM episodes e ORDER BY id")
    assert await import_entries(database, tmp_path, entry(1, episodes=4), entry(2, episodes=1)) == Report(
        updated=1, unchanged=1
    )
    assert await rows(database, NUMBERS) == [1, 1, 2, 3, 4]
    after = await rows(database, "SELECT e::text FROM episodes e ORDER BY id")
    assert [row for row in after if row in before] == before


async def test_fewer_episodes_remove_none(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=4))
    before = await rows(database, "SELECT e::text FROM episodes e ORDER BY id")
    for count in (2, 0, 4):
        assert await import_entries(database, tmp_path, entry(1, episodes=count)) == Report(updated=1)
        assert await rows(database, "SELECT episode_count FROM anime") == [count or None]
        assert await rows(database, "SELECT e::text FROM episodes e ORDER BY id") == before


async def test_deleted_episode_stays_away(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=4))
    await execute(database, "DELETE FROM episodes WHERE number IN (2, 4)")
    assert await import_entries(database, tmp_path, entry(1, episodes=4)) == Report(unchanged=1)
    assert await import_entries(database, tmp_path, entry(1, episodes=4, title="Other")) == Report(updated=1)
    assert await rows(database, NUMBERS) == [1, 3]
    await import_entries(database, tmp_path, entry(1, episodes=6))
    assert await rows(database, NUMBERS) == [1, 3, 5, 6]


async def test_first_known_number_of_episodes(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=0))
    assert await import_entries(database, tmp_path, entry(1, episodes=2)) == Report(updated=1)
    assert await rows(database, NUMBERS) == [1, 2]


@pytest.mark.parametrize(
    ("known", "added", "later", "episodes"),
    [
        (1, 2, 3, [(1, None), (2, "By hand"), (3, None)]),
        (0, 1, 2, [(1, "By hand"), (2, None)]),  # before the file knew how many there are
    ],
)
async def test_episode_that_an_editor_added_is_not_made_twice(
    database: URL, tmp_path: Path, known: int, added: int, later: int, episodes: list[tuple[int, str | None]]
) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=known))
    columns = f"gen_random_uuid(), id, {added}, 'By hand'"
    await execute(database, f"INSERT INTO episodes (id, release_id, number, title) SELECT {columns} FROM releases")
    await import_entries(database, tmp_path, entry(1, episodes=later))
    assert await rows(database, "SELECT number, title FROM episodes ORDER BY number") == episodes


async def test_new_episodes_alone_are_an_update(database: URL, tmp_path: Path) -> None:
    """An editor's own count is kept, and an anime that got an episode is not called unchanged."""
    await import_entries(database, tmp_path, entry(1, episodes=2))
    await execute(database, "UPDATE anime SET episode_count = 26")
    report = await import_entries(database, tmp_path, entry(1, episodes=3))
    assert await rows(database, "SELECT episode_count FROM anime") == [26]
    assert await rows(database, NUMBERS) == [1, 2, 3]
    assert report == Report(updated=1)
