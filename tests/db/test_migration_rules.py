"""The rules of CONTRIBUTING.md for migrations: expand, then contract."""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL

from kitsu.db import migrations
from tests.databases import engine_of, execute
from tests.db.schema_changes import breaking_changes
from tests.db.service_database import schema

FIRST = "0031"
"""The first revision to which the rules apply."""
SCRIPTS = [*ScriptDirectory.from_config(migrations.alembic_config()).walk_revisions()][::-1]
NEW = [script for script in SCRIPTS if script.revision >= FIRST]


async def test_migrations_leave_what_compatible_versions_use(database: URL) -> None:
    problems = []
    async with engine_of(database) as engine:
        if NEW:
            await migrations.migrate(engine, str(NEW[0].down_revision))
        for script in NEW:
            before = await schema(database)
            await migrations.migrate(engine, script.revision)
            compatible_with = getattr(script.module, "compatible_with", None)
            if compatible_with == script.revision:
                continue
            file = Path(script.path).name
            if compatible_with not in migrations.revisions():
                problems.append(f"{file} has no compatible_with")
            contracts: set[str] = getattr(script.module, "contracts", set())
            for name, reason in breaking_changes(before, await schema(database)).items():
                if name not in contracts:
                    problems.append(f"{file}: {name} {reason}")
    assert problems == []


# One statement for each kind; in a schema that has them, each is refused.
@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("ALTER TABLE anime DROP COLUMN poster", "anime.poster"),
        ("ALTER TABLE anime RENAME poster TO cover", "anime.poster"),
        ("DROP TABLE favorites", "favorites.anime_id"),
        ("ALTER TABLE favorites RENAME TO liked", "favorites.anime_id"),
        ("ALTER TABLE anime ALTER year TYPE bigint", "anime.year"),
        ("ALTER TABLE users ALTER username TYPE varchar(20)", "users.username"),
        ("ALTER TABLE anime ADD mood text NOT NULL", "anime.mood"),
        ("ALTER TABLE anime ALTER description SET NOT NULL", "anime.description"),
        ("ALTER TABLE favorites ALTER created_at DROP DEFAULT", "favorites.created_at"),
        ("ALTER TABLE anime ADD CONSTRAINT late CHECK (year > 1900)", "anime.late"),
        ("ALTER TABLE favorites ADD CONSTRAINT one UNIQUE (anime_id)", "favorites.one"),
        ("CREATE UNIQUE INDEX one ON favorites (anime_id)", "favorites.one"),
        ("DROP FUNCTION kitsu_bury() CASCADE", "kitsu_bury"),
    ],
)
async def test_change_that_older_versions_can_not_live_with_is_found(database: URL, statement: str, name: str) -> None:
    before = await schema(database)
    await execute(database, statement)
    assert name in breaking_changes(before, await schema(database))


async def test_changes_that_older_versions_can_live_with_are_accepted(database: URL) -> None:
    before = await schema(database)
    await execute(
        database,
        "ALTER TABLE anime ADD mood text, ADD tone text NOT NULL DEFAULT '', ALTER title DROP NOT NULL",
        "CREATE TABLE moods (id int PRIMARY KEY, name text NOT NULL UNIQUE)",
        "CREATE INDEX moods_of_anime ON anime (mood)",
        "CREATE FUNCTION kitsu_more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION kitsu_bury() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    )
    assert breaking_changes(before, await schema(database)) == {}
