"""Clients that read nothing of a large response: memory, other clients, and disconnects."""

import asyncio
import json
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import psutil
import pytest

from kitsu.web.connections import STOP_READ_TIMEOUT_SECONDS
from tests.cli.process import Process
from tests.faults.conftest import Postgres, report, service, workers
from tests.faults.silent_readers import SilentReaders
from tests.faults.traffic import CREDENTIALS, Traffic

pytestmark = pytest.mark.faults

BUNDLE = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: kitsu\r\n\r\n"
ENTRIES = 20_000
"""Entries of the exported library; the export has more than 15 MB."""
MAX_GROWTH_BYTES = 100_000_000
MAX_SILENT_SECONDS = 30
ONE_WORKER = {"WORKERS": "1"}
"""One worker serves all clients, the worst case for its memory."""
SEND_SECONDS = 4
"""The requests of the silent clients are spread over this time: test_overload.py tests bursts."""
SMALL_SECONDS = 0.1
"""Shorter times vary by chance, because the clients share two processors with the service."""


async def test_guests_that_read_nothing_of_the_bundle_are_disconnected(
    postgres: Postgres, anime: list[str], tmp_path: Path
) -> None:
    with service(tmp_path, postgres.url, **ONE_WORKER) as running:
        async with Traffic(running.address, anime, clients=4, pause=0.02) as traffic:
            await check_silent_readers(running, traffic, "1,000 guests, bundle", [BUNDLE] * 1000)


@pytest.mark.parametrize("path", ["/users/me/export", "/library/export", "/library/export?format=mal"])
async def test_users_that_read_nothing_of_their_export_are_disconnected(
    postgres: Postgres, anime: list[str], tmp_path: Path, path: str
) -> None:
    with service(tmp_path, postgres.url, **ONE_WORKER) as running:
        async with Traffic(running.address, anime, clients=4, pause=0.02) as traffic:
            await fill_library(postgres)
            request = request_of(path, traffic.headers)
            assert (await read_export(running, path, traffic.headers)) > 10_000_000
            await check_silent_readers(running, traffic, f"300 users, {path}", [request] * 300)


