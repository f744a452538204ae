"""Importing again: what a later file changes, and what editors, hand-made anime and the sample keep."""

from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from kitsu.db.engine import create_engine
from kitsu.domain.catalogue.importing import Report, load_sample
from tests.databases import execute
from tests.domain.catalogue.test_import import FULL, FULL_COLUMNS, anime, dump, entry, import_entries, rows

# A field of the file with another value, and what then stands in which column.
CHANGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "title": ("Death Note", {"title": "Death Note"}),
    "type": ("ONA", {"type": "ONA"}),
    "status": ("ONGOING", {"status": "ONGOING"}),
    "episodes": (4, {"episode_count": 4}),
    "animeSeason": ({"season": "SPRING", "year": 2007}, {"season": "SPRING", "year": 2007}),
    "picture": ("https://cdn.example.org/new.jpg", {"poster": "https://cdn.example.org/new.jpg"}),
    "thumbnail": (None, {"thumbnail": None}),
    "duration": ({"value": 60, "unit": "SECONDS"}, {"duration_seconds": 60}),
    "score": ({"arithmeticGeometricMean": 9}, {"score": 9}),
    "synonyms": (["DN"], {"synonyms": ["DN"]}),
    "studios": ([], {"studios": []}),
    "tags": (["drama"], {"genres": ["drama"]}),
}
CHANGED = FULL | {field: value for field, (value, _) in CHANGES.items()}
CHANGED_COLUMNS = {column: value for _, columns in CHANGES.values() for column, value in columns.items()}

# What an editor writes into each column.
EDITS: dict[str, str] = {
    "title": "'By hand'",
    "type": "'MOVIE'",
    "status": "'UPCOMING'",
    "episode_count": "NULL",
    "season": "NULL",
    "year": "1999",
    "poster": "'https://example.org/by-hand.jpg'",
    "thumbnail": "'https://example.org/by-hand-t.jpg'",
    "duration_seconds": "1",
    "score": "1.5",
    "synonyms": "ARRAY['By hand']",
    "studios": "ARRAY['by hand', 'madhouse']",
    "genres": "'{}'",
}


