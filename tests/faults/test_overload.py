"""Ten times the load that can be served: most of it is refused at once, and the rest is served as ever."""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvloop

from tests.cli.process import Process
from tests.faults.conftest import ANIME, Postgres, connections, service, tell
from tests.faults.open_loop import OpenLoop, Took

pytestmark = pytest.mark.faults

USERS = 20
CLIENTS = 32
"""As many as it takes to keep the service busy."""
TIMES = 10
SECONDS = 10
REST = 10


def test_ten_times_the_load(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running, of_its_own(running, postgres):
        request = ordinary(running.address, anime)
        _, _ = measured(running.address, request, lambda load: load.by_clients(CLIENTS, 3))  # connections, plans
        capacity = able(running.address, request)
        storm, took = measured(running.address, request, lambda load: load.at_rate(TIMES * capacity, SECONDS))
        assert running.get("/health/live").status_code == 200
        time.sleep(REST)
        after, _ = measured(running.address, request, lambda load: load.at_rate(capacity / 2, SECONDS / 2))
        # A machine whose processors are shared is not as fast now as it was: once more behind it.
        later = able(running.address, request)
        served = [each for each in storm if each.status in {200, 201}]
        refused = [each for each in storm if each.status == 503]
        share = len(served) / took / ((capacity + later) / 2)
        tell(
            f"{TIMES} times {capacity:.0f} requests a second ({later:.0f} afterwards): {share:.0%} of them served, "
            f"after {at(served, 50):.2f} s (p99 {at(served, 99):.2f}); {len(refused) / took:.0f} a second refused, "
            f"after {at(refused, 50):.2f} s (slowest {at(refused, 100):.2f}); {REST} s later half of it takes "
            f"{at(after, 50) * 1000:.0f} ms (p99 {at(after, 99) * 1000:.0f})"
        )
        assert len(served) + len(refused) == len(storm), Counter(each.status for each in storm)
        assert share >= 0.8
        assert at(refused, 100) < 1
        assert {each.status for each in after} <= {200, 201}
        assert at(after, 99) < 0.5
        assert asyncio.run(connections(postgres)) == 0


def able(address: str, request: Callable[[], bytes]) -> float:
    """How many requests a second are served to clients who wait for their answers."""
    answers, took = measured(address, request, lambda load: load.by_clients(CLIENTS, SECONDS))
    assert {each.status for each in answers} <= {200, 201}
    return len(answers) / took


def measured(
    address: str, request: Callable[[], bytes], work: Callable[[OpenLoop], Coroutine[Any, Any, float]]
) -> tuple[list[Took], float]:
    """What the requests of a load came to, and how long it was sent."""

    async def run() -> tuple[list[Took], float]:
        load = OpenLoop(address, request)
        seconds = await work(load)
        await load.close()
        return load.answers, seconds

    return uvloop.run(run())


def at(answers: list[Took], percent: int) -> float:
    """The time within which so many of a hundred were answered."""
    took = sorted(each.seconds for each in answers)
    return took[min(len(took) * percent // 100, len(took) - 1)] if took else 0.0


def ordinary(address: str, anime: list[str]) -> Callable[[], bytes]:
    """What makes requests that cost some milliseconds each: long pages, searches, progress."""
    chosen = random.Random(1)  # noqa: S311 - the same requests each time
    tokens = []
    for number in range(USERS):
        body = {"email": f"user{number}@example.org", "password": "a long enough password"}
        tokens.append(httpx.post(f"http://{address}/auth/register", json=body).json()["access_token"])

    def as_user(method: str, path: str, body: object = None) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: kitsu\r\nAuthorization: Bearer {chosen.choice(tokens)}\r\n"
        text = "" if body is None else json.dumps(body)
        kind = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n" if text else ""
        return f"{head}{kind}\r\n{text}".encode()

    def progress() -> bytes:
        body = {"anime_id": chosen.choice(anime), "episode": 1, "position_seconds": chosen.randrange(1000)}
        return as_user("POST", "/watch/progress", body)

    kinds: list[Callable[[], bytes]] = [
        lambda: as_user("GET", f"/anime?limit=100&offset={chosen.randrange(ANIME // 2)}"),
        lambda: as_user("GET", f"/search/anime?q={chosen.randrange(10, 100)}"),
        progress,
    ]

    def request() -> bytes:
        return chosen.choice(kinds)()

    return request


@contextmanager
def of_its_own(running: Process, postgres: Postgres) -> Iterator[None]:
    """Clients and service have processors of their own, as if the clients were elsewhere, if there are two."""
    *most, last = sorted(os.sched_getaffinity(0))
    if most:
        for first in (psutil.Process(running.pid), postgres.postmaster):
            for process in [first, *first.children(recursive=True)]:
                for thread in process.threads():
                    os.sched_setaffinity(thread.id, most)
        os.sched_setaffinity(0, [last])
    try:
        yield
    finally:
        os.sched_setaffinity(0, [*most, last])
