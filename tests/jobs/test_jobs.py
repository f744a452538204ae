"""Jobs: in a transaction, once, again after a failure, and put back when a worker stops."""

from contextlib import suppress

import asyncpg
import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import Timeouts
from kitsu.db.statements import StatementRunner
from kitsu.domain.jobs import enqueue
from kitsu.domain.operations.jobs import KINDS, JobReader, JobService, QueuedJob
from kitsu.domain.pagination import PageRequest
from kitsu.errors import Conflict, NotFound
from kitsu.jobs import worker
from kitsu.jobs.registry import JOBS
from tests.databases import column, connect, engine_of, execute
from tests.jobs.samples import Busy, Fail, Note, Slow, Wait, add_table, put
from tests.jobs.working import finished, until, working

DONE = "SELECT job FROM runs ORDER BY at"


@pytest.fixture(autouse=True)
async def _table(database: URL) -> None:
    await add_table(database)


async def jobs(database: URL) -> list[QueuedJob]:
    """Return the jobs that are in the queue."""
    runner = StatementRunner(database, size=1, recycle=-1, timeouts=Timeouts())
    try:
        return (await JobReader(runner).page(PageRequest())).items
    finally:
        runner.close()


async def retry(database: URL, job_id: int) -> None:
    async with engine_of(database) as engine, AsyncSession(engine) as session:
        await JobService(session).retry(job_id)


async def test_job_of_rolled_back_transaction_never_runs(database: URL) -> None:
    async with working(database):
        async with engine_of(database) as engine, AsyncSession(engine) as session:
            await enqueue(session, Note("rolled back"))
            await session.rollback()
        await put(database, Note("committed"))
        await finished(database)
    assert await column(database, DONE) == ["committed"]


async def test_job_that_waits_already_is_not_added_again(database: URL) -> None:
    await put(database, Note("a"), Note("a"), Note("b"))
    async with working(database):
        await finished(database)
    assert sorted(await column(database, DONE)) == ["a", "b"]


async def test_two_workers_run_each_job_once(database: URL) -> None:
    async with working(database), working(database):
        await put(database, *(Note(f"{number:03}") for number in range(100)))
        await finished(database)
    assert sorted(await column(database, DONE)) == [f"{number:03}" for number in range(100)]


async def test_failing_job_is_retried(database: URL) -> None:
    await put(database, Fail(times=2))
    async with working(database):
        await finished(database)
    assert await column(database, DONE) == ["tried"] * 3
    assert await jobs(database) == []


async def test_job_that_fails_for_good_is_listed_and_retried_by_hand(database: URL) -> None:
    await put(database, Fail(times=3))
    async with working(database):
        await finished(database)
        (job,) = await jobs(database)
        assert (job.name, job.state, job.attempts) == ("fail", "failed", 2)
        assert job.error == "ValueError: the moon is full"
        await retry(database, job.id)
        await finished(database)
    assert await jobs(database) == []
    assert await column(database, DONE) == [*["tried"] * 3, "gave up: ValueError: the moon is full", "tried"]


async def test_retry_of_unknown_or_waiting_job_is_refused(database: URL) -> None:
    await put(database, Fail(times=3))
    (job,) = await jobs(database)
    for job_id in (job.id, 12345):
        with pytest.raises(NotFound):
            await retry(database, job_id)


async def test_retry_while_the_same_job_waits_is_refused(database: URL) -> None:
    await put(database, Fail(times=9))
    async with working(database):
        await finished(database)
    await put(database, Fail(times=9))
    (_, failed) = await jobs(database)
    with pytest.raises(Conflict):
        await retry(database, failed.id)


async def test_job_beyond_its_limit_fails(database: URL) -> None:
    await put(database, Slow())
    async with working(database):
        await finished(database)
    (job,) = await jobs(database)
    assert job.error == "TimeoutError: it ran longer than 0:00:00.100000"
    assert await column(database, DONE) == ["gave up: TimeoutError: it ran longer than 0:00:00.100000"]


async def test_postponed_job_runs_later_and_has_not_failed(database: URL) -> None:
    await put(database, Busy())
    async with working(database):
        await finished(database)
    assert await column(database, DONE) == ["asked"] * 3
    assert await jobs(database) == []


async def test_job_with_unknown_arguments_fails_at_once(database: URL) -> None:
    await put(database, Fail(times="many"))  # type: ignore[arg-type] # of another version of Kitsu, for example
    async with working(database):
        await finished(database)
    (job,) = await jobs(database)
    assert job.error is not None
    assert job.error.startswith("ValidationError: ")


async def test_job_that_ends_its_workers_fails(database: URL) -> None:
    await put(database, Note("poison"))
    lost = (
        "INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority) SELECT id, 'picked', 'note', 0 FROM pgqueuer"
    )
    await execute(database, *[lost] * 6)
    async with working(database):
        await finished(database)
        (job,) = await jobs(database)
        assert job.error is not None
        assert "6 workers ended while they ran it" in job.error
        assert await column(database, DONE) == []
        await retry(database, job.id)
        await finished(database)
    assert await column(database, DONE) == ["poison"]


async def test_stopping_worker_puts_running_job_back(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "STOP_SECONDS", 0.1)
    await put(database, Wait(seconds=30), Note("first"))
    async with working(database):
        await until(lambda: has_run(database, "began"))
    (job,) = await jobs(database)
    assert (job.state, job.error) == ("queued", "the worker stopped")


async def test_stopping_worker_finishes_short_job(database: URL) -> None:
    await put(database, Wait(seconds=0.5))
    async with working(database):
        await until(lambda: has_run(database, "began"))
    assert await jobs(database) == []
    assert await column(database, DONE) == ["began", "ended"]


def test_metrics_have_every_kind_of_job() -> None:
    kinds = {name for name, each in JOBS.items() if each.function.__module__.startswith("kitsu.")}
    assert kinds == {kind.name for kind in KINDS}


async def has_run(database: URL, note: str) -> bool:
    return note in await column(database, DONE)


@pytest.mark.slow
async def test_worker_works_on_after_all_connections_are_lost(database: URL) -> None:
    async with working(database):
        await put(database, Wait(seconds=3))
        await until(lambda: has_run(database, "began"))
        connection = await connect(database)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.close()
        with suppress(asyncpg.PostgresError):
            await put(database, Note("after"))
        await until(lambda: has_run(database, "after"))
        # Its job runs again when the worker has given no sign of it for 10 s.
        await finished(database)
    assert (await column(database, DONE))[-1] == "ended"
