"""A storm of logins: reads of the catalogue keep at least half of their throughput."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import uvloop

from tests.faults.conftest import ANIME, Postgres, report, service
from tests.faults.open_loop import OpenLoop, Result
from tests.faults.test_overload import separate_processors
from tests.faults.traffic import CREDENTIALS

pytestmark = pytest.mark.faults

READERS = 16
READ_SECONDS = 8
LOGINS_PER_SECOND = 200
"""More than the password threads can check."""


def test_storm_of_logins_leaves_reads_half_of_their_throughput(postgres: Postgres, tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running, separate_processors(running, postgres):
        httpx.post(f"http://{running.address}/auth/register", json=CREDENTIALS).raise_for_status()
        alone, during, logins = uvloop.run(measure(running.address))
        statuses = Counter(each.status for each in logins)
        report(
            f"{LOGINS_PER_SECOND} logins a second: {during:.0f} reads a second of {alone:.0f} ({during / alone:.0%}); "
            f"logins {dict(statuses)}"
        )
        assert during >= alone / 2
        assert set(statuses) <= {200, 401, 503}
        assert statuses[200]
        assert statuses[503]


async def measure(address: str) -> tuple[float, float, list[Result]]:
    """Return the reads a second without and with logins, and the results of the logins."""
    await reads_per_second(address, 3)  # warm-up
    before = await reads_per_second(address, READ_SECONDS)
    logins = OpenLoop(address, login_request())
    async with asyncio.TaskGroup() as group:
        group.create_task(logins.send_at_rate(LOGINS_PER_SECOND, READ_SECONDS + 2))
        await asyncio.sleep(1)
        during = await reads_per_second(address, READ_SECONDS)
    await logins.close()
    # The speed of a shared machine varies.
    after = await reads_per_second(address, READ_SECONDS)
    return (before + after) / 2, during, logins.results


async def reads_per_second(address: str, seconds: float) -> float:
    """Return how many reads succeed. Some get 503 when logins fill the queue of requests."""
    chance = random.Random(1)  # noqa: S311 - a fixed seed

    def read() -> bytes:
        return f"GET /anime?limit=20&offset={chance.randrange(ANIME)} HTTP/1.1\r\nHost: kitsu\r\n\r\n".encode()

    reads = OpenLoop(address, read)
    taken = await reads.send_by_clients(READERS, seconds)
    await reads.close()
    statuses = Counter(each.status for each in reads.results)
    assert set(statuses) <= {200, 503}
    return statuses[200] / taken


def login_request() -> Callable[[], bytes]:
    """Return a function that makes logins, of which every second has the right password."""
    chance = random.Random(1)  # noqa: S311 - a fixed seed

    def request() -> bytes:
        body = json.dumps({**CREDENTIALS, **({"password": "a wrong password"} if chance.random() < 0.5 else {})})
        head = "POST /auth/login HTTP/1.1\r\nHost: kitsu\r\nContent-Type: application/json\r\nContent-Length: "
        return f"{head}{len(body)}\r\n\r\n{body}".encode()

    return request
