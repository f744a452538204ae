"""A second import: changes of the file, of editors, and of the sample."""

from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from kitsu.db.engine import create_engine
from kitsu.domain.catalogue.importing import Report, load_sample
from tests.databases import execute
from tests.domain.catalogue.test_import import FULL, FULL_COLUMNS, anime, dump, entry, import_entries, rows

# A field of the file with another value, and the columns that change.
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

# The values that an editor writes into each column.
EDITS: dict[str, str] = {
    "title": "'Edited'",
    "type": "'MOVIE'",
    "status": "'UPCOMING'",
    "episode_count": "NULL",
    "season": "NULL",
    "year": "1999",
    "poster": "'https://example.org/by-hand.jpg'",
    "thumbnail": "'https://example.org/by-hand-t.jpg'",
    "duration_seconds": "1",
    "score": "1.5",
    "synonyms": "ARRAY['Edited']",
    "studios": "ARRAY['edited', 'madhouse']",
    "genres": "'{}'",
}


def many(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return anime with the same values and other ids."""
    return [FULL | {"sources": [f"https://myanimelist.net/anime/{n}"]} | fields for n in range(count)]


async def test_changed_field_is_updated_alone(database: URL, tmp_path: Path) -> None:
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


async def test_release_is_updated_with_its_anime(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, FULL)
    release = "SELECT title, year, status FROM releases"
    (before,) = await rows(database, "SELECT id FROM releases")
    assert await import_entries(database, tmp_path, CHANGED) == Report(updated=1)
    assert await rows(database, release) == [("Death Note", 2007, "ONGOING")]
    assert await rows(database, "SELECT id FROM releases") == [before]


async def test_edited_field_is_not_overwritten(database: URL, tmp_path: Path) -> None:
    count = len(EDITS)
    await import_entries(database, tmp_path, *many(count))
    for number, (column, value) in enumerate(EDITS.items()):
        edited = f"SELECT anime_id FROM external_ids WHERE external_id = '{number}'"
        await execute(database, f"UPDATE anime SET {column} = {value} WHERE id IN ({edited})")
    by_hand = [(await anime(database, number))[column] for number, column in enumerate(EDITS)]
    before = await dump(database)
    assert await import_entries(database, tmp_path, *many(count)) == Report(unchanged=count)
    assert await dump(database) == before

    # Also if the file changes that field; all others are updated, twice.
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


async def test_change_of_an_edited_field_alone_is_no_update(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, FULL)
    await execute(database, "UPDATE anime SET score = 1.5, title = 'Edited'", "UPDATE releases SET title = 'Edited'")
    before = await anime(database, 1535)
    changed = FULL | {"title": "Death Note", "score": {"arithmeticGeometricMean": 3}}
    assert await import_entries(database, tmp_path, changed) == Report(unchanged=1)
    assert await anime(database, 1535) == before


async def test_edited_release_is_not_overwritten(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, FULL)
    await execute(database, "UPDATE releases SET title = 'Blu-ray', status = NULL")
    assert await import_entries(database, tmp_path, FULL) == Report(unchanged=1)
    assert await import_entries(database, tmp_path, CHANGED) == Report(updated=1)
    assert await rows(database, "SELECT title, year, status FROM releases") == [("Blu-ray", 2007, None)]
    assert (await anime(database, 1535))["title"] == "Death Note"


async def test_deleted_release_is_not_added_again(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=3))
    await execute(database, "DELETE FROM releases")
    assert await import_entries(database, tmp_path, entry(1, episodes=3)) == Report(unchanged=1)
    assert await import_entries(database, tmp_path, entry(1, episodes=4)) == Report(updated=1)
    assert await rows(database, "SELECT FROM releases UNION ALL SELECT FROM episodes") == []


async def test_release_of_an_editor_is_unchanged(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1, episodes=1))
    await execute(
        database,
        "INSERT INTO releases (id, anime_id, title) SELECT gen_random_uuid(), id, 'Director''s cut' FROM anime",
    )
    assert await import_entries(database, tmp_path, entry(1, episodes=2, title="Other")) == Report(updated=1)
    assert await rows(
        database, "SELECT r.title, number FROM releases r LEFT JOIN episodes e ON release_id = r.id ORDER BY 1, 2"
    ) == [("Director's cut", None), ("Other", 1), ("Other", 2)]


async def test_new_ids_are_added_and_old_ones_preserved(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1))
    sources = ["https://myanimelist.net/anime/1", "https://anidb.net/anime/5"]
    assert await import_entries(database, tmp_path, entry(1, sources=sources)) == Report(updated=1)
    assert await import_entries(database, tmp_path, entry(1, sources=sources[1:])) == Report(unchanged=1)
    assert await rows(database, "SELECT provider FROM external_ids ORDER BY 1") == ["anidb", "myanimelist"]


async def test_anime_missing_in_the_file_is_preserved(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1), entry(2))
    before = await dump(database)
    assert await import_entries(database, tmp_path, entry(2)) == Report(unchanged=1)
    assert await dump(database) == before


EDITORS_ANIME = (
    "INSERT INTO anime (id, title, year, genres) VALUES (gen_random_uuid(), 'Edited', 1999, '{drama}')",
    "INSERT INTO external_ids SELECT 'anidb', '4563', id FROM anime",
)


async def test_editors_anime_gets_its_missing_values(database: URL, tmp_path: Path) -> None:
    await execute(database, *EDITORS_ANIME)
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

    # The file now changes its own values, and none of the editor.
    assert await import_entries(database, tmp_path, CHANGED) == Report(updated=1)
    expected = CHANGED_COLUMNS | {"title": "Edited", "year": 1999, "genres": ["drama"]}
    after = await anime(database, 1535)
    assert {name: after[name] for name in expected} == expected


async def test_editors_anime_with_a_release_gets_no_other(database: URL, tmp_path: Path) -> None:
    await execute(
        database,
        *EDITORS_ANIME,
        "INSERT INTO releases (id, anime_id, title) SELECT gen_random_uuid(), id, 'Edited' FROM anime",
        "INSERT INTO episodes (id, release_id, number, title) SELECT gen_random_uuid(), id, 1, 'Pilot' FROM releases",
    )
    made = [await rows(database, f"SELECT t::text FROM {table} t") for table in ("releases", "episodes")]
    for entries, report in ((FULL, Report(updated=1)), (FULL, Report(unchanged=1)), (CHANGED, Report(updated=1))):
        assert await import_entries(database, tmp_path, entries) == report
        assert [await rows(database, f"SELECT t::text FROM {table} t") for table in ("releases", "episodes")] == made


async def test_editors_anime_without_release_gets_one(database: URL, tmp_path: Path) -> None:
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


async def test_sample_is_loaded_into_an_empty_catalogue_only(database: URL, tmp_path: Path) -> None:
    loaded = await sample(database)
    assert loaded > 30
    assert await rows(database, "SELECT count(*) FROM anime") == [loaded]
    before = await dump(database)
    assert await sample(database) == 0
    assert await dump(database) == before


async def test_sample_is_not_loaded_beside_an_editors_anime(database: URL) -> None:
    await execute(database, "INSERT INTO anime (id, title) VALUES (gen_random_uuid(), 'Edited')")
    assert await sample(database) == 0
    assert await rows(database, "SELECT title FROM anime") == ["Edited"]


async def test_import_replaces_the_sample(database: URL, tmp_path: Path) -> None:
    loaded = await sample(database)
    of_id = "SELECT anime_id FROM external_ids WHERE provider = 'myanimelist' AND external_id = $1"
    (kept,), (edited,) = await rows(database, of_id, "1535"), await rows(database, of_id, "16498")
    await execute(database, f"UPDATE anime SET title = 'Edited' WHERE id = '{edited}'")
    real = (FULL, entry(16498, title="Titan", episodes=99), entry(999_999_999))

    assert await import_entries(database, tmp_path, *real) == Report(added=3, from_sample=2)
    assert await rows(database, of_id, "1535") == [kept]
    assert await rows(database, "SELECT count(*) FROM anime") == [loaded + 1]
    assert await rows(database, "SELECT title, synonyms[1] FROM anime WHERE id = $1", kept) == [
        ("デスノート", "Death Note")
    ]
    assert await rows(database, "SELECT title, episode_count FROM anime WHERE id = $1", edited) == [("Edited", 99)]
    assert await rows(database, "SELECT count(*) FROM catalogue_imports WHERE sample") == [loaded - 2]

    done = await dump(database)
    assert await import_entries(database, tmp_path, *real) == Report(unchanged=3)
    assert await dump(database) == done
