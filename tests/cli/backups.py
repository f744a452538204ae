"""What the tests of `kitsu backup` and `kitsu restore` share: contents of databases and media stores."""

import json
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.engine import create_engine
from kitsu.domain.operations import backup
from kitsu.domain.operations.backup.archive import writing
from kitsu.domain.operations.backup.files import MediaFiles
from tests.cli.invoke import invoke
from tests.databases import connect
from tests.media_locations import MediaLocation

T = TypeVar("T")

AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
PASSWORD = "hunter2 '\\:@/%"
UNFINISHED = ".kitsu-backup-*"

USERS = """
INSERT INTO users (id, email, username, password_hash, avatar)
SELECT gen_random_uuid(), name || '@example.org', name, 'none', 'uploads/avatars/' || name || '.webp'
FROM unnest(ARRAY['first', 'second', 'third', 'Žofie']) AS name;
INSERT INTO favorites (id, user_id, anime_id)
SELECT gen_random_uuid(), u.id, a.id FROM users u, (SELECT id FROM anime ORDER BY id LIMIT 40) a;
INSERT INTO stray_files (path) VALUES ('uploads/avatars/stray.webp')
"""
FILES = {f"{name}.webp": name.encode() * 5000 for name in ("first", "second", "third", "stray", "without user")} | {
    "Žofie.webp": b"",
    "x" * 120 + ".png": b"\0" * 512,
}

TABLES = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname
"""
SCHEMA = """
SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, contype) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT extname FROM pg_extension
UNION ALL SELECT concat_ws(' ', table_name, column_name, data_type, column_default, is_nullable)
FROM information_schema.columns WHERE table_schema = 'public'
ORDER BY 1
"""


async def contents(database: URL) -> dict[str, list[str]]:
    """Return every row of every table as text, and under an empty name the rest of the schema."""
    connection = await connect(database)
    try:
        tables = [row[0] for row in await connection.fetch(TABLES)]
        found = {
            table: [row[0] for row in await connection.fetch(f'SELECT t::text FROM "{table}" t ORDER BY 1')]
            for table in tables
        }
        return {**found, "": [row[0] for row in await connection.fetch(SCHEMA)]} if found else {}
    finally:
        await connection.close()


def settings_of(location: MediaLocation) -> dict[str, Any]:
    """Return the settings of a command for this media store."""
    return {name.upper(): str(value) for name, value in location.settings.items()} | AWS


async def take(database: URL, location: MediaLocation, file: Path) -> backup.BackupSummary:
    """Take a backup without the command, which starts an event loop of its own."""
    return await _done(backup.take, database, location, file)


async def restore(database: URL, location: MediaLocation, file: Path) -> backup.BackupSummary:
    """Restore a backup without the command."""
    return await _done(backup.restore, database, location, file)


async def _done(
    work: Callable[[AsyncEngine, MediaFiles, Path], Awaitable[T]], database: URL, location: MediaLocation, file: Path
) -> T:
    engine = create_engine(database)
    try:
        return await work(
            engine, MediaFiles(**{name.removeprefix("media_"): v for name, v in location.settings.items()}), file
        )
    finally:
        await engine.dispose()


def refused(folder: Path, *arguments: str, database: URL | None, **settings: str) -> str:
    """Run a command that fails, and return its last line; other lines are logs of the media store."""
    code, output, errors = invoke(folder, *arguments, database=database, **settings)
    assert (code, output) == (1, ""), errors
    assert "hunter2" not in errors
    *others, line = errors.splitlines()
    assert all("media store failed" in other for other in others), errors
    assert line.startswith("Error: ")
    return line


def made_of(good: Path, file: Path, **changed: Any) -> Path:
    """Write a copy of a backup with a changed description and correct checksums."""
    with tarfile.open(good) as tar:
        members = {name: member.read() for name in tar.getnames() if (member := tar.extractfile(name))}
    del members["checksums.json"]
    members["kitsu-backup.json"] = json.dumps(json.loads(members["kitsu-backup.json"]) | changed).encode()
    with writing(file) as archive:
        for name, data in members.items():
            archive.add(name, data)
    return file
