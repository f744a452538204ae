"""The database of the benchmark: a generated catalogue, and viewers with favourites and progress."""

from typing import Any

import asyncpg
from passlib.hash import argon2
from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.db.engine import create_engine
from kitsu.domain.accounts.access_tokens import AccessTokens

SECRET_KEY = "a secret key that only the benchmark uses"
VIEWERS = 200
PASSWORD = "the password of every viewer"
LISTED = 50
"""Favourites and progress of each viewer."""
WITH_EPISODES = 2000

CATALOGUE = """
INSERT INTO anime (id, title, title_original, description, year, status, type, season, episode_count, score, poster,
                   synonyms, genres, studios, duration_seconds, created_at)
SELECT md5('anime' || n)::uuid, 'Anime number ' || n || ' of the ' || md5(n::text), md5('o' || n), repeat('text ', 40),
       1960 + n % 65, (ARRAY['FINISHED', 'ONGOING', 'UPCOMING'])[1 + n % 3],
       (ARRAY['TV', 'MOVIE', 'OVA', 'ONA'])[1 + n % 4],
       (ARRAY['WINTER', 'SPRING', 'SUMMER', 'FALL'])[1 + n % 4], 12, 1 + n % 9, 'https://example.org/' || n || '.jpg',
       ARRAY[md5('s' || n)], ARRAY['action', 'g' || n % 50], ARRAY['studio ' || n % 300], 1440,
       now() - n * interval '1 second'
FROM generate_series({first}, {last}) n
"""
OTHERS = (
    """
    INSERT INTO releases (id, anime_id, title, created_at)
    SELECT md5('release' || n)::uuid, md5('anime' || n)::uuid, 'Release ' || n, now() - n * interval '1 second'
    FROM generate_series(1, $1) n
    """,
    """
    INSERT INTO episodes (id, release_id, number, title)
    SELECT md5('episode' || n || '/' || e)::uuid, md5('release' || n)::uuid, e, 'Episode ' || e
    FROM generate_series(1, $1) n, generate_series(1, 12) e
    """,
)
USERS = """
INSERT INTO users (id, email, username, password_hash)
SELECT md5('user' || n)::uuid, 'user' || n || '@example.org', 'user' || n, 'none' FROM generate_series(1, $1) n
"""
SESSIONS = """
INSERT INTO auth_sessions (id, user_id, expires_at)
SELECT md5('session' || n)::uuid, md5('user' || n)::uuid, now() + interval '1 day' FROM generate_series(1, $1) n
"""
LISTS = (
    """
    INSERT INTO favorites (id, user_id, anime_id, created_at)
    SELECT md5('favorite' || u || '/' || n)::uuid, md5('user' || u)::uuid, md5('anime' || n)::uuid,
           now() - n * interval '1 second'
    FROM generate_series(1, $1) u, generate_series(1, $2) n
    """,
    """
    INSERT INTO watch_progress (id, user_id, anime_id, episode, position_seconds, last_watched_at)
    SELECT md5('progress' || u || '/' || n)::uuid, md5('user' || u)::uuid, md5('anime' || n)::uuid, 3, 100,
           now() - n * interval '1 second'
    FROM generate_series(1, $1) u, generate_series(1, $2) n
    """,
)


async def prepare_database(server: URL, anime: int) -> URL:
    """Return the URL of a database with so many anime; create it if it does not exist."""
    url = server.set(database=f"bench_{anime}")
    is_new = url.database not in await fetch_column(server, "SELECT datname FROM pg_database")
    if is_new:
        connection: Any = await asyncpg.connect(dsn(server))
        await connection.execute(f"CREATE DATABASE {url.database} TEMPLATE kitsu")
        await connection.close()
    engine = create_engine(url)
    await migrations.migrate(engine)  # a database of an earlier run may be older than the code
    await engine.dispose()
    if is_new:
        await build(url, anime)
    await reset_viewers(url)
    return url


async def reset_viewers(url: URL) -> None:
    """Restore the viewers' rows, because the benchmark adds favourites and progress."""
    connection: Any = await asyncpg.connect(dsn(url))
    await connection.execute("TRUNCATE favorites, watch_progress, views, auth_sessions CASCADE")
    await connection.execute(SESSIONS, VIEWERS)
    for statement in LISTS:
        await connection.execute(statement, VIEWERS, LISTED)
    await connection.execute("UPDATE users SET password_hash = $1", argon2.hash(PASSWORD))
    await connection.close()


async def build(url: URL, anime: int) -> None:
    """Insert the rows."""
    connection: Any = await asyncpg.connect(dsn(url))
    for first in range(1, anime + 1, 10_000):
        await connection.execute(CATALOGUE.format(first=first, last=min(first + 9_999, anime)))
    for statement in OTHERS:
        await connection.execute(statement, WITH_EPISODES)
    await connection.execute(USERS, VIEWERS)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def dsn(url: URL) -> str:
    """Return the URL in asyncpg's form."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


async def fetch_column(url: URL, query: str) -> list[Any]:
    """Return the first column of a query."""
    connection: Any = await asyncpg.connect(dsn(url))
    values = [row[0] for row in await connection.fetch(query)]
    await connection.close()
    return values


async def tokens(url: URL) -> list[str]:
    """Return an access token of each viewer."""
    connection: Any = await asyncpg.connect(dsn(url))
    rows = await connection.fetch("SELECT user_id, id FROM auth_sessions ORDER BY id")
    await connection.close()
    issuer = AccessTokens(secret_key=SECRET_KEY, algorithm="HS256", minutes=1000)
    return [issuer.issue(user_id, session_id) for user_id, session_id in rows]
