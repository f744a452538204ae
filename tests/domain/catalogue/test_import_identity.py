"""Files in which ids have moved, and anime were merged or split."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from kitsu.domain.catalogue.importing import Report
from kitsu.domain.catalogue.importing.identity import Identities
from tests.databases import execute
from tests.domain.catalogue.test_import import entry, import_entries, rows

MAL, ANILIST, ANIDB = "https://myanimelist.net/anime/{}", "https://anilist.co/anime/{}", "https://anidb.net/anime/{}"


def named(title: str, *sources: str, **fields: Any) -> dict[str, Any]:
    return entry(1, title=title, sources=list(sources), **fields)


async def catalogue(database: URL) -> dict[str, set[str]]:
    """Return the ids of each anime by its title."""
    found = await rows(
        database,
        "SELECT title, provider || external_id FROM anime LEFT JOIN external_ids ON anime_id = id ORDER BY 1, 2",
    )
    return {title: {each for other, each in found if other == title and each} for title, _ in found}


async def ids_of(database: URL) -> dict[str, Any]:
    return dict(await rows(database, "SELECT title, id FROM anime"))


FIRST = (named("Aki", MAL.format(1), ANILIST.format(2)), named("Fuyu", MAL.format(3)))
KINDS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], Identities, dict[str, set[str]]]] = {
    "an id moved": (
        [*FIRST],
        [named("Aki", MAL.format(1)), named("Fuyu", MAL.format(3), ANILIST.format(2))],
        Identities(ids_moved=1),
        {"Aki": {"myanimelist1"}, "Fuyu": {"anilist2", "myanimelist3"}},
    ),
    "an id moved and both were renamed": (
        [*FIRST],
        [named("Autumn", MAL.format(1)), named("Winter", MAL.format(3), ANILIST.format(2))],
        Identities(ids_moved=1),
        {"Autumn": {"myanimelist1"}, "Winter": {"anilist2", "myanimelist3"}},
    ),
    "two swapped their ids": (
        [named("Aki", MAL.format(1)), named("Fuyu", MAL.format(3))],
        [named("Aki", MAL.format(3)), named("Fuyu", MAL.format(1))],
        Identities(ids_moved=2),
        {"Aki": {"myanimelist3"}, "Fuyu": {"myanimelist1"}},
    ),
    "two became one": (
        [named("Aki", MAL.format(1)), named("Autumn", ANILIST.format(2))],
        [named("Aki", MAL.format(1), ANILIST.format(2), synonyms=["Autumn"])],
        Identities(anime_merged=1),
        {"Aki": {"anilist2", "myanimelist1"}},
    ),
    "one became two": (
        [*FIRST],
        [named("Aki", MAL.format(1)), named("Aki Movie", ANILIST.format(2)), FIRST[1]],
        Identities(anime_split=1),
        {"Aki": {"myanimelist1"}, "Aki Movie": {"anilist2"}, "Fuyu": {"myanimelist3"}},
    ),
    "one became two and the file has only one of them": (
        [*FIRST],
        [named("Aki", MAL.format(1))],
        Identities(),
        {"Aki": {"anilist2", "myanimelist1"}, "Fuyu": {"myanimelist3"}},
    ),
    "one became one of two others": (
        [*FIRST, named("Natsu", ANIDB.format(4))],
        [
            named("Aki", MAL.format(1), ANIDB.format(4), synonyms=["Natsu"]),
            named("Fuyu", MAL.format(3), ANILIST.format(2)),
        ],
        Identities(anime_merged=1, ids_moved=1),
        {"Aki": {"anidb4", "myanimelist1"}, "Fuyu": {"anilist2", "myanimelist3"}},
    ),
    "an entry has the title but no id": (
        [*FIRST],
        [*FIRST, named("Aki", ANIDB.format(9))],
        Identities(),
        {"Aki": {"anidb9", "anilist2", "myanimelist1"}, "Fuyu": {"myanimelist3"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_certain_differences_are_applied(database: URL, tmp_path: Path, kind: str) -> None:
    first, second, identities, expected = KINDS[kind]
    await import_entries(database, tmp_path, *first)
    before = await ids_of(database)
    report = await import_entries(database, tmp_path, *second)
    assert report.identities == identities
    assert report.refused == []
    assert await catalogue(database) == expected
    after = await ids_of(database)
    if kind != "an entry has the title but no id":
        assert all(after[title] == before[title] for title in after.keys() & before.keys())
    again = await import_entries(database, tmp_path, *second)
    assert again == Report(unchanged=len(second))


UNCERTAIN: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], str, set[str]]] = {
    "the merged anime has another title": (
        [named("Aki", MAL.format(1)), named("Haru", ANILIST.format(2))],
        [named("Aki", MAL.format(1), ANILIST.format(2), status="ONGOING")],
        "the entry does not have its title",
        {"Aki"},
    ),
    "the merged anime has more ids": (
        [named("Aki", MAL.format(1)), named("Autumn", ANILIST.format(2), ANIDB.format(3))],
        [named("Aki", MAL.format(1), ANILIST.format(2), synonyms=["Autumn"], status="ONGOING")],
        "it has more ids, which the entry does not have",
        {"Aki"},
    ),
    "both parts match equally well": (
        [named("Aki", MAL.format(1), ANILIST.format(2))],
        [named("Haru", MAL.format(1), status="ONGOING"), named("Natsu", ANILIST.format(2), status="ONGOING")],
        "several entries match equally well",
        {"Haru"},
    ),
}


@pytest.mark.parametrize("kind", UNCERTAIN)
async def test_uncertain_differences_wait_for_an_editor(database: URL, tmp_path: Path, kind: str) -> None:
    first, second, reason, updated = UNCERTAIN[kind]
    await import_entries(database, tmp_path, *first)
    ids = "SELECT provider, external_id, anime_id FROM external_ids ORDER BY 1, 2"
    before = await rows(database, ids)
    for reviews in (1, 1):
        report = await import_entries(database, tmp_path, *second)
        assert report.identities == Identities(reviews=reviews)
        assert await rows(database, ids) == before
    assert await rows(database, "SELECT reason, state FROM import_reviews") == [(reason, "open")]
    assert set(await rows(database, "SELECT title FROM anime WHERE status = 'ONGOING'")) == updated
    await import_entries(database, tmp_path, *first)
    assert await rows(database, "SELECT state FROM import_reviews") == ["closed"]


async def test_id_that_an_editor_assigned_stays(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, *FIRST)
    await execute(
        database,
        "SET kitsu.change_source = 'edit'",
        "UPDATE external_ids SET anime_id = (SELECT id FROM anime WHERE title = 'Fuyu') WHERE provider = 'anilist'",
    )
    changed = (named("Aki", MAL.format(1), ANILIST.format(2), status="ONGOING"), FIRST[1])
    report = await import_entries(database, tmp_path, *changed)
    assert (report.updated, report.identities) == (1, Identities(reviews=1))
    assert (await catalogue(database))["Fuyu"] == {"anilist2", "myanimelist3"}
    assert await rows(database, "SELECT kind, reason FROM import_reviews") == [("move", "an editor assigned the id")]


async def test_viewers_stay_with_the_part_of_a_split_that_has_the_title(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, named("Aki", MAL.format(1), ANILIST.format(2)))
    await execute(
        database,
        "INSERT INTO users (id, email, username, password_hash) VALUES (gen_random_uuid(), 'a@x.org', 'abc', 'x')",
        "INSERT INTO favorites (id, user_id, anime_id) SELECT gen_random_uuid(), u.id, a.id FROM users u, anime a",
    )
    await import_entries(database, tmp_path, named("Aki Movie", MAL.format(1)), named("Aki", ANILIST.format(2)))
    assert await rows(database, "SELECT title FROM favorites JOIN anime a ON a.id = anime_id") == ["Aki"]
    assert await catalogue(database) == {"Aki": {"anilist2"}, "Aki Movie": {"myanimelist1"}}


async def test_merge_of_an_import_moves_viewers(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, named("Aki", MAL.format(1)), named("Autumn", ANILIST.format(2)))
    await execute(
        database,
        "INSERT INTO users (id, email, username, password_hash) VALUES (gen_random_uuid(), 'a@x.org', 'abc', 'x')",
        "INSERT INTO favorites (id, user_id, anime_id) SELECT gen_random_uuid(), u.id, a.id FROM users u, anime a"
        " WHERE a.title = 'Autumn'",
    )
    one = named("Aki", MAL.format(1), ANILIST.format(2), synonyms=["Autumn"])
    await import_entries(database, tmp_path, one)
    assert await rows(database, "SELECT title FROM favorites JOIN anime a ON a.id = anime_id") == ["Aki"]
    assert await rows(database, "SELECT source, from_title, into_title FROM anime_merges") == [
        ("import", "Autumn", "Aki")
    ]