def many(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Anime that say the same, but for their ids."""
    return [FULL | {"sources": [f"https://myanimelist.net/anime/{n}"]} | fields for n in range(count)]


async def test_changed_field_and_nothing_else(database: URL, tmp_path: Path) -> None:
    count = len(CHANGES)
    entries = many(count + 1)
    await import_entries(database, tmp_path, *entries)
    before = [await anime(database, n) for n in range(count + 1)]

    changed = [each | {field: CHANGES[field][0]} for each, field in zip(entries, CHANGES, strict=False)]
    assert await import_entries(database, tmp_path, *changed, entries[-1]) == Report(updated=count, unchanged=1)
    for number, (_, columns) in enumerate(CHANGES.values()):
        after = await anime(database, number)
        assert after.pop("updated_at") > before[number].pop("updated_at")
        assert after == before[number] | columns
    assert await anime(database, count) == before[-1]


async def test_release_follows_the_file(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, FULL)
    release = "SELECT title, year, status FROM releases"
    (before,) = await rows(database, "SELECT id FROM releases")
    assert await import_entries(database, tmp_path, CHANGED) == Report(updated=1)
    assert await rows(database, release) == [("Death Note", 2007, "ONGOING")]
    assert await rows(database, "SELECT id FROM releases") == [before]


async def test_what_an_editor_changed_is_kept(database: URL, tmp_path: Path) -> None:
    count = len(EDITS)
    await import_entries(database, tmp_path, *many(count))
    for number, (column, value) in enumerate(EDITS.items()):
        edited = f"SELECT anime_id FROM external_ids WHERE external_id = '{number}'"
        await execute(database, f"UPDATE anime SET {column} = {value} WHERE id IN ({edited})")
    by_hand = [(await anime(database, number))[column] for number, column in enumerate(EDITS)]
    before = await dump(database)
    assert await import_entries(database, tmp_path, *many(count)) == Report(unchanged=count)
    assert await dump(database) == before

    # Nor does the file win once it changes that field too; all the others still follow it, twice.
    changed = {field: value for field, (value, _) in CHANGES.items()}
    again = {"title": "Third", "type": "TV", "score": {"arithmeticGeometricMean": 2}}
    for fields, columns in (
        (changed, CHANGED_COLUMNS),
        (changed | again, CHANGED_COLUMNS | {"title": "Third", "type": "TV", "score": 2}),
    ):
        assert await import_entries(database, tmp_path, *many(count, **fields)) == Report(updated=count)
        for number, column in enumerate(EDITS):
            after = await anime(database, number)
            assert {name: after[name] for name in columns} == columns | {column: by_hand[number]}


async def test_only_what_an_editor_changed_would_change(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, FULL)
    await execute(database, "UPDATE anime SET score = 1.5, title = 'By hand'", "UPDATE releases SET title = 'By hand'")
    before = await anime(database, 1535)
    changed = FULL | {"title": "Death Note", "score": {"arithmeticGeometricMean": 3}}
    assert await import_entries(database, tmp_path, changed) == Report(unchanged=1)
    assert await anime(database, 1535) == before


async def test_release_that_an_editor_changed(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, FULL)
    await execute(database, "UPDATE releases SET title = 'Blu-ray', status = NULL")
    assert await import_entries(database, tmp_path, FULL) == Report(unchanged=1)
    assert await import_entries(database, tmp_path, CHANGED) == Report(updated=1)
    assert await rows(database, "SELECT title, year, status FROM releases") == [("Blu-ray", 2007, None)]
    assert (await anime(database, 1535))["title"] == "Death Note"


async def test_release_that_an_editor_deleted_stays_away(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=3))
    await execute(database, "DELETE FROM releases")
    assert await import_entries(database, tmp_path, entry(1, episodes=3)) == Report(unchanged=1)
    assert await import_entries(database, tmp_path, entry(1, episodes=4)) == Report(updated=1)
    assert await rows(database, "SELECT FROM releases UNION ALL SELECT FROM episodes") == []


async def test_release_of_an_editor_is_let_be(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=1))
    await execute(
        database,
        "INSERT INTO releases (id, anime_id, title) SELECT gen_random_uuid(), id, 'Director''s cut' FROM anime",
    )
    assert await import_entries(database, tmp_path, entry(1, episodes=2, title="Other")) == Report(updated=1)
    assert await rows(
        database, "SELECT r.title, number FROM releases r LEFT JOIN episodes e ON release_id = r.id ORDER BY 1, 2"
    ) == [("Director's cut", None), ("Other", 1), ("Other", 2)]


async def test_new_ids_are_added_and_old_ones_stay(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1))
    sources = ["https://myanimelist.net/anime/1", "https://anidb.net/anime/5"]
    assert await import_entries(database, tmp_path, entry(1, sources=sources)) == Report(updated=1)
    assert await import_entries(database, tmp_path, entry(1, sources=sources[1:])) == Report(unchanged=1)
    assert await rows(database, "SELECT provider FROM external_ids ORDER BY 1") == ["anidb", "myanimelist"]


async def test_anime_that_left_the_file_stays(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1), entry(2))
    before = await dump(database)
    assert await import_entries(database, tmp_path, entry(2)) == Report(unchanged=1)
    assert await dump(database) == before


HAND_MADE = (
    "INSERT INTO anime (id, title, year, genres) VALUES (gen_random_uuid(), 'By hand', 1999, '{drama}')",
    "INSERT INTO external_ids SELECT 'anidb', '4563', id FROM anime",
)


async def test_hand_made_anime_gets_what_it_lacks(database: URL, tmp_path: Path) -> None:
    await execute(database, *HAND_MADE)
    before = await anime(database, 4563)
    assert await import_entries(database, tmp_path, FULL) == Report(updated=1)
    after = await anime(database, 1535)
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == before | {**FULL_COLUMNS, "studios": ["madhouse"]}
    assert await rows(database, "SELECT count(*) FROM releases") == [1]
    assert await rows(database, "SELECT number FROM episodes ORDER BY 1") == [1, 2]
    assert await rows(database, "SELECT provider FROM external_ids ORDER BY 1") == ["anidb", "myanimelist"]
    done = await dump(database)
    assert await import_entries(database, tmp_path, FULL) == Report(unchanged=1)
    assert await dump(database) == done

    # From here on the file changes what it brought, and still nothing that was there by hand.
    assert await import_entries(database, tmp_path, CHANGED) == Report(updated=1)
    expected = CHANGED_COLUMNS | {"title": "By hand", "year": 1999, "genres": ["drama"]}
    after = await anime(database, 1535)
    assert {name: after[name] for name in expected} == expected


async def test_hand_made_anime_with_a_release(database: URL, tmp_path: Path) -> None:
    await execute(
        database,
        *HAND_MADE,
        "INSERT INTO releases (id, anime_id, title) SELECT gen_random_uuid(), id, 'By hand' FROM anime",
        "INSERT INTO episodes (id, release_id, number, title) SELECT gen_random_uuid(), id, 1, 'Pilot' FROM releases",
    )
    made = [await rows(database, f"SELECT t::text FROM {table} t") for table in ("releases", "episodes")]
    for entries, report in ((FULL, Report(updated=1)), (FULL, Report(unchanged=1)), (CHANGED, Report(updated=1))):
        assert await import_entries(database, tmp_path, entries) == report
        assert [await rows(database, f"SELECT t::text FROM {table} t") for table in ("releases", "episodes")] == made


async def test_hand_made_anime_that_lacks_a_release_only(database: URL, tmp_path: Path) -> None:
    await execute(
        database,
        "INSERT INTO anime (id, title, status, type, episode_count) VALUES (gen_random_uuid(), 'A', 'NEW', 'TV', 1)",
        "INSERT INTO external_ids SELECT 'myanimelist', '1', id FROM anime",
    )
    before = await anime(database, 1)
    assert await import_entries(database, tmp_path, entry(1, episodes=1)) == Report(updated=1)
    assert await anime(database, 1) == before
    assert await rows(database, "SELECT number FROM releases r JOIN episodes e ON release_id = r.id") == [1]


async def sample(database: URL) -> int:
    engine = create_engine(database)
    try:
        return await load_sample(engine)
    finally:
        await engine.dispose()


async def test_sample_fills_an_empty_catalogue_only(database: URL, tmp_path: Path) -> None:
    loaded = await sample(database)
    assert loaded > 30
    assert await rows(database, "SELECT count(*) FROM anime") == [loaded]
    before = await dump(database)
    assert await sample(database) == 0
    assert await dump(database) == before


async def test_no_sample_beside_a_hand_made_anime(database: URL) -> None:
    await execute(database, "INSERT INTO anime (id, title) VALUES (gen_random_uuid(), 'By hand')")
    assert await sample(database) == 0
    assert await rows(database, "SELECT title FROM anime") == ["By hand"]


async def test_real_import_takes_the_sample_over(database: URL, tmp_path: Path) -> None:
    loaded = await sample(database)
    of_id = "SELECT anime_id FROM external_ids WHERE provider = 'myanimelist' AND external_id = $1"
    (kept,), (edited,) = await rows(database, of_id, "1535"), await rows(database, of_id, "16498")
    await execute(database, f"UPDATE anime SET title = 'By hand' WHERE id = '{edited}'")
    real = (FULL, entry(16498, title="Titan", episodes=99), entry(999_999_999))

    assert await import_entries(database, tmp_path, *real) == Report(added=3, from_sample=2)
    assert await rows(database, of_id, "1535") == [kept]
    assert await rows(database, "SELECT count(*) FROM anime") == [loaded + 1]
    assert await rows(database, "SELECT title, synonyms[1] FROM anime WHERE id = $1", kept) == [
        ("デスノート", "Death Note")
    ]
    assert await rows(database, "SELECT title, episode_count FROM anime WHERE id = $1", edited) == [("By hand", 99)]
    assert await rows(database, "SELECT count(*) FROM catalogue_imports WHERE sample") == [loaded - 2]

    done = await dump(database)
    assert await import_entries(database, tmp_path, *real) == Report(unchanged=3)
    assert await dump(database) == done
