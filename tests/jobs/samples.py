"""Jobs for the tests, and `kitsu` with them: `python -m tests.jobs.samples worker`. They write to the table `runs`."""

import asyncio
import os
import runpy
from datetime import timedelta
from typing import ClassVar

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.domain.jobs import Job, enqueue
from kitsu.jobs.registry import JobContext, RetryLater, runs
from tests.databases import engine_of, execute

TABLE = "CREATE TABLE runs (job text NOT NULL, pid int NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"


class Note(Job, frozen=True):
    """Notes that it ran."""

    name: ClassVar[str] = "note"
    text: str


class Wait(Job, frozen=True):
    """Notes that it began, waits, and notes that it ended."""

    name: ClassVar[str] = "wait"
    seconds: float


class Fail(Job, frozen=True):
    """Notes that it ran, and fails so often."""

    name: ClassVar[str] = "fail"
    times: int


class Slow(Job, frozen=True):
    """Runs longer than its limit."""

    name: ClassVar[str] = "slow"


class Busy(Job, frozen=True):
    """Can't run before its third run."""

    name: ClassVar[str] = "busy"


async def _note(context: JobContext, note: str) -> int:
    async with context.engine.begin() as connection:
        await connection.execute(text("INSERT INTO runs VALUES (:job, :pid)"), {"job": note, "pid": os.getpid()})
        return int(await connection.scalar(text("SELECT count(*) FROM runs WHERE job = :job"), {"job": note}) or 0)


async def _note_failure(context: JobContext, _job: Job, error: str) -> None:
    await _note(context, f"gave up: {error}")


@runs(Note, limit=timedelta(minutes=1))
async def note(context: JobContext, job: Note) -> None:
    await _note(context, job.text)


@runs(Wait, limit=timedelta(minutes=1))
async def wait(context: JobContext, job: Wait) -> None:
    await _note(context, "began")
    await asyncio.sleep(job.seconds)
    await _note(context, "ended")


@runs(Fail, limit=timedelta(minutes=1), retries=2, first_delay=timedelta(seconds=0.1), on_failure=_note_failure)
async def fail(context: JobContext, job: Fail) -> None:
    if await _note(context, "tried") <= job.times:
        raise ValueError("the moon is full")


@runs(Slow, limit=timedelta(seconds=0.1), retries=0, on_failure=_note_failure)
async def slow(_context: JobContext, _job: Slow) -> None:
    await asyncio.sleep(30)


@runs(Busy, limit=timedelta(minutes=1), retries=0)
async def busy(context: JobContext, _job: Busy) -> None:
    if await _note(context, "asked") < 3:
        raise RetryLater(timedelta(seconds=0.1), "another one runs")


async def add_table(database: URL) -> None:
    """Create the table of the samples."""
    await execute(database, TABLE)


async def put(database: URL, *jobs: Job) -> None:
    """Enqueue jobs, in one transaction."""
    async with engine_of(database) as engine, AsyncSession(engine) as session:
        for job in jobs:
            await enqueue(session, job)
        await session.commit()


if __name__ == "__main__":
    runpy.run_module("kitsu", run_name="__main__")
