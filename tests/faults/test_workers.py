"""Workers that are killed again and again, and settings with which no worker can run."""

import asyncio
import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.cli.process import Process, kitsu, until
from tests.faults.conftest import Postgres, report, service, workers
from tests.faults.traffic import Traffic

pytestmark = pytest.mark.faults

KILLS = 6
GRANIAN_SECONDS = 5.5
"""A worker that ended twice within this time ended the service."""


def worker_beside(running: Process, others: set[int]) -> int:
    """Wait until a worker runs beside the others, and return its process id."""
    return until(lambda: next(iter({each.pid for each in workers(running)} - others), 0), "a new worker runs", 15)


async def test_worker_killed_again_and_again_is_replaced(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    """Every second time it is killed while it starts, otherwise when it serves."""
    with service(tmp_path, postgres.url) as running:
        killed, other = sorted(worker.pid for worker in workers(running))
        async with Traffic(running.address, anime, keep_alive=False) as traffic:
            times = []
            for number in range(KILLS):
                os.kill(killed, signal.SIGKILL)
                times.append(time.monotonic())
                killed = await asyncio.to_thread(worker_beside, running, {other, killed})
                if number % 2:
                    await asyncio.sleep(2.5)
            await traffic.recovers(5)
            await asyncio.sleep(GRANIAN_SECONDS)
            statuses = traffic.statuses()
        pause = max(later - before for before, later in pairwise(times))
        report(f"the same worker killed {KILLS} times, within {pause:.1f} s each: responses {dict(statuses)}")
        assert pause < GRANIAN_SECONDS
        assert {each.pid for each in workers(running)} == {other, killed}
        assert set(statuses) <= {0, 200, 201}
        # Only requests of the killed worker fail.
        assert statuses[0] <= 8 * KILLS
        stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
        assert set(traffic.acknowledged) <= stored


def test_memory_limit_that_cannot_work_is_refused_at_start(postgres: Postgres, tmp_path: Path) -> None:
    with kitsu(tmp_path, "serve", database=postgres.url, WORKERS="2", WORKER_MEMORY_MB="100") as running:
        began = time.monotonic()
        assert running.ends() == 1
        seconds = time.monotonic() - began
        refusal = running.errors.splitlines()[-1]
    report(f"a memory limit below a worker at rest: refused after {seconds:.1f} s: {refusal}")
    assert refusal.startswith("Error: WORKER_MEMORY_MB is 100, but a worker takes ")
