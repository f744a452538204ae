"""`kitsu backup` while the service writes, and both commands interrupted."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import URL

from tests.cli.backups import FILES, UNFINISHED, USERS, contents, restore, settings_of, take
from tests.cli.process import Process, kitsu
from tests.databases import column, connect, copy_of, execute
from tests.factories import Backend, Viewer, backend_of
from tests.images import plain
from tests.media_locations import MediaLocation, folder_at

pytestmark = pytest.mark.slow

AVATARS = "SELECT avatar FROM users WHERE avatar IS NOT NULL"
LOCK = "LOCK TABLE views IN ACCESS EXCLUSIVE MODE"
"""No test here writes to that table."""
LOCK_OF_EMPTY = "CREATE TABLE users ()"
"""Other connections do not see the table before the commit, and a restore creates it too."""
COLOURS = ("red", "green", "blue", "white", "black")


async def ended(process: Process, code: int = 0) -> str:
    assert await asyncio.to_thread(process.ends) == code, process.errors
    return process.output


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


async def upload(viewer: Viewer, colour: str = "red") -> str:
    """Upload an avatar and return the name of its file."""
    response = await viewer.request("PATCH", "/users/me", files={"avatar": ("a.png", plain(colour=colour))})
    assert response.status_code == 200, response.text
    return str(response.json()["avatar"]).rpartition("/")[2]


@pytest.fixture
async def backend(server: URL, template: URL, folder: MediaLocation) -> AsyncIterator[Backend]:
    """Yield a service with a media folder."""
    async with backend_of(server, template, **folder.settings) as backend:
        yield backend


async def restored(tmp_path: Path, database: URL) -> dict[str, bytes]:
    """Restore `b.tar` and return its files."""
    there = folder_at(tmp_path / "there")
    await restore(database, there, tmp_path / "b.tar")
    return there.files()


async def test_backup_during_writes_is_consistent(
    backend: Backend, bare_database: URL, tmp_path: Path, folder: MediaLocation
) -> None:
    """Each avatar has its file, and each request is in the backup completely or not at all."""
    animes = await backend.animes(20)
    stop = asyncio.Event()
    writes = 0

    async def write(viewer: Viewer) -> None:
        nonlocal writes
        while not stop.is_set():
            for colour in COLOURS:
                await upload(viewer, colour)
                anime = animes[writes % len(animes)]
                # An entry and its progress come in one transaction.
                await viewer.write("PUT", f"/library/{anime}", {"status": "watching"})
                await viewer.request("POST", "/favorites", json={"anime_id": anime})
                writes += 1

    quiet, *viewers = [await backend.viewer() for _ in range(5)]
    avatar = await upload(quiet)
    tasks = [asyncio.create_task(write(viewer)) for viewer in viewers]
    try:
        before = writes
        with kitsu(tmp_path, "backup", "b.tar", database=backend.url, **settings_of(folder)) as process:
            await ended(process)
        assert writes > before
    finally:
        stop.set()
        await asyncio.gather(*tasks)
    files = await restored(tmp_path, bare_database)
    named = await column(bare_database, AVATARS)
    assert {path.rpartition("/")[2] for path in named} <= files.keys()
    assert f"uploads/avatars/{avatar}" in named
    # Files without a user are noted for the purge.
    noted = {path.rpartition("/")[2] for path in await column(bare_database, "SELECT path FROM stray_files")}
    assert files.keys() <= {path.rpartition("/")[2] for path in named} | noted


WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
WAITS = f"SELECT pid {WAITING}"


@asynccontextmanager
async def held_up(
    lock: str, folder: Path, *arguments: str, database: URL, **settings: Any
) -> AsyncIterator[tuple[Process, asyncpg.Connection]]:
    """Yield a command that waits for the end of this connection's transaction, at the latest until the context ends."""
    connection = await connect(database)
    try:
        await connection.execute(f"BEGIN; {lock}")
        with kitsu(folder, *arguments, database=database, **settings) as process:
            while not await column(database, WAITS):
                assert process.process.poll() is None, process.errors
            yield process, connection
    finally:
        await connection.close()


