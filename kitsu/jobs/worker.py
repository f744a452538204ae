"""The worker process: it takes jobs from the queue until it is stopped, also over failures of the database."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
import structlog
from pgqueuer.db import AsyncpgDriver
from pgqueuer.errors import FailingListenerError
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from kitsu.db.engine import Timeouts, connect_arguments, create_engine
from kitsu.db.hosts import connect
from kitsu.domain.operations import command_runs
from kitsu.domain.operations.schedules import enqueue_due
from kitsu.jobs.executor import JobExecutor
from kitsu.jobs.registry import JOBS, JobContext
from kitsu.settings import Settings

STOP_SECONDS = 5.0
"""Time that running jobs have when the worker stops; then they are put back into the queue."""
RETRY_SECONDS = 1.0
BEAT_SECONDS = 30.0
"""Interval in which a worker notes that it runs."""
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""A running job without a sign of its worker for this time is run again. The same for all workers."""
POLL_INTERVAL = timedelta(seconds=2)
"""A new job is notified; a job that is due again, or whose worker was killed, is found by polling."""
BATCH_SIZE = 4
MAX_JOBS_AT_ONCE = 2 * BATCH_SIZE  # the least that pgqueuer accepts

log = structlog.get_logger("kitsu.jobs")

_DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


async def run_worker(url: URL, settings: Settings, *, until_eof: bool = False) -> None:
    """Run jobs until SIGTERM or Ctrl-C, with `until_eof` also until standard input closes."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_eof:

        def end() -> None:
            loop.remove_reader(sys.stdin)
            stop.set()

        loop.add_reader(sys.stdin, end)
    log.info("worker started")
    await work(url, settings, stop)
    log.info("worker stopped")


async def work(url: URL, settings: Settings, stop: asyncio.Event) -> None:
    """Run jobs until the event is set."""
    engine = create_engine(url, pool_size=2, max_overflow=MAX_JOBS_AT_ONCE)
    context = JobContext(engine, settings)
    try:
        async with _beating(context):
            while not stop.is_set():
                try:
                    await _work_connected(url, context, stop)
                except (*_DATABASE_ERRORS, FailingListenerError) as error:
                    log.warning("worker disconnected", error=type(error).__name__)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), RETRY_SECONDS)
    finally:
        await engine.dispose()


async def _work_connected(url: URL, context: JobContext, stop: asyncio.Event) -> None:
    """Run jobs until the event is set. Raises one of the errors of a lost connection."""
    timeouts = Timeouts()
    connection: Any = await connect(**connect_arguments(url, timeouts), command_timeout=timeouts.command)
    queue = QueueManager(Queries(AsyncpgDriver(connection)))
    stopping = asyncio.Event()

    def disconnect(_: Any) -> None:
        # Nothing tells the others that this worker still runs its jobs.
        queue.shutdown.set()
        stopping.set()

    async def end() -> None:
        await stop.wait()
        queue.shutdown.set()
        await asyncio.sleep(STOP_SECONDS)
        stopping.set()

    connection.add_termination_listener(disconnect)
    for name, each in JOBS.items():
        make = partial(JobExecutor, job_function=each, job_context=context, stopping=stopping)
        queue.entrypoint(name, concurrency_limit=each.at_once, on_failure="hold", executor_factory=make)(each.function)  # type: ignore[type-var] # the executor calls the function
    ending = asyncio.create_task(end())
    try:
        await queue.run(
            dequeue_timeout=POLL_INTERVAL,
            batch_size=BATCH_SIZE,
            max_concurrent_tasks=MAX_JOBS_AT_ONCE,
            shutdown_on_listener_failure=True,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            log_aggregation_interval=timedelta(0),
        )
    finally:
        ending.cancel()
        connection.terminate()
    if not stop.is_set():
        raise ConnectionResetError


@asynccontextmanager
async def _beating(context: JobContext) -> AsyncIterator[None]:
    """Note regularly that a worker runs, for `kitsu check` and the metrics. Enqueue the daily jobs."""
    settings = context.settings

    async def beat() -> None:
        while True:
            with suppress(SQLAlchemyError, *_DATABASE_ERRORS):
                await command_runs.note(context.engine, command_runs.WORKER)
                await enqueue_due(context.engine, settings.purge_at, settings.backup_at)
            await asyncio.sleep(BEAT_SECONDS)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
