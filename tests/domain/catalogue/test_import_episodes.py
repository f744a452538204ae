"""A second import: the episodes of a release, which the history of viewers refers to."""

from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from kitsu.domain.catalogue.importing import Report
from tests.databases import execute
from tests.domain.catalogue.test_import import entry, import_entries, rows

NUMBERS = "SELECT number FROM episodes ORDER BY number"


async def test_more_episodes_are_added(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=2), entry(2, episodes=1))
    before = await rows(database, "SELECT e::text FROM episodes e ORDER BY id")
    assert await import_entries(database, tmp_path, entry(1, episodes=4), entry(2, episodes=1)) == Report(
        updated=1, unchanged=1
    )
    assert await rows(database, NUMBERS) == [1, 1, 2, 3, 4]
    after = await rows(database, "SELECT e::text FROM episodes e ORDER BY id")
    assert [row for row in after if row in before] == before


async def test_fewer_episodes_remove_no_episode(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=4))
    before = await rows(database, "SELECT e::text FROM episodes e ORDER BY id")
    for count in (2, 0, 4):
        assert await import_entries(database, tmp_path, entry(1, episodes=count)) == Report(updated=1)
        assert await rows(database, "SELECT episode_count FROM anime") == [count or None]
        assert await rows(database, "SELECT e::text FROM episodes e ORDER BY id") == before


async def test_deleted_episode_is_not_added_again(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=4))
    await execute(database, "DELETE FROM episodes WHERE number IN (2, 4)")
    assert await import_entries(database, tmp_path, entry(1, episodes=4)) == Report(unchanged=1)
    assert await import_entries(database, tmp_path, entry(1, episodes=4, title="Other")) == Report(updated=1)
    assert await rows(database, NUMBERS) == [1, 3]
    await import_entries(database, tmp_path, entry(1, episodes=6))
    assert await rows(database, NUMBERS) == [1, 3, 5, 6]


async def test_first_known_episode_count_adds_episodes(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=0))
    assert await import_entries(database, tmp_path, entry(1, episodes=2)) == Report(updated=1)
    assert await rows(database, NUMBERS) == [1, 2]


@pytest.mark.parametrize(
    ("known", "added", "later", "episodes"),
    [
        (1, 2, 3, [(1, None), (2, "Edited"), (3, None)]),
        (0, 1, 2, [(1, "Edited"), (2, None)]),  # before the file has an episode count
    ],
)
async def test_episode_of_an_editor_is_not_duplicated(
    database: URL, tmp_path: Path, known: int, added: int, later: int, episodes: list[tuple[int, str | None]]
) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=known))
    columns = f"gen_random_uuid(), id, {added}, 'Edited'"
    await execute(database, f"INSERT INTO episodes (id, release_id, number, title) SELECT {columns} FROM releases")
    await import_entries(database, tmp_path, entry(1, episodes=later))
    assert await rows(database, "SELECT number, title FROM episodes ORDER BY number") == episodes


async def test_new_episodes_count_as_an_update(database: URL, tmp_path: Path) -> None:
    """The count of an editor is preserved, and an anime with a new episode is reported as updated."""
    await import_entries(database, tmp_path, entry(1, episodes=2))
    await execute(database, "UPDATE anime SET episode_count = 26")
    report = await import_entries(database, tmp_path, entry(1, episodes=3))
    assert await rows(database, "SELECT episode_count FROM anime") == [26]
    assert await rows(database, NUMBERS) == [1, 2, 3]
    assert report == Report(updated=1)
