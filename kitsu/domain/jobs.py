"""Enqueuing of jobs in the transaction that causes them, and the tables of the queue.

The tables are pgqueuer's, which documents them and the INSERT for programs that don't import it. Only `kitsu.jobs`
imports it.
"""

from typing import ClassVar

import msgspec
from sqlalchemy import BigInteger, DateTime, Integer, Text, column, table, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

QUEUE = table(
    "pgqueuer",
    column("id", BigInteger),
    column("entrypoint", Text),
    column("status", Text),
    column("attempts", Integer),
    column("created", DateTime(timezone=True)),
    column("updated", DateTime(timezone=True)),
    column("execute_after", DateTime(timezone=True)),
)
"""Jobs that wait (`queued`), run (`picked`) or have failed for good (`failed`). A finished job has no row."""
LOG = table(
    "pgqueuer_log",
    column("id", BigInteger),
    column("job_id", BigInteger),
    column("created", DateTime(timezone=True)),
    column("traceback", JSONB),
)
"""Each change of a job's status; also of finished jobs."""

_ENQUEUE = text("""
WITH job AS (
    INSERT INTO pgqueuer (entrypoint, payload, dedupe_key, priority, status)
    VALUES (:name, :payload, :key, 0, 'queued')
    ON CONFLICT (dedupe_key) WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL DO NOTHING
    RETURNING id, status, entrypoint, priority
)
INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority) SELECT id, status, entrypoint, priority FROM job
""")


class Job(msgspec.Struct, frozen=True):
    """A job with its arguments: ids, at most 2,000 bytes as JSON. A function in `kitsu.jobs` runs it."""

    name: ClassVar[str]


async def enqueue(session: AsyncSession, job: Job) -> None:
    """Add a job to the queue, in the session's transaction. A job that waits or runs already is not added again."""
    payload = msgspec.json.encode(job)
    values = {"name": job.name, "payload": payload, "key": f"{job.name} {payload.decode()}"}
    await session.execute(_ENQUEUE, values)