async def test_stop_with_silent_readers_takes_under_five_seconds(postgres: Postgres, tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running:
        requests = [BUNDLE, b"GET /openapi.json HTTP/1.1\r\nHost: kitsu\r\n\r\n"] * 250
        async with SilentReaders(running.address, requests) as silent:
            await asyncio.sleep(3)
            assert silent.open_connections(workers(running)) == len(requests)
            began = time.monotonic()
            assert await asyncio.to_thread(running.ended_by, signal.SIGTERM) == 0
            seconds = time.monotonic() - began
        report(f"stop with {len(requests)} silent readers: {seconds:.1f} s")
        assert seconds < 5
        assert "Killing" not in running.output + running.errors


@pytest.mark.parametrize("is_stopping", [False, True], ids=["running", "stopping"])
async def test_slow_reader_gets_complete_response(postgres: Postgres, tmp_path: Path, *, is_stopping: bool) -> None:
    rate, seconds = (20_000, 40) if not is_stopping else (150_000, 0)
    with service(tmp_path, postgres.url, **ONE_WORKER) as running:
        size = len(running.get("/docs/assets/swagger-ui-bundle.js").content)
        host, _, port = running.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=8192)
        writer.write(BUNDLE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        if is_stopping:
            os.kill(running.pid, signal.SIGTERM)
        received, began = 0, time.monotonic()
        while received < size and (not seconds or time.monotonic() < began + seconds):
            piece = await reader.read(rate // 10)
            assert piece, f"disconnected after {time.monotonic() - began:.1f} s and {received} bytes"
            received += len(piece)
            await asyncio.sleep(0.1)
        report(f"client reading {rate} bytes/s: {received} of {size} bytes in {time.monotonic() - began:.0f} s")
        assert received == size or received >= rate * seconds * 0.7
        writer.close()
        if is_stopping:
            assert await asyncio.to_thread(running.ends) == 0


async def test_stop_lets_request_in_progress_finish(postgres: Postgres, tmp_path: Path) -> None:
    with service(tmp_path, postgres.url, DB_STATEMENT_TIMEOUT_MS="20000", DB_LOCK_TIMEOUT_MS="20000") as running:
        async with httpx.AsyncClient(base_url=f"http://{running.address}", trust_env=False, timeout=30) as client:
            connection: Any = await asyncpg.connect(postgres.dsn)
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("LOCK TABLE anime IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.create_task(client.get("/anime?limit=1"))
            await asyncio.sleep(0.5)
            os.kill(running.pid, signal.SIGTERM)
            await asyncio.sleep(STOP_READ_TIMEOUT_SECONDS + 2)
            await transaction.rollback()
            await connection.close()
            assert (await waiting).status_code == httpx.codes.OK
        assert await asyncio.to_thread(running.ends) == 0


async def check_silent_readers(running: Process, traffic: Traffic, name: str, requests: list[bytes]) -> None:
    """Send requests and read nothing; check memory, other clients and the disconnects."""
    (worker,) = workers(running)
    await asyncio.sleep(2)
    began = time.monotonic()
    await asyncio.sleep(5)
    before, rss = p99(traffic, began), worker.memory_info().rss
    async with memory_samples(worker) as peak:
        began = time.monotonic()
        async with SilentReaders(running.address, requests, pause=SEND_SECONDS / len(requests)) as silent:
            sent = time.monotonic() - began
            await asyncio.sleep(5)
            open_count, first_lines = silent.open_connections([worker]), silent.statuses()
            await silent.wait_until_closed([worker], MAX_SILENT_SECONDS)
            closed_after = time.monotonic() - began - sent
            during, slowest = p99(traffic, began), traffic.slowest(began)
            statuses = traffic.statuses(began)
    events = [json.loads(line) for line in running.output.splitlines() if '"response interrupted"' in line]
    report(
        f"{name}: {len(requests)} requests in {sent:.1f} s, {dict(first_lines)}, {open_count} open after 5 s, "
        f"all disconnected after {closed_after:.1f} s, {len(events)} log events; worker {rss / 1e6:.0f} MB, at most "
        f"{max(peak) / 1e6:.0f} MB; other clients: p99 {before * 1000:.0f} ms before, {during * 1000:.0f} ms during, "
        f"slowest {slowest * 1000:.0f} ms, responses {dict(statuses)}"
    )
    assert max(peak) - rss <= MAX_GROWTH_BYTES
    assert during <= max(2 * before, SMALL_SECONDS)
    assert closed_after <= MAX_SILENT_SECONDS
    assert set(statuses) <= {200, 201}
    assert events
    assert {event["reason"] for event in events} == {"client_timeout"}
    assert "Traceback" not in running.output + running.errors
    response = running.get("/docs/assets/swagger-ui-bundle.js")
    assert response.status_code == httpx.codes.OK


def p99(traffic: Traffic, since: float) -> float:
    """Return the 99th percentile of the response times in seconds."""
    return statistics.quantiles([result.seconds for result in traffic.results if result.ended_at >= since], n=100)[98]


@asynccontextmanager
async def memory_samples(worker: psutil.Process) -> AsyncIterator[list[int]]:
    """Yield a list of the worker's memory, measured ten times a second."""
    samples = [0]

    async def measure() -> None:
        while True:
            samples.append(worker.memory_info().rss)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(measure())
    try:
        yield samples
    finally:
        task.cancel()


async def fill_library(postgres: Postgres) -> None:
    """Give the only user a large library of anime with MyAnimeList ids."""
    user: UUID
    (user,) = await postgres.fetch("SELECT id FROM users WHERE email = $1", CREDENTIALS["email"])
    await postgres.fetch(
        "INSERT INTO external_ids (provider, external_id, anime_id) "
        "SELECT 'myanimelist', row_number() OVER (), id FROM anime"
    )
    await postgres.fetch(
        "INSERT INTO library_entries (id, user_id, anime_id, status, notes) "
        "SELECT gen_random_uuid(), $1, id, 'completed', repeat('note ', 40) FROM anime LIMIT $2",
        user,
        ENTRIES,
    )
    await postgres.fetch("ANALYZE")


def request_of(path: str, headers: dict[str, str]) -> bytes:
    """Return the bytes of a GET request."""
    lines = [f"GET {path} HTTP/1.1", "Host: kitsu", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def read_export(running: Process, path: str, headers: dict[str, str]) -> int:
    """Read an export, and return its size in bytes."""
    async with httpx.AsyncClient(base_url=f"http://{running.address}", trust_env=False, timeout=60) as client:
        began = time.monotonic()
        response = await client.get(path, headers=headers)
        assert response.status_code == httpx.codes.OK
        report(f"{path}: {len(response.content) / 1e6:.1f} MB in {time.monotonic() - began:.1f} s")
        return len(response.content)
