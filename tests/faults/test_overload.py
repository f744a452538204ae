"""Ten times the load that the service can serve: it rejects the excess at once, and serves at full capacity."""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvloop

from tests.cli.process import Process
from tests.faults.conftest import ANIME, Postgres, busy_connections, report, service
from tests.faults.open_loop import OpenLoop, Result

pytestmark = pytest.mark.faults

USERS = 20
CLIENTS = 32
"""Enough to keep the service busy."""
OVERLOAD_FACTOR = 10
ROUNDS = 3
"""Measurements of the capacity and under overload, in turns: the speed of a shared machine varies."""
LOAD_SECONDS = 6
PAUSE_SECONDS = 10


def test_tenfold_load_is_served_at_capacity_and_the_rest_gets_503(
    postgres: Postgres, anime: list[str], tmp_path: Path
) -> None:
    with service(tmp_path, postgres.url) as running, separate_processors(running, postgres):
        request = request_factory(running.address, anime)
        run_load(running.address, request, lambda load: load.send_by_clients(CLIENTS, 3))  # warm-up
        capacities = [measure_capacity(running.address, request)]
        results: list[Result] = []
        seconds = 0.0
        for _ in range(ROUNDS):
            rate = OVERLOAD_FACTOR * capacities[-1]
            send = partial(OpenLoop.send_at_rate, rate=rate, seconds=LOAD_SECONDS)
            more, elapsed = run_load(running.address, request, send)
            results += more
            seconds += elapsed
            assert running.get("/health/live").status_code == 200
            capacities.append(measure_capacity(running.address, request))
        capacity = sum(capacities) / len(capacities)
        time.sleep(PAUSE_SECONDS)
        after, _ = run_load(running.address, request, lambda load: load.send_at_rate(capacity / 2, LOAD_SECONDS))
        served = [each for each in results if each.status in {200, 201}]
        rejected = [each for each in results if each.status == 503]
        share = len(served) / seconds / capacity
        report(
            f"{OVERLOAD_FACTOR} times the capacity of {capacity:.0f} requests/s: "
            f"served {share:.0%} of the capacity, median {percentile(served, 50):.2f} s, "
            f"p99 {percentile(served, 99):.2f} s; rejected {len(rejected) / seconds:.0f} requests/s, "
            f"median {percentile(rejected, 50):.2f} s, slowest {percentile(rejected, 100):.2f} s; half the capacity, "
            f"{PAUSE_SECONDS} s later: median {percentile(after, 50) * 1000:.0f} ms, "
            f"p99 {percentile(after, 99) * 1000:.0f} ms"
        )
        assert len(served) + len(rejected) == len(results), Counter(each.status for each in results)
        assert share >= 0.8
        assert percentile(rejected, 100) < 1
        assert {each.status for each in after} <= {200, 201}
        assert percentile(after, 99) < 0.5
        assert asyncio.run(busy_connections(postgres)) == 0


def measure_capacity(address: str, request: Callable[[], bytes]) -> float:
    """Return the requests per second that the service serves to clients that wait for each response."""
    results, seconds = run_load(address, request, lambda load: load.send_by_clients(CLIENTS, LOAD_SECONDS))
    assert {each.status for each in results} <= {200, 201}
    return len(results) / seconds


def run_load(
    address: str, request: Callable[[], bytes], work: Callable[[OpenLoop], Coroutine[Any, Any, float]]
) -> tuple[list[Result], float]:
    """Run a load, and return the results of its requests and the seconds of sending."""

    async def run() -> tuple[list[Result], float]:
        load = OpenLoop(address, request)
        seconds = await work(load)
        await load.close()
        return load.results, seconds

    return uvloop.run(run())


def percentile(results: list[Result], percent: int) -> float:
    """Return a percentile of the response times in seconds."""
    times = sorted(each.seconds for each in results)
    return times[min(len(times) * percent // 100, len(times) - 1)] if times else 0.0


def request_factory(address: str, anime: list[str]) -> Callable[[], bytes]:
    """Return a function that makes requests of some milliseconds: long pages, searches, progress."""
    chance = random.Random(1)  # noqa: S311 - a fixed seed
    tokens = []
    for number in range(USERS):
        body = {"email": f"user{number}@example.org", "password": "a long enough password"}
        tokens.append(httpx.post(f"http://{address}/auth/register", json=body).json()["access_token"])

    def as_user(method: str, path: str, body: object = None) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: kitsu\r\nAuthorization: Bearer {chance.choice(tokens)}\r\n"
        text = "" if body is None else json.dumps(body)
        kind = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n" if text else ""
        return f"{head}{kind}\r\n{text}".encode()

    def progress() -> bytes:
        body = {"anime_id": chance.choice(anime), "episode": 1, "position_seconds": chance.randrange(1000)}
        return as_user("POST", "/watch/progress", body)

    kinds: list[Callable[[], bytes]] = [
        lambda: as_user("GET", f"/anime?limit=100&offset={chance.randrange(ANIME // 2)}"),
        lambda: as_user("GET", f"/search/anime?q={chance.randrange(10, 100)}"),
        progress,
    ]

    def request() -> bytes:
        return chance.choice(kinds)()

    return request


@contextmanager
def separate_processors(running: Process, postgres: Postgres) -> Iterator[None]:
    """Give the clients one processor and the service the others, if there are two or more."""
    *others, last = sorted(os.sched_getaffinity(0))
    if others:
        for first in (psutil.Process(running.pid), postgres.postmaster):
            for process in [first, *first.children(recursive=True)]:
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, others)
        os.sched_setaffinity(0, [last])
    try:
        yield
    finally:
        os.sched_setaffinity(0, [*others, last])
