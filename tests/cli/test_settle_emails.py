"""`kitsu settle-emails`: merge accounts whose e-mails differ in case, on a database from before Kitsu."""

from pathlib import Path

from sqlalchemy.engine import URL

from tests.cli.invoke import invoked
from tests.cli.test_accounts import fetch, run
from tests.databases import execute
from tests.db.service_database import TABLES, rows

PAIRS = """
INSERT INTO alembic_version VALUES ('0007');
INSERT INTO users (id, email, password_hash, created_at) VALUES
    ('00000000-0000-4000-8000-000000000001', 'A@x.org', 'old', '2020-01-01Z'),
    ('00000000-0000-4000-8000-000000000002', 'a@x.org', 'new', '2021-01-01Z'),
    ('00000000-0000-4000-8000-000000000003', 'B@X.org', 'three', '2020-01-01Z'),
    ('00000000-0000-4000-8000-000000000004', 'b@x.org', 'four', '2021-01-01Z'),
    ('00000000-0000-4000-8000-000000000005', 'b@X.org', 'five', '2022-01-01Z'),
    ('00000000-0000-4000-8000-000000000006', 'Alone@x.org', 'six', '2022-01-01Z');
INSERT INTO anime (id, title)
SELECT ('10000000-0000-4000-8000-00000000000' || n)::uuid, 'anime ' || n FROM generate_series(1, 4) n;
INSERT INTO favorites (id, user_id, anime_id)
SELECT gen_random_uuid(), ('00000000-0000-4000-8000-00000000000' || u)::uuid,
       ('10000000-0000-4000-8000-00000000000' || a)::uuid
FROM (VALUES (1, 1), (1, 2), (2, 2), (2, 3), (3, 1), (4, 2), (5, 3), (6, 4)) AS of (u, a);
INSERT INTO watch_progress (id, user_id, anime_id, episode, last_watched_at)
SELECT gen_random_uuid(), ('00000000-0000-4000-8000-00000000000' || u)::uuid,
       ('10000000-0000-4000-8000-00000000000' || a)::uuid, e, t::timestamptz
FROM (VALUES (1, 1, 11, '2023-01-09Z'), (1, 2, 12, '2023-01-01Z'), (2, 1, 21, '2023-01-05Z'), (2, 2, 22, '2023-01-08Z'),
             (2, 3, 23, '2023-01-07Z'), (6, 1, 61, '2023-01-01Z')) AS of (u, a, e, t);
INSERT INTO refresh_tokens (id, user_id, token_hash, expires_at)
SELECT gen_random_uuid(), id, password_hash, 'infinity' FROM users;
"""
USERS = "SELECT email, password_hash FROM users ORDER BY id"
FAVORITES = """
SELECT email, string_agg(right(anime_id::text, 1), '' ORDER BY anime_id) FROM favorites f JOIN users u ON u.id = user_id
GROUP BY email ORDER BY email COLLATE "C"
"""
EPISODES = "SELECT email, episode FROM watch_progress w JOIN users u ON u.id = user_id ORDER BY email, episode"


async def test_settle_without_yes_changes_nothing(bare_database: URL, tmp_path: Path) -> None:
    await execute(bare_database, TABLES, PAIRS)
    before = await rows(bare_database)
    code, output, errors = await run(tmp_path, "settle-emails", database=bare_database)
    assert code == 0, errors
    assert output.splitlines() == [
        "keep  A@x.org (2 favourites, 2 in progress)",
        "merge a@x.org (2 favourites, 3 in progress)",
        "keep  b@X.org (1 favourites, 0 in progress)",
        "merge b@x.org (1 favourites, 0 in progress)",
        "merge B@X.org (1 favourites, 0 in progress)",
        "Nothing was changed: run it again with --yes, and --keep EMAIL where another account should stay.",
    ]
    assert await rows(bare_database) == before


async def test_settle_with_yes_merges_accounts(bare_database: URL, tmp_path: Path) -> None:
    await execute(bare_database, TABLES, PAIRS)
    code, output, errors = await invoked(tmp_path, "settle-emails", "--yes", database=bare_database)
    assert code == 0, errors
    assert "Nothing was changed" not in output
    assert await fetch(bare_database, USERS) == [("A@x.org", "old"), ("b@X.org", "five"), ("Alone@x.org", "six")]
    assert await fetch(bare_database, FAVORITES) == [("A@x.org", "123"), ("Alone@x.org", "4"), ("b@X.org", "123")]
    found = [row for row in await fetch(bare_database, EPISODES) if row[0] == "A@x.org"]
    assert found == [("A@x.org", 11), ("A@x.org", 22), ("A@x.org", 23)]
    assert sorted(await fetch(bare_database, "SELECT token_hash FROM refresh_tokens")) == [
        ("five",),
        ("old",),
        ("six",),
    ]
    code, output, _ = await invoked(tmp_path, "settle-emails", "--yes", database=bare_database)
    assert (code, output) == (0, "No e-mails differ only in case.\n")
    assert (await invoked(tmp_path, "migrate", database=bare_database))[0] == 0
    assert len(await fetch(bare_database, "SELECT 1 FROM auth_sessions")) == 3


async def test_settle_with_keep_keeps_named_accounts(bare_database: URL, tmp_path: Path) -> None:
    await execute(bare_database, TABLES, PAIRS)
    arguments = ("settle-emails", "--yes", "--keep", "a@x.org", "--keep", "B@X.org")
    assert (await invoked(tmp_path, *arguments, database=bare_database))[0] == 0
    assert await fetch(bare_database, USERS) == [("a@x.org", "new"), ("B@X.org", "three"), ("Alone@x.org", "six")]
    found = [row for row in await fetch(bare_database, EPISODES) if row[0] == "a@x.org"]
    assert found == [("a@x.org", 11), ("a@x.org", 22), ("a@x.org", 23)]


async def test_settle_treats_progress_without_time_as_older(bare_database: URL, tmp_path: Path) -> None:
    """`last_watched_at` may be null in a real database: it only has a default."""
    loose = "ALTER TABLE watch_progress ALTER last_watched_at DROP NOT NULL"
    await execute(bare_database, TABLES, loose, PAIRS)
    await execute(bare_database, "UPDATE watch_progress SET last_watched_at = NULL WHERE episode = 12")
    assert (await invoked(tmp_path, "settle-emails", "--yes", database=bare_database))[0] == 0
    found = [row for row in await fetch(bare_database, EPISODES) if row[0] == "A@x.org"]
    assert found == [("A@x.org", 11), ("A@x.org", 22), ("A@x.org", 23)]


async def test_settle_with_unknown_keep_changes_nothing(bare_database: URL, tmp_path: Path) -> None:
    """A typing error in --keep would merge an account into the wrong one, irreversibly."""
    await execute(bare_database, TABLES, PAIRS)
    before = await rows(bare_database)
    arguments = ("settle-emails", "--yes", "--keep", "unknown@x.org")
    code, _, errors = await invoked(tmp_path, *arguments, database=bare_database)
    assert code == 1
    assert "unknown@x.org" in errors
    assert await rows(bare_database) == before
