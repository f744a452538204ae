"""One run of a job: its time limit, its retries, and its release when the worker stops."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import structlog
from pgqueuer.errors import RetryRequested
from pgqueuer.executors import AbstractEntrypointExecutor
from pgqueuer.models import Context, Job
from sqlalchemy import text

from kitsu.jobs.registry import JobContext, JobFunction, PermanentFailure, RetryLater

MAX_LOST_RUNS = 5
"""A job whose worker ended in the middle so often, in a row, is probably the cause."""
CANCEL_SECONDS = 3.0
"""Time that a cancelled job has to end its transaction."""

log = structlog.get_logger("kitsu.jobs")

_RUNS_SINCE_QUEUED = text("""
SELECT count(*) FROM pgqueuer_log WHERE job_id = :id AND status = 'picked' AND id > (
    SELECT max(id) FROM pgqueuer_log WHERE job_id = :id AND status = 'queued'
)
""")


class JobFailed(Exception):
    """The last failure of a job; the message begins with the type of its cause."""


class _LostJob(Exception):
    pass


@dataclass
class JobExecutor(AbstractEntrypointExecutor):
    """Runs the jobs of a kind. `stopping` is set when jobs are to be put back into the queue."""

    job_function: JobFunction
    job_context: JobContext
    stopping: asyncio.Event

    async def execute(self, job: Job, context: Context) -> None:  # noqa: ARG002 - pgqueuer's signature
        """Run a job. Raises RetryRequested, or JobFailed for the last time."""
        began = time.monotonic()
        name = job.entrypoint
        arguments = None
        try:
            arguments = msgspec.json.decode(job.payload or b"", type=self.job_function.kind)
            await self._check_lost_runs(job)
            await self._run(arguments)
        except RetryLater as error:
            log.info("job postponed", job=name, id=job.id, reason=str(error))
            raise RetryRequested(error.delay, str(error)) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            is_final = isinstance(error, (_LostJob, PermanentFailure, msgspec.MsgspecError))
            if not is_final and job.attempts < self.job_function.retries:
                delay = self.job_function.delay_after(job.attempts)
                retry_seconds = delay.total_seconds()
                log.warning("job retried", job=name, id=job.id, reason=reason, retry_seconds=retry_seconds)
                raise RetryRequested(delay, reason) from error
            log.error("job failed", job=name, id=job.id, reason=reason)  # noqa: TRY400 - pgqueuer logs it
            if self.job_function.on_failure and arguments is not None:
                await self.job_function.on_failure(self.job_context, arguments, reason)
            raise JobFailed(reason) from error
        log.info("job finished", job=name, id=job.id, ms=round((time.monotonic() - began) * 1000, 1))

    async def _run(self, arguments: Any) -> None:
        work = asyncio.ensure_future(self.job_function.function(self.job_context, arguments))
        stop = asyncio.ensure_future(self.stopping.wait())
        limit = self.job_function.limit
        try:
            await asyncio.wait({work, stop}, timeout=limit.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait({work}, timeout=CANCEL_SECONDS)
            # It may have finished in spite of the cancellation.
            if work.done() and not work.cancelled():
                return work.result()
            if stop.done():
                raise RetryLater(timedelta(0), "the worker stopped")
            raise TimeoutError(f"it ran longer than {limit}")
        finally:
            work.cancel()
            stop.cancel()

    async def _check_lost_runs(self, job: Job) -> None:
        async with self.job_context.engine.connect() as connection:
            runs = await connection.scalar(_RUNS_SINCE_QUEUED, {"id": job.id})
        if runs > MAX_LOST_RUNS + 1:
            raise _LostJob(f"{MAX_LOST_RUNS + 1} workers ended while they ran it")