async def test_backup_leaves_out_writes_after_snapshot(
    backend: Backend, bare_database: URL, tmp_path: Path, folder: MediaLocation
) -> None:
    staying, changing, leaving, coming = [await backend.viewer() for _ in range(4)]
    first, second, third = [await upload(viewer) for viewer in (staying, changing, leaving)]
    before = await contents(backend.url)
    # pg_dump waits for a table that the test does not write; it has its snapshot by then.
    settings = settings_of(folder)
    async with held_up(LOCK, tmp_path, "backup", "b.tar", database=backend.url, **settings) as (process, held):
        changed = await upload(changing, "blue")
        await execute(backend.url, f"UPDATE users SET avatar = NULL WHERE id = '{leaving.id}'")
        (tmp_path / "uploads/avatars" / third).unlink()
        new = await upload(coming, "green")
        assert set(folder.files()) == {first, changed, new}
        await held.execute("COMMIT")
        await ended(process)
        assert process.errors.startswith("Missing avatars: 2. ")
    files = await restored(tmp_path, bare_database)
    assert files == {first: folder.files()[first]}
    assert second not in files
    after = await contents(bare_database)
    assert await column(bare_database, AVATARS) == [f"uploads/avatars/{first}"]
    assert {table: rows for table, rows in after.items() if table != "users"} == {
        table: rows for table, rows in before.items() if table != "users"
    }
    assert len(after["users"]) == 4


@pytest.fixture
async def source(catalogue_template: URL, server: URL) -> AsyncIterator[URL]:
    """Yield a database with users."""
    async with copy_of(catalogue_template, server) as url:
        await execute(url, USERS)
        yield url


async def test_interrupted_backup_leaves_no_file(source: URL, tmp_path: Path, folder: MediaLocation) -> None:
    before = await contents(source)
    command: dict[str, Any] = {"database": source, **settings_of(folder)}
    async with held_up(LOCK, tmp_path, "backup", "b.tar", **command) as (process, _):
        assert len(files_in(tmp_path)) == 1
        assert await asyncio.to_thread(process.ended_by, signal.SIGTERM) == 1
        assert process.errors == "Error: Interrupted; nothing was written.\n"
    assert files_in(tmp_path) == []
    async with held_up(LOCK, tmp_path, "backup", "b.tar", **command) as (process, _):
        await execute(source, f"SELECT pg_terminate_backend(pid) {WAITING}")
        await ended(process, 1)
        assert process.errors.startswith("Error: pg_dump of PostgreSQL")
        assert process.errors.count("\n") == 1
    assert files_in(tmp_path) == []
    async with held_up(LOCK, tmp_path, "backup", "b.tar", **command) as (process, _):
        process.process.kill()
        process.process.wait()
    (left,) = files_in(tmp_path)
    assert left.match(UNFINISHED)
    assert left.stat().st_mode & 0o077 == 0
    assert await contents(source) == before
    await take(source, folder, tmp_path / "b.tar")
    assert files_in(tmp_path) == [left, tmp_path / "b.tar"]


async def test_interrupted_restore_changes_nothing(
    source: URL, bare_database: URL, tmp_path: Path, folder: MediaLocation
) -> None:
    for name, data in FILES.items():
        folder.put(name, data)
    before = await contents(source)
    await take(source, folder, tmp_path / "b.tar")
    there = folder_at(tmp_path / "there")
    command: dict[str, Any] = {"database": bare_database, **settings_of(there)}
    async with held_up(LOCK_OF_EMPTY, tmp_path, "restore", "b.tar", **command) as (process, _):
        assert there.files() == FILES
        assert await asyncio.to_thread(process.ended_by, signal.SIGTERM) == 1
        assert process.errors == "Error: Interrupted; nothing was restored.\n"
        assert there.files() == {}
    async with held_up(LOCK_OF_EMPTY, tmp_path, "restore", "b.tar", **command) as (process, _):
        await execute(bare_database, f"SELECT pg_terminate_backend(pid) {WAITING}")
        await ended(process, 1)
        assert process.errors.startswith("Error: pg_restore of PostgreSQL")
        assert process.errors.count("\n") == 1
        assert there.files() == {}
    assert await contents(bare_database) == {}
    await restore(bare_database, there, tmp_path / "b.tar")
    assert await contents(bare_database) == before
    assert there.files() == FILES
