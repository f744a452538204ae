"""A database of the FastAPI service, written from its description, and its contents."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import URL

from tests.databases import connect

TABLES = """
CREATE TABLE alembic_version (version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);
CREATE TABLE users (
    id uuid CONSTRAINT pk_users PRIMARY KEY,
    email varchar(255) NOT NULL CONSTRAINT uq_users_email UNIQUE,
    password_hash varchar(255) NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    avatar varchar(255)
);
CREATE TABLE anime (
    id uuid CONSTRAINT pk_anime PRIMARY KEY,
    title varchar(255) NOT NULL,
    title_original varchar(255),
    description text,
    year int,
    status varchar(64),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_anime_title ON anime (title);
CREATE TABLE releases (
    id uuid CONSTRAINT pk_releases PRIMARY KEY,
    anime_id uuid NOT NULL CONSTRAINT fk_releases_anime_id_anime REFERENCES anime ON DELETE CASCADE,
    title varchar(255) NOT NULL,
    year int,
    status varchar(64),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_releases_anime_id ON releases (anime_id);
CREATE TABLE episodes (
    id uuid CONSTRAINT pk_episodes PRIMARY KEY,
    release_id uuid NOT NULL CONSTRAINT fk_episodes_release_id_releases REFERENCES releases ON DELETE CASCADE,
    number int NOT NULL,
    title varchar(255),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_episodes_release_id ON episodes (release_id);
CREATE TABLE favorites (
    id uuid CONSTRAINT pk_favorites PRIMARY KEY,
    user_id uuid NOT NULL CONSTRAINT fk_favorites_user_id_users REFERENCES users ON DELETE CASCADE,
    anime_id uuid NOT NULL CONSTRAINT fk_favorites_anime_id_anime REFERENCES anime ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_favorites_user_id UNIQUE (user_id, anime_id)
);
CREATE INDEX ix_favorites_user_id ON favorites (user_id);
CREATE INDEX ix_favorites_anime_id ON favorites (anime_id);
CREATE TABLE refresh_tokens (
    id uuid CONSTRAINT pk_refresh_tokens PRIMARY KEY,
    user_id uuid NOT NULL CONSTRAINT fk_refresh_tokens_user_id_users REFERENCES users ON DELETE CASCADE
        CONSTRAINT uq_refresh_tokens_user_id UNIQUE,
    token_hash varchar(64) NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_refresh_tokens_token_hash ON refresh_tokens (token_hash);
CREATE TABLE watch_progress (
    id uuid CONSTRAINT pk_watch_progress PRIMARY KEY,
    user_id uuid NOT NULL CONSTRAINT fk_watch_progress_user_id_users REFERENCES users ON DELETE CASCADE,
    anime_id uuid NOT NULL CONSTRAINT fk_watch_progress_anime_id_anime REFERENCES anime ON DELETE CASCADE,
    episode int NOT NULL,
    position_seconds int,
    progress_percent float,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_watched_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_watch_progress_user_id UNIQUE (user_id, anime_id)
);
CREATE INDEX ix_watch_progress_user_id ON watch_progress (user_id);
CREATE INDEX ix_watch_progress_anime_id ON watch_progress (anime_id);
"""

# The description allows null for these two.
LOOSER = """
ALTER TABLE refresh_tokens ALTER revoked DROP NOT NULL;
ALTER TABLE watch_progress ALTER last_watched_at DROP NOT NULL;
"""

# Each table has a row with as few values as possible, and one with long texts and unusual letters.
ROWS = r"""
INSERT INTO users (id, email, password_hash) VALUES
    ('00000000-0000-4000-8000-000000000001', 'a@x.org', '$2b$12$abcdefghijklmnopqrstuuMPUlcxWJOGTsGBNIS1K0y3OWZuqxq1C');
INSERT INTO users VALUES
    ('00000000-0000-4000-8000-000000000002', repeat('я', 243) || '@example.org', repeat('x', 255), false,
     '2019-02-03 04:05:06.789012+00', 'uploads/avatars/0123456789abcdef.PNG');
INSERT INTO anime (id, title) VALUES ('10000000-0000-4000-8000-000000000001', '');
INSERT INTO anime VALUES
    ('10000000-0000-4000-8000-000000000002', 'Стальной Ёж, ™ Ångström ｶﾞﾝﾀﾞﾑ 鋼の錬金術師 🦊',
     E'line\nbreak\ttab',
     repeat(E'Ünïcödé 鋼 \\ '' " ', 5000), 2009, 'ongoing', '2020-01-01 00:00:00.000001+00'),
    ('10000000-0000-4000-8000-000000000003', repeat('🦊', 255), repeat('ﷺ', 255), '', -2147483648, repeat('s', 64),
     '0001-01-01 00:00:00+00'),
    ('10000000-0000-4000-8000-000000000004',
     (SELECT string_agg(chr(19968 + i * 67 % 20000), '') FROM generate_series(1, 255) i),
     NULL, NULL, 2147483647, 'FINISHED', '9999-12-31 23:59:59.999999+00');
INSERT INTO releases (id, anime_id, title) VALUES
    ('20000000-0000-4000-8000-000000000001', '10000000-0000-4000-8000-000000000002', 'TV');
INSERT INTO releases VALUES
    ('20000000-0000-4000-8000-000000000002', '10000000-0000-4000-8000-000000000002', repeat('ё', 255), 2010, 'any',
     '2021-01-01 00:00:00+00');
INSERT INTO episodes (id, release_id, number) VALUES
    ('30000000-0000-4000-8000-000000000001', '20000000-0000-4000-8000-000000000001', -1),
    ('30000000-0000-4000-8000-000000000002', '20000000-0000-4000-8000-000000000001', 1),
    ('30000000-0000-4000-8000-000000000003', '20000000-0000-4000-8000-000000000001', 2);
INSERT INTO episodes VALUES
    ('30000000-0000-4000-8000-000000000004', '20000000-0000-4000-8000-000000000001', 2147483647, repeat('é', 255),
     '2022-01-01 00:00:00+00');
INSERT INTO favorites (id, user_id, anime_id) VALUES
    ('40000000-0000-4000-8000-000000000001',
     '00000000-0000-4000-8000-000000000001', '10000000-0000-4000-8000-000000000001'),
    ('40000000-0000-4000-8000-000000000002',
     '00000000-0000-4000-8000-000000000001', '10000000-0000-4000-8000-000000000002');
INSERT INTO refresh_tokens (id, user_id, token_hash, expires_at) VALUES
    ('50000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', repeat('0a', 32), 'infinity');
INSERT INTO refresh_tokens VALUES
    ('50000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000002', repeat('ff', 32),
     '2023-01-01 00:00:00+00', true, '2022-12-18 00:00:00+00');
INSERT INTO watch_progress (id, user_id, anime_id, episode) VALUES
    ('60000000-0000-4000-8000-000000000001',
     '00000000-0000-4000-8000-000000000001', '10000000-0000-4000-8000-000000000001', 1);
INSERT INTO watch_progress VALUES
    ('60000000-0000-4000-8000-000000000002',
     '00000000-0000-4000-8000-000000000001', '10000000-0000-4000-8000-000000000002',
     12, 1439, 99.99999999999999, '2022-02-02 02:02:02.020202+00', '2022-03-03 03:03:03.030303+00');
"""

LOOSER_ROWS = """
UPDATE refresh_tokens SET revoked = NULL WHERE revoked = false;
UPDATE watch_progress SET last_watched_at = NULL WHERE position_seconds IS NULL;
"""

# The parts of a schema. The columns have NOT NULL; PostgreSQL 18 lists it among the constraints, too.
_COLUMNS = """
SELECT table_name || '.' || column_name, udt_name, character_maximum_length, numeric_precision, datetime_precision,
       is_nullable, column_default, collation_name, generation_expression
FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1
"""
_CONSTRAINTS = """
SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid <> 0 ORDER BY 1
"""
_INDEXES = "SELECT tablename || '.' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
_ROUTINES = """
SELECT proname, pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace
AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e') ORDER BY 1
"""

Schema = Mapping[str, Mapping[str, tuple[Any, ...]]]
Rows = Mapping[str, list[tuple[Any, ...]]]


async def schema(url: URL, *, versioned: bool = False) -> Schema:
    """Return the parts of a database's schema; alembic's table only if `versioned`."""
    connection = await connect(url)
    try:
        parts = {"columns": _COLUMNS, "constraints": _CONSTRAINTS, "indexes": _INDEXES, "routines": _ROUTINES}
        found = {
            part: {row[0]: tuple(row)[1:] for row in await connection.fetch(query)} for part, query in parts.items()
        }
    finally:
        await connection.close()
    return {
        part: {name: what for name, what in rows.items() if versioned or not name.startswith("alembic_version.")}
        for part, rows in found.items()
    }


async def rows(url: URL, columns: Mapping[str, list[str]] | None = None) -> Rows:
    """Return all rows of all tables, or the given columns of the given tables, in PostgreSQL's text form."""
    columns = columns or await tables(url)
    connection = await connect(url)
    try:
        return {
            table: [
                tuple(row)
                for row in await connection.fetch(
                    f"SELECT {', '.join(f'{name}::text' for name in names)} FROM {table} ORDER BY 1"
                )
            ]
            for table, names in columns.items()
        }
    finally:
        await connection.close()


async def tables(url: URL) -> dict[str, list[str]]:
    """Return the tables of a database except alembic's, each with its columns."""
    found: dict[str, list[str]] = {}
    for name in (await schema(url))["columns"]:
        table, column = name.split(".")
        found.setdefault(table, []).append(column)
    # The id comes first, to order by.
    return {table: sorted(names, key=lambda name: (name != "id", name)) for table, names in found.items()}
