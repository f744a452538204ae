"""The registry of jobs: one function with `@runs` for each kind of job."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.domain.jobs import Job
from kitsu.settings import Settings

J = TypeVar("J", bound=Job)

MAX_DOUBLINGS = 20  # of a delay: many more are not in the range of timedelta


class RetryLater(Exception):
    """Raised by a job that can't run now: it is put back, and this is not a failure."""

    def __init__(self, delay: timedelta, reason: str) -> None:
        super().__init__(reason)
        self.delay = delay


class PermanentFailure(Exception):
    """Raised by a job that would fail each time: it is not retried."""


@dataclass(frozen=True)
class JobContext:
    """What the functions of jobs get besides the job: what the worker has for all of them."""

    engine: AsyncEngine
    settings: Settings


@dataclass(frozen=True)
class JobFunction:
    """A function that runs jobs of a kind."""

    kind: type[Job]
    function: Callable[[JobContext, Any], Awaitable[None]]
    limit: timedelta  # of one run; then it is cancelled, and has failed
    retries: int  # after a failure, each after twice the time of the one before
    first_delay: timedelta
    max_delay: timedelta
    at_once: int  # jobs of this kind that run at once, in all workers; 0: any number
    on_failure: Callable[[JobContext, Any, str], Awaitable[None]] | None  # called after the last failure

    def delay_after(self, attempts: int) -> timedelta:
        """Return the time before the next run; `attempts`: the failures before the current one."""
        return min(self.first_delay * (1 << min(attempts, MAX_DOUBLINGS)), self.max_delay)


JOBS: dict[str, JobFunction] = {}  # by the name of the kind


def runs(
    kind: type[J],
    *,
    limit: timedelta,
    retries: int = 5,
    first_delay: timedelta = timedelta(seconds=2),
    max_delay: timedelta = timedelta(minutes=10),
    at_once: int = 0,
    on_failure: Callable[[JobContext, J, str], Awaitable[None]] | None = None,
) -> Callable[[Callable[[JobContext, J], Awaitable[None]]], Callable[[JobContext, J], Awaitable[None]]]:
    """Register the function of a kind of job. It must be idempotent: the job of a killed worker runs again."""

    def register(function: Callable[[JobContext, J], Awaitable[None]]) -> Callable[[JobContext, J], Awaitable[None]]:
        JOBS[kind.name] = JobFunction(kind, function, limit, retries, first_delay, max_delay, at_once, on_failure)
        return function

    return register
