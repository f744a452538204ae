"""The jobs of the queue: which ones wait, run or have failed, and how a failed one is run again."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from itertools import product
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from sqlalchemy import literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.errors import translate_constraint_errors
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.deletion import DeleteAccount
from kitsu.domain.accounts.mail import SendMail
from kitsu.domain.accounts.recovery import SendLink
from kitsu.domain.catalogue.importing.runs import ImportFile
from kitsu.domain.fields import described
from kitsu.domain.jobs import LOG, QUEUE, Job
from kitsu.domain.mapping import Rows, columns_of
from kitsu.domain.operations.polling import polled
from kitsu.domain.operations.schedules import RunBackup, RunPurge
from kitsu.domain.pagination import Listing, Page, PageRequest, descending
from kitsu.domain.viewer.list_import.runs import ImportList
from kitsu.errors import Conflict, NotFound

READ_INTERVAL_SECONDS = 10

JobState = Annotated[
    Literal["queued", "running", "failed"], Meta(title="JobState", description="Whether the job waits, runs or failed.")
]

KINDS: tuple[type[Job], ...] = (DeleteAccount, ImportFile, ImportList, RunBackup, RunPurge, SendLink, SendMail)
"""All kinds of jobs, each of which has a function in `kitsu.jobs`."""
STATES: tuple[str, ...] = ("queued", "running", "failed")


class QueuedJob(msgspec.Struct):
    """A job that waits, runs or has failed for good."""

    id: int
    name: Annotated[str, described("The kind of job.", "import-catalogue")]
    state: JobState
    attempts: Annotated[int, described("How often it was tried before and put back.", 2)]
    error: Annotated[str | None, described("The last error.", "ConnectionError: the server is away")]
    created_at: datetime
    due_at: datetime
    changed_at: datetime


_state: Any = literal_column("CASE CAST(status AS text) WHEN 'picked' THEN 'running' ELSE CAST(status AS text) END")
_error = (
    select(LOG.c.traceback["exception_message"].astext)
    .where(LOG.c.job_id == QUEUE.c.id, LOG.c.traceback.is_not(None))
    .order_by(LOG.c.created.desc(), LOG.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_ROWS: Rows = select(
    *columns_of(
        QueuedJob,
        QUEUE.c,
        name=QUEUE.c.entrypoint,
        state=_state,
        error=_error,
        created_at=QUEUE.c.created,
        due_at=QUEUE.c.execute_after,
        changed_at=QUEUE.c.updated,
    )
)
_JOBS = Listing(QueuedJob, _ROWS, descending(QUEUE.c.id), counted=select(QUEUE.c.id))

_STATES: Any = text("""
SELECT entrypoint AS kind,
       count(*) FILTER (WHERE status = 'queued') AS queued, count(*) FILTER (WHERE status = 'picked') AS running,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       coalesce(extract(epoch FROM now() - min(execute_after) FILTER (
           WHERE status = 'queued' AND execute_after < now()
       )), 0)::float AS oldest
FROM pgqueuer
GROUP BY entrypoint
""")
# As pgqueuer's own statement, which resets the attempts.
_RETRY = text("""
WITH job AS (
    UPDATE pgqueuer SET status = 'queued', attempts = 0, execute_after = now(), updated = now(), queue_manager_id = NULL
    WHERE id = :id AND status = 'failed'
    RETURNING id, status, entrypoint, priority
)
INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority) SELECT id, status, entrypoint, priority FROM job
""")
_CONSTRAINTS = {"pgqueuer_unique_dedupe_key": lambda: Conflict("The same job waits or runs already")}


class JobReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(self, request: PageRequest) -> Page[QueuedJob]:
        """Return jobs that wait, run or have failed, newest first."""
        return await _JOBS.page(self._runner, {}, request)


class JobService:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def retry(self, job_id: int) -> None:
        """Put a failed job back into the queue. Raises NotFound, Conflict."""
        with translate_constraint_errors(_CONSTRAINTS):
            result: Any = await self._session.execute(_RETRY, {"id": job_id})
        if not result.rowcount:
            raise NotFound("Failed job not found")
        await self._session.commit()


class QueueStates:
    """The length and the age of the queue by kind of job, for the metrics."""

    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner
        names = [kind.name for kind in KINDS]
        self.counts: dict[tuple[str, ...], float] = dict.fromkeys(product(names, STATES), 0)
        """Kind and state to the number of jobs."""
        self.oldest_seconds: dict[tuple[str, ...], float] = {(name,): 0.0 for name in names}
        """Kind to how long its oldest job that is due has been waiting."""

    def followed(self) -> AbstractAsyncContextManager[None]:
        """Read them every 10 s until the context ends."""
        return polled(self._read, READ_INTERVAL_SECONDS)

    async def _read(self) -> None:
        rows = await self._runner.rows(_STATES)
        # Kinds without jobs have no row any more.
        self.counts |= dict.fromkeys(self.counts, 0)
        self.oldest_seconds |= dict.fromkeys(self.oldest_seconds, 0.0)
        for row in rows:
            self.counts |= {(row["kind"], state): row[state] for state in STATES}
            self.oldest_seconds[row["kind"],] = row["oldest"]
