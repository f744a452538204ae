"""`kitsu import-catalogue` that ends early: Ctrl-C, SIGKILL, a lost database, another import."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import URL

from kitsu.domain.catalogue.importing import Report
from tests.cli.test_import_catalogue import ended, fails, start, terminal, without_progress
from tests.databases import connect
from tests.domain.catalogue.test_import import dump, entry, import_entries, rows, run_import, write


@pytest.mark.slow
async def test_ctrl_c_while_reading_changes_nothing(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1))
    before = await dump(database)
    path = write(tmp_path, entry(1, title="Changed"), *(entry(n) for n in range(2, 20_000)))
    process = start(database, tmp_path, path)
    assert process.stderr is not None
    assert await asyncio.to_thread(process.stderr.readline) == "read 10 % of catalogue.jsonl\n"
    process.send_signal(signal.SIGINT)
    code, out, err = await ended(process)
    assert (code, out) == (1, "")
    assert without_progress(err) == ["Error: Interrupted; the catalogue is as it was."]
    assert "read 100 %" not in err
    assert await dump(database) == before


# Other tests may use the same server.
IN_THIS_DATABASE = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
WAITING = f"FROM pg_locks WHERE NOT granted AND relation = $1::text::regclass AND {IN_THIS_DATABASE}"
# Polled, with a pause that leaves the processor to the import.
WAITS = f"SELECT EXISTS (SELECT {WAITING}) FROM pg_sleep(0.02)"


@asynccontextmanager
async def held_up(
    database: URL, folder: Path, lock: str, *arguments: object, **streams: Any
) -> AsyncIterator[tuple[subprocess.Popen[str], asyncpg.Connection]]:
    """Yield a command that waits for a lock on a table until the context ends."""
    connection = await connect(database)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {lock} MODE")
            process = start(database, folder, *arguments, **streams)
            try:
                while not await connection.fetchval(WAITS, lock.partition(" ")[0]):
                    assert process.poll() is None
                yield process, connection
            except BaseException:
                process.kill()
                process.communicate()
                raise
    finally:
        await connection.close()


# At this point the anime are inserted, and their episodes are not.
MIDDLE = "episodes IN SHARE"
CHANGES = [entry(1, title="Changed", episodes=9), *(entry(n) for n in range(2, 50))]


@pytest.mark.slow
async def test_ctrl_c_while_writing_changes_nothing(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1))
    before = await dump(database)
    path = write(tmp_path, *CHANGES)
    async with terminal() as (theirs, read):
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        async with held_up(database, tmp_path, MIDDLE, path, **streams) as (process, _):
            process.send_signal(signal.SIGINT)
            screen = await asyncio.to_thread(read)
            assert process.wait() == 1
    assert await dump(database) == before
    assert screen.endswith("Error: Interrupted; the catalogue is as it was.\r\n")
    assert "Traceback" not in screen
    # The cursor, which the progress bar hides, is shown again.
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")


@pytest.mark.slow
async def test_ctrl_c_after_commit_is_not_reported_as_undone(database: URL, tmp_path: Path) -> None:
    """Only the planner's statistics are missing: the command must not report that nothing was imported."""
    path = write(tmp_path, *CHANGES)
    async with held_up(database, tmp_path, "anime IN SHARE UPDATE EXCLUSIVE", path) as (process, _):
        process.send_signal(signal.SIGINT)
        _, _, err = await ended(process)
    (stored,) = await rows(database, "SELECT count(*) FROM anime")
    assert ("the catalogue is as it was" in err) == (stored == 0)


async def test_import_killed_while_writing_changes_nothing(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1))
    before = await dump(database)
    path = write(tmp_path, *CHANGES)
    async with held_up(database, tmp_path, MIDDLE, path) as (process, connection):
        key = await connection.fetchval(
            "SELECT (classid::int8 << 32) | objid::int8 FROM pg_locks "
            f"WHERE locktype = 'advisory' AND {IN_THIS_DATABASE}"
        )
        process.kill()
        assert (await ended(process))[0] == -signal.SIGKILL
    # The server releases the lock of the import after its rollback.
    assert await rows(database, "SELECT pg_advisory_lock($1)::text", key)
    assert await dump(database) == before
    assert await run_import(database, path) == Report(added=48, updated=1)


@pytest.mark.slow
async def test_import_that_loses_database_changes_nothing(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1))
    before = await dump(database)
    async with held_up(database, tmp_path, MIDDLE, write(tmp_path, *CHANGES)) as (process, connection):
        await connection.execute(f"SELECT pg_terminate_backend(pid) {WAITING}", "episodes")
        code, out, err = await ended(process)
    assert (code, out) == (1, "")
    (line,) = without_progress(err)
    assert line.startswith("Error: ")
    assert await dump(database) == before


@pytest.mark.slow
async def test_import_during_another_import_is_refused(database: URL, tmp_path: Path) -> None:
    path = write(tmp_path, *CHANGES)
    async with held_up(database, tmp_path, MIDDLE, path) as (process, _):
        line = await fails(database, tmp_path, path)
        assert line == "Error: Another import runs on this database; wait for it to end. Nothing was imported.\n"
    assert (await ended(process))[:2] == (0, "49 added, 0 updated, 0 unchanged, 0 refused\n")
