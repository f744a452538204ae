"""The daily purge and backup: once a day whatever the number of workers, and once after days without a worker."""

import asyncio
import os
import re
import signal
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import URL

from kitsu.domain.operations.schedules import enqueue_due, latest
from tests.cli.invoke import invoke
from tests.cli.process import kitsu
from tests.databases import column, connect, engine_of, execute
from tests.jobs.working import finished, until, working

JOBS = "SELECT entrypoint FROM pgqueuer ORDER BY 1"
OFTEN = (
    "INSERT INTO schedules SELECT name, now() - interval '5 days' FROM (VALUES ('purge'), ('backup')) AS all_ (name)"
)
FINISHED = "SELECT command FROM command_runs WHERE command <> 'worker'"
MIDNIGHT = time(0, 0)


@pytest.mark.parametrize(
    ("at", "now", "expected"),
    [
        (time(4, 30), "2026-03-02T04:30:00+00:00", "2026-03-02T04:30:00+00:00"),
        (time(4, 30), "2026-03-02T04:29:59+00:00", "2026-03-01T04:30:00+00:00"),
        (time(4, 30), "2026-03-02T05:29:00+01:00", "2026-03-01T04:30:00+00:00"),
        (MIDNIGHT, "2026-03-01T00:00:01+00:00", "2026-03-01T00:00:00+00:00"),
    ],
)
def test_latest_time_of_a_day(at: time, now: str, expected: str) -> None:
    assert latest(at, datetime.fromisoformat(now)) == datetime.fromisoformat(expected)


async def test_daily_jobs_are_enqueued_once_by_several_workers(database: URL) -> None:
    async with engine_of(database) as engine:
        # The first time is the next one.
        await enqueue_due(engine, MIDNIGHT, MIDNIGHT)
        assert await column(database, JOBS) == []
        await execute(database, "UPDATE schedules SET due_at = due_at - interval '5 days'")
        await asyncio.gather(*(enqueue_due(engine, MIDNIGHT, MIDNIGHT) for _ in range(5)))
        assert await column(database, JOBS) == ["backup", "purge"]
        await execute(database, "DELETE FROM pgqueuer")
        await enqueue_due(engine, MIDNIGHT, MIDNIGHT)
        assert await column(database, JOBS) == []


async def test_daily_jobs_that_are_off_are_not_enqueued(database: URL) -> None:
    await execute(database, OFTEN)
    async with engine_of(database) as engine:
        await enqueue_due(engine, None, None)
    assert await column(database, JOBS) == []


async def test_worker_purges_and_backs_up_after_missed_days(database: URL, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    folder = tmp_path / "backups"
    folder.mkdir()
    old, young, other = (folder / f"kitsu-2026010{n}T030000Z.backup" for n in (1, 2, 3))
    other = folder / "kitsu-mine.backup"
    for path in (old, young, other):
        path.touch()
    for path in (old, other):
        long_ago = (datetime.now(UTC) - timedelta(days=15)).timestamp()
        os.utime(path, (long_ago, long_ago))
    await execute(database, OFTEN, "INSERT INTO rate_limits VALUES ('old', 1, now() - interval '1 hour')")
    settings = {"purge_at": MIDNIGHT, "backup_at": MIDNIGHT, "backup_folder": str(folder)}
    media = f"file://{tmp_path}/media"

    async def are_done() -> bool:
        return len(await column(database, FINISHED)) == 2

    async with working(database, media_url=media, **settings), working(database, media_url=media, **settings):
        await until(are_done)
        await finished(database)
    assert await column(database, "SELECT count(*) FROM rate_limits") == [0]
    today = f"kitsu-{datetime.now(UTC):%Y%m%d}T000000Z.backup"
    assert {path.name for path in folder.iterdir()} == {young.name, other.name, today}
    assert await column(database, "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'") == [2]


async def test_backup_that_was_written_by_a_killed_worker_is_not_written_again(database: URL, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    written = tmp_path / f"kitsu-{datetime.now(UTC):%Y%m%d}T000000Z.backup"
    written.write_text("here")
    await execute(database, OFTEN)
    settings = {"media_url": f"file://{tmp_path}/media", "backup_at": MIDNIGHT, "backup_folder": str(tmp_path)}

    async def is_noted() -> bool:
        return await column(database, FINISHED) == ["backup"]

    async with working(database, purge_at=None, **settings):
        await until(is_noted)
    assert written.read_text() == "here"


async def test_backup_into_missing_folder_is_listed_with_its_error(database: URL, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    await execute(database, OFTEN)
    settings = {"media_url": f"file://{tmp_path}/media", "backup_at": MIDNIGHT, "backup_folder": f"{tmp_path}/none"}
    query = "SELECT traceback ->> 'exception_message' FROM pgqueuer_log WHERE traceback IS NOT NULL"

    async def has_failed() -> bool:
        return bool(await column(database, query))

    async with working(database, purge_at=None, **settings):
        await until(has_failed)
    (message,) = await column(database, query)
    assert "can't be written: No such file or directory" in message
    assert await column(database, "SELECT attempts FROM pgqueuer WHERE execute_after > now()") == [1]


@pytest.mark.slow
def test_backup_of_killed_worker_leaves_no_half_file(tmp_path: Path, database: URL) -> None:
    (tmp_path / "media").mkdir()
    folder = tmp_path / "backups"
    folder.mkdir()
    asyncio.run(execute(database, OFTEN))
    settings = {
        "MEDIA_URL": f"file://{tmp_path}/media",
        "PURGE_AT": "off",
        "BACKUP_AT": "00:00",
        "BACKUP_FOLDER": str(folder),
    }

    def files() -> list[str]:
        return [path.name for path in folder.iterdir()]

    async def lock() -> asyncpg.Connection:
        connection = await connect(database)
        await connection.execute("BEGIN; LOCK TABLE favorites IN ACCESS EXCLUSIVE MODE")
        return connection

    with asyncio.Runner() as runner:
        # pg_dump waits for the table.
        holder = runner.run(lock())
        with kitsu(tmp_path, "worker", database=database, stdout=None, **settings) as killed:
            killed.until(files, "the backup began")
            assert all(name.startswith(".kitsu-backup-") for name in files())
            os.kill(killed.pid, signal.SIGKILL)
            killed.process.wait(10)
        runner.run(holder.close())
    with kitsu(tmp_path, "worker", database=database, stdout=None, **settings) as other:
        other.prints("backup written")
        other.prints("job finished")
    (name,) = files()
    assert re.fullmatch(r"kitsu-\d{8}T000000Z\.backup", name)


def test_next_backup_removes_half_file_of_killed_command_alone(tmp_path: Path, database: URL) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / ".kitsu-backup-killed").write_text("half")
    media = f"file://{tmp_path}/media"
    code, _, errors = invoke(tmp_path, "backup", "a.backup", database=database, MEDIA_URL=media)
    assert code == 0, errors
    assert {path.name for path in tmp_path.glob("*backup*")} == {"a.backup"}
