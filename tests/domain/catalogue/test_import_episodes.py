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


async def test_fewer_episodes_remove_the_surplus_ones(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=4), entry(2, episodes=4))
    await import_entries(database, tmp_path, entry(1, episodes=2), entry(2, episodes=4))
    assert await rows(database, NUMBERS) == [1, 1, 2, 2, 3, 4]
    # A number that is no longer known says nothing of the episodes.
    assert await import_entries(database, tmp_path, entry(1, episodes=0), entry(2, episodes=4)) == Report(
        updated=1, unchanged=1
    )
    assert await rows(database, NUMBERS) == [1, 1, 2, 2, 3, 4]
    await import_entries(database, tmp_path, entry(1, episodes=3), entry(2, episodes=4))
    assert await rows(database, NUMBERS) == [1, 1, 2, 2, 3, 3, 4]


USER = "INSERT INTO users (id, email, username, password_hash) VALUES (gen_random_uuid(), 'a@example.org', 'abc', 'x')"
WATCHED = {
    "view": "INSERT INTO views (id, user_id, episode_id, progress) SELECT gen_random_uuid(), u.id, e.id, 5"
    " FROM users u, episodes e WHERE number = 3",
    "play": "INSERT INTO plays (id, user_id, anime_id, episode, watched_at)"
    " SELECT gen_random_uuid(), u.id, a.id, 3, now() FROM users u, anime a",
    "place": "INSERT INTO watch_progress (id, user_id, anime_id, episode, position_seconds)"
    " SELECT gen_random_uuid(), u.id, a.id, 3, 5 FROM users u, anime a",
    "title": "UPDATE episodes SET title = 'Finale' WHERE number = 3",
    "time": "UPDATE episodes SET airs_at = now() WHERE number = 3",
}


@pytest.mark.parametrize("watched", WATCHED)
async def test_surplus_episode_that_was_watched_or_edited_stays(database: URL, tmp_path: Path, watched: str) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=4))
    await execute(database, USER)
    await execute(database, WATCHED[watched])
    report = await import_entries(database, tmp_path, entry(1, episodes=2))
    assert report.kept_episodes == [("Anime 1", [3])]
    assert await rows(database, NUMBERS) == [1, 2, 3]


async def test_number_of_an_editor_removes_no_episode(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=4))
    await execute(database, "UPDATE anime SET episode_count = 4, edited_fields = '{episode_count}'")
    await import_entries(database, tmp_path, entry(1, episodes=2))
    assert await rows(database, NUMBERS) == [1, 2, 3, 4]


def airing(*times: int) -> list[dict[str, int]]:
    return [{"episode": number, "airingAt": at} for number, at in enumerate(times, 1)]


TIMES = "SELECT extract(epoch FROM airs_at)::bigint FROM episodes ORDER BY number"


async def test_airing_times_are_set_and_corrected(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=3, airingSchedule=airing(100, 200, 300, 400)))
    assert await rows(database, TIMES) == [100, 200, 300]
    # An editor's value stays; one that the file no longer has, too.
    await execute(database, "UPDATE episodes SET airs_at = to_timestamp(7) WHERE number = 2")
    await execute(database, "UPDATE episodes SET airs_at = NULL WHERE number = 3")
    again = entry(1, episodes=3, airingSchedule=airing(101, 201, 301))
    assert await import_entries(database, tmp_path, again) == Report(updated=1)
    assert await rows(database, TIMES) == [101, 7, None]
    assert await import_entries(database, tmp_path, again) == Report(unchanged=1)
    assert await import_entries(database, tmp_path, entry(1, episodes=3)) == Report(unchanged=1)
    assert await rows(database, TIMES) == [101, 7, None]


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
