"""Versions of Kitsu on a schema that a newer version has made."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.db.migrations import SchemaError
from tests.application import client_of
from tests.cli.next_version import REVISION, next_version
from tests.cli.process import kitsu
from tests.databases import column, connect, engine_of, execute

ADD = ["ALTER TABLE anime ADD COLUMN mood text"]
REMOVE = ["ALTER TABLE anime DROP COLUMN mood"]
HEAD = migrations.head()


async def problem(url: URL) -> str | None:
    """Return what this version finds wrong with the schema."""
    async with engine_of(url) as engine:
        return await migrations.problem(engine)


async def run(folder: Path, url: URL, *command: str, environment: dict[str, Any]) -> tuple[int, str]:
    """Run a command; return its exit code and what it wrote."""
    with kitsu(folder, *command, database=url, **environment) as process:
        code = await asyncio.to_thread(process.ends)
        return code, process.output + process.errors


# The text of the note is fixed: versions read those of newer ones.
@pytest.mark.parametrize(
    ("note", "words"),
    [
        (None, ["not known", "newer"]),
        ("something else", ["not known", "newer"]),
        (f"9998 is compatible with {HEAD}", ["not known", "newer"]),
        ("9999 is compatible with 9998", ["newer", "run a version that has 9998"]),
        (f"9999 is compatible with {HEAD}", None),
        ("9999 is compatible with 0010", None),
    ],
    ids=["missing", "other", "of-other-revision", "incompatible", "compatible", "compatible-with-older"],
)
async def test_newer_schema_is_accepted_by_its_note(database: URL, note: str | None, words: list[str] | None) -> None:
    comment = "NULL" if note is None else f"'{note}'"
    await execute(
        database, "UPDATE alembic_version SET version_num = '9999'", f"COMMENT ON TABLE alembic_version IS {comment}"
    )
    found = await problem(database)
    if words is None:
        assert found is None
    else:
        assert found is not None
        assert all(word in found for word in ["9999", HEAD, *words])
        assert "\n" not in found
    async with client_of(database) as client:
        response = await client.get("/health/ready")
        assert (response.status_code, response.json()["checks"]["migrations"]) == (
            (200, "ok") if words is None else (503, "error")
        )


async def test_version_serves_with_newer_compatible_schema(database: URL, tmp_path: Path) -> None:
    newer = next_version(tmp_path, ADD, REMOVE)
    code, output = await run(tmp_path, database, "check", environment=newer)
    assert (code, "running instances can serve on" in output) == (1, True)
    code, output = await run(tmp_path, database, "migrate", "--rolling", environment=newer)
    assert (code, output) == (0, f"Migrated the database from {HEAD} to {REVISION}.\n")
    assert await problem(database) is None
    backup = {"MEDIA_URL": f"file://{tmp_path}/media"}
    code, output = await run(tmp_path, database, "backup", "old.backup", environment=backup)
    assert (code, f"(schema {REVISION})" in output) == (0, True), output
    code, output = await run(tmp_path, database, "restore", "old.backup", environment=backup)
    assert (code, "Restore it with a newer one" in output) == (1, True), output
    # `kitsu run` and the step of a roll-back migrate, too.
    async with engine_of(database) as engine:
        assert await migrations.migrate(engine) == (REVISION, REVISION)
        for work in (migrations.migrate(engine, "0010"), migrations.make_revision(engine, "more")):
            with pytest.raises(SchemaError, match=REVISION):
                await work
    code, output = await run(tmp_path, database, "migrate", HEAD, environment=newer)
    assert (code, await problem(database)) == (0, None)


async def test_version_refuses_newer_incompatible_schema(database: URL, tmp_path: Path) -> None:
    newer = next_version(tmp_path, ADD, REMOVE, is_compatible=False)
    code, output = await run(tmp_path, database, "check", environment=newer)
    assert (code, "stop running instances before" in output) == (1, True)
    code, output = await run(tmp_path, database, "migrate", "--rolling", environment=newer)
    assert (code, HEAD in output, "--rolling" in output) == (1, True, True)
    assert await problem(database) is None
    code, _ = await run(tmp_path, database, "migrate", environment=newer)
    assert code == 0
    code, output = await run(tmp_path, database, "serve", environment={})
    assert (code, f"run a version that has {REVISION}" in output) == (1, True)


@asynccontextmanager
async def transaction_on(url: URL, table: str) -> AsyncIterator[None]:
    """Read a table in a transaction that stays open."""
    connection = await connect(url)
    try:
        async with connection.transaction():
            await connection.fetch(f"SELECT FROM {table} LIMIT 1")
            yield
    finally:
        await connection.close()


async def test_migration_that_waits_for_a_table_stops_no_reader(database: URL, tmp_path: Path) -> None:
    newer = next_version(tmp_path, ADD, REMOVE)
    with kitsu(tmp_path, "migrate", database=database, **newer) as process:
        async with transaction_on(database, "anime"):
            await asyncio.to_thread(process.prints, "A long transaction has a lock on a table")
            ends_at = time.monotonic() + 3
            while time.monotonic() < ends_at:
                await execute(database, "SET lock_timeout = 1200; SELECT FROM anime LIMIT 1")
        assert await asyncio.to_thread(process.ends) == 0
        assert process.output.endswith(f"Migrated the database from {HEAD} to {REVISION}.\n")
    assert await column(database, "SELECT version_num FROM alembic_version") == [REVISION]
