"""A worker with a blocked event loop logs its stacks, ends and is replaced. Busy and suspended workers stay."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.process import ROOT, Process, until
from tests.faults.conftest import Postgres, report, service, workers
from tests.faults.traffic import CREDENTIALS, Traffic

pytestmark = pytest.mark.faults

STALL_SECONDS = 2
BACKSTOP_SECONDS = STALL_SECONDS + 5
SETTINGS = {"WORKER_STALL_SECONDS": str(STALL_SECONDS)}
BLOCKING = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "blocking"), str(ROOT)])}
ENTRIES = 5_000  # the most that a request imports itself
"""Entries of the imported list; two thirds are in the catalogue."""


def pids(running: Process) -> set[int]:
    """Return the process ids of the workers."""
    return {worker.pid for worker in workers(running)}


def wait_for_replacement(running: Process, blocked: int, before: set[int]) -> float:
    """Wait until a new worker runs beside the one that was not blocked, and return the seconds."""
    began = time.monotonic()
    until(lambda: blocked not in pids(running), "the blocked worker ended", BACKSTOP_SECONDS + 5)
    seconds = time.monotonic() - began
    until(lambda: len(pids(running)) == len(before), "a new worker runs")
    assert before - {blocked} < pids(running)
    return seconds


def stalls(running: Process) -> list[dict[str, Any]]:
    """Return the log events of the guard."""
    return [json.loads(line) for line in running.output.splitlines() if '"worker stalled"' in line]


@pytest.mark.parametrize(
    ("number", "function", "seconds"),
    [
        pytest.param(signal.SIGUSR1, "spin_forever", STALL_SECONDS, id="python"),
        pytest.param(signal.SIGUSR2, "backtrack_forever", BACKSTOP_SECONDS, id="c_code_with_gil"),
    ],
)
async def test_blocked_worker_is_replaced(
    postgres: Postgres, anime: list[str], tmp_path: Path, number: int, function: str, seconds: int
) -> None:
    with service(tmp_path, postgres.url, **SETTINGS, **BLOCKING) as running:
        before = pids(running)
        blocked = min(before)
        # The kernel gives half of the new connections to the blocked worker, where their requests wait.
        async with Traffic(running.address, anime, keep_alive=False) as traffic:
            await asyncio.sleep(0.5)
            began = time.monotonic()
            os.kill(blocked, number)
            responses = asyncio.create_task(count_responses(running, seconds - 0.5))
            ended_after = await asyncio.to_thread(wait_for_replacement, running, blocked, before)
            served = await responses
            await traffic.recovers(5)
        failed = traffic.statuses(began)[0]
        report(
            f"{function}: worker ended after {ended_after:.1f} s; {served} requests served meanwhile, {failed} failed"
        )
        assert seconds - 0.5 < ended_after < seconds + 3
        assert served > 0
        if number == signal.SIGUSR1:
            (event,) = stalls(running)
            assert (event["level"], event["seconds"]) == ("critical", STALL_SECONDS)
            assert function in "\n".join(event["stacks"])
        else:
            assert not stalls(running)
            assert f"in {function}" in running.errors


async def count_responses(running: Process, seconds: float) -> int:
    """Send requests on new connections for the given time, and return how many got 200."""
    served, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        # Connections to the blocked worker time out.
        async with httpx.AsyncClient(base_url=f"http://{running.address}", trust_env=False, timeout=0.3) as client:
            with suppress(httpx.TransportError):
                served += (await client.get("/anime?limit=1")).status_code == httpx.codes.OK
    return served


async def test_busy_worker_is_not_replaced(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    await postgres.fetch(
        "INSERT INTO external_ids (provider, external_id, anime_id) "
        "SELECT 'myanimelist', row_number() OVER (), id FROM anime"
    )
    with service(tmp_path, postgres.url, **SETTINGS, DB_STATEMENT_TIMEOUT_MS="60000") as running:
        before = pids(running)
        async with httpx.AsyncClient(base_url=f"http://{running.address}", trust_env=False, timeout=60) as client:
            await client.post("/auth/register", json=CREDENTIALS)
            # An import locks the row of its user, so another user logs in.
            importer = CREDENTIALS | {"email": "importer@example.org"}
            token = (await client.post("/auth/register", json=importer)).json()["access_token"]
            began = time.monotonic()
            headers = {"Authorization": f"Bearer {token}"}
            imported = client.post("/library/import", content=large_list(), headers=headers)
            users = [CREDENTIALS | {"email": f"user{number}@example.org"} for number in range(60)]
            registrations = [client.post("/auth/register", json=user) for user in users]
            logins = [client.post("/auth/login", json=CREDENTIALS) for _ in range(30)]
            responses = await asyncio.gather(imported, *registrations, *logins)
            while (seconds := time.monotonic() - began) < 2 * STALL_SECONDS:
                responses += await asyncio.gather(*(client.post("/auth/login", json=CREDENTIALS) for _ in range(30)))
        statuses = [response.status_code for response in responses]
        report(f"import of {ENTRIES} entries and logins for {seconds:.1f} s: {dict(Counter(statuses))}")
        assert statuses[0] == httpx.codes.OK
        assert set(statuses) <= {200, 201, 503}
        assert seconds > STALL_SECONDS
        assert pids(running) == before
        assert not stalls(running)


def large_list() -> bytes:
    """Return a MyAnimeList export of about 2 MB."""
    entry = (
        "<anime><series_animedb_id>{0}</series_animedb_id><series_title>{0}</series_title>"
        "<my_watched_episodes>3</my_watched_episodes><my_score>7</my_score><my_status>Watching</my_status>"
        "<my_comments>" + "note " * 30 + "</my_comments></anime>"
    )
    entries = "".join(entry.format(number) for number in range(1, ENTRIES + 1))
    return f"<myanimelist><myinfo><user_export_type>1</user_export_type></myinfo>{entries}</myanimelist>".encode()


async def test_suspended_worker_is_not_replaced(postgres: Postgres, tmp_path: Path) -> None:
    with service(tmp_path, postgres.url, **SETTINGS) as running:
        before = pids(running)
        suspended = min(before)
        os.kill(suspended, signal.SIGSTOP)
        await asyncio.sleep(STALL_SECONDS * 2)
        os.kill(suspended, signal.SIGCONT)
        await asyncio.sleep(STALL_SECONDS + 1)
        assert pids(running) == before
        assert not stalls(running)
        assert "Timeout" not in running.errors
