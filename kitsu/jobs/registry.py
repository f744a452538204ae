"""The registry of jobs: one function with `@runs` for each kind of job."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.domain.jobs import Job

J = TypeVar("J", bound=Job)


class RetryLater(Exception):
    """Raised by a job that can't run now: it is put back, and this is not a failure."""

    def __init__(self, delay: timedelta, reason: str) -> None:
        super().__init__(reason)
        self.delay = delay


@dataclass(frozen=True)
class JobFunction:
    """A function that runs jobs of a kind."""

    kind: type[Job]
    function: Callable[[AsyncEngine, Any], Awaitable[None]]
    limit: timedelta  # of one run; then it is cancelled, and has failed
    retries: int  # after a failure, each after twice the time of the one before
    first_delay: timedelta
    at_once: int  # jobs of this kind that run at once, in all workers; 0: any number
    on_failure: Callable[[AsyncEngine, Any, str], Awaitable[None]] | None  # called after the last failure


JOBS: dict[str, JobFunction] = {}  # by the name of the kind


def runs(
    kind: type[J],
    *,
    limit: timedelta,
    retries: int = 5,
    first_delay: timedelta = timedelta(seconds=2),
    at_once: int = 0,
    on_failure: Callable[[AsyncEngine, J, str], Awaitable[None]] | None = None,
) -> Callable[[Callable[[AsyncEngine, J], Awaitable[None]]], Callable[[AsyncEngine, J], Awaitable[None]]]:
    """Register the function of a kind of job. It must be idempotent: the job of a killed worker runs again."""

    def register(function: Callable[[AsyncEngine, J], Awaitable[None]]) -> Callable[[AsyncEngine, J], Awaitable[None]]:
        JOBS[kind.name] = JobFunction(kind, function, limit, retries, first_delay, at_once, on_failure)
        return function

    return register
