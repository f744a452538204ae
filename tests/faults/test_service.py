"""Faults of the service and its clients: kills, growing memory, slow clients, stop under load, disconnects."""

import asyncio
import os
import random
import resource
import signal
import socket
import statistics
import struct
import time
from collections import Counter
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

import httpx
import psutil
import pytest

from tests.cli.process import until
from tests.faults.conftest import ANIME, Postgres, busy_connections, kill_all, report, service, workers
from tests.faults.traffic import Traffic

pytestmark = pytest.mark.faults

KILLS = 50
STOPS = 5
DISCONNECTS = 1000
SLOW_CLIENTS = 500
"""Of each kind."""
SMALL_SECONDS = 0.25
"""Shorter times vary by chance: the clients share the processors, and one of their event loops looks at all sockets."""


async def test_killed_service_loses_no_acknowledged_write(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    chance = random.Random(1)  # noqa: S311 - a fixed seed
    acknowledged: list[str] = []
    starts: list[float] = []
    for round_number in range(KILLS):
        began = time.monotonic()
        with service(tmp_path, postgres.url) as running:
            starts.append(time.monotonic() - began)
            part = anime[round_number * 300 : (round_number + 1) * 300]
            async with Traffic(running.address, part) as traffic:
                await asyncio.sleep(chance.uniform(0.1, 0.6))
                kill_all(running)
            acknowledged += traffic.acknowledged
    stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
    lost = set(acknowledged) - stored
    report(
        f"service killed {KILLS} times: {len(acknowledged)} acknowledged writes, {len(lost)} lost; "
        f"median start {statistics.median(starts):.1f} s, slowest {max(starts):.1f} s"
    )
    assert len(acknowledged) > KILLS
    assert not lost
    assert max(starts) < 5
    assert await busy_connections(postgres) == 0


async def test_killed_worker_is_replaced_and_loses_no_acknowledged_write(
    postgres: Postgres, anime: list[str], tmp_path: Path
) -> None:
    with service(tmp_path, postgres.url) as running:
        async with Traffic(running.address, anime, keep_alive=False) as traffic:
            await asyncio.sleep(1)
            before = {worker.pid for worker in workers(running)}
            os.kill(min(before), signal.SIGKILL)
            began = time.monotonic()
            await asyncio.to_thread(
                until, lambda: len({w.pid for w in workers(running)} - before) == 1, "a new worker started", 10
            )
            replacement = time.monotonic() - began
            await traffic.recovers(5)
            await asyncio.sleep(2)
        statuses = traffic.statuses()
        report(f"worker killed: replaced after {replacement:.1f} s; responses {dict(statuses)}")
        assert replacement < 5
        assert set(statuses) <= {0, 200, 201}
        # Only requests of the killed worker fail.
        assert statuses[0] <= 16
        stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
        assert set(traffic.acknowledged) <= stored


def megabytes(process: psutil.Process) -> int:
    """Return the resident memory in MiB, or 0 for a process that has ended."""
    with suppress(psutil.Error):
        return int(process.memory_info().rss >> 20)
    return 0


async def test_worker_above_memory_limit_is_replaced(postgres: Postgres, tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running:
        at_rest = max(map(megabytes, workers(running)))
    limit = at_rest + 60
    settings = {"WORKER_MEMORY_MB": str(limit), "CATALOGUE_MEMORY_MB": "1000"}
    with service(tmp_path, postgres.url, **settings) as running:
        first = {worker.pid for worker in workers(running)}
        largest = 0
        statuses: Counter[int] = Counter()
        async with httpx.AsyncClient(base_url=f"http://{running.address}", trust_env=False) as client:
            began = time.monotonic()
            # Each page adds a cached response.
            for offset in count():
                response = await client.get("/anime", params={"limit": 100, "offset": offset % ANIME})
                statuses[response.status_code] += 1
                running_workers = workers(running)
                largest = max(largest, *map(megabytes, running_workers))
                if not first & {worker.pid for worker in running_workers} and len(running_workers) == 2:
                    break
                assert time.monotonic() < began + 120, f"{largest} MB of {limit} after two minutes"
        seconds = time.monotonic() - began
        report(
            f"workers of {at_rest} MB with a limit of {limit} MB: at most {largest} MB, both replaced after "
            f"{seconds:.0f} s; {statuses.total()} requests: {dict(statuses)}"
        )
        assert set(statuses) == {200}
        running.serves()


def send_piece(connection: socket.socket, piece: bytes) -> bool:
    """Send a piece of the request; return whether the server neither responded nor closed the connection."""
    with suppress(OSError):
        connection.send(piece)
        try:
            connection.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
    return False


async def test_clients_with_incomplete_requests_are_disconnected_and_delay_no_others(
    postgres: Postgres, anime: list[str], tmp_path: Path
) -> None:
    """The clients send nothing, an endless header, or an endless body."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    body = (
        b"POST /auth/login HTTP/1.1\r\nHost: kitsu\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
    )
    kinds = {"silent": (b"", b""), "header": (b"GET /anime HTTP/1.1\r\n", b"X"), "body": (body, b" ")}
    with service(tmp_path, postgres.url) as running, ExitStack() as sockets:
        sockets.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        async with Traffic(running.address, anime, clients=4) as traffic:
            await asyncio.sleep(5)
            p99_before = p99(traffic, 0)
            began, ended = time.monotonic(), dict.fromkeys(kinds, 0.0)
            host, _, port = running.address.partition(":")
            open_connections = []
            for kind, (begin, piece) in kinds.items():
                for _ in range(SLOW_CLIENTS):
                    connection = sockets.enter_context(socket.create_connection((host, int(port))))
                    connection.sendall(begin)
                    open_connections.append((kind, piece, connection))
                await asyncio.sleep(0)
            since = time.monotonic()
            while open_connections and time.monotonic() < began + 30:
                await asyncio.sleep(0.5)
                for each in list(open_connections):
                    kind, piece, connection = each
                    if not send_piece(connection, piece):
                        open_connections.remove(each)
                        ended[kind] = time.monotonic() - began
            p99_during = p99(traffic, since)
        times = ", ".join(f"{kind} after {seconds:.1f} s" for kind, seconds in ended.items())
        report(
            f"{3 * SLOW_CLIENTS} clients with incomplete requests: disconnected: {times}; p99 of other clients "
            f"{p99_before * 1000:.0f} → {p99_during * 1000:.0f} ms, responses {dict(traffic.statuses())}"
        )
        assert not open_connections
        assert max(ended.values()) < 13
        assert set(traffic.statuses()) <= {200, 201}
        assert p99_during <= max(2 * p99_before, SMALL_SECONDS)
        assert traffic.slowest(since) < 2


def p99(traffic: Traffic, since: float) -> float:
    """Return the 99th percentile of the response times in seconds."""
    times = sorted(result.seconds for result in traffic.results if result.ended_at > since)
    return times[len(times) * 99 // 100]


@pytest.mark.parametrize(
    ("clients", "pause", "keep_alive"),
    [(16, 0.0, False), (16, 0.0, True), (200, 0.05, True)],
    ids=["new", "kept", "kept and idle at times"],
)
async def test_sigterm_under_load_leaves_no_request_without_response(
    postgres: Postgres, anime: list[str], tmp_path: Path, clients: int, pause: float, *, keep_alive: bool
) -> None:
    """The clients have new connections for each request, or keep them."""
    requests, cut, slowest = 0, 0, 0.0
    for number in range(STOPS):
        with service(tmp_path, postgres.url) as running:
            part = anime[number * 2_000 : (number + 1) * 2_000]
            async with Traffic(running.address, part, clients, pause=pause, keep_alive=keep_alive) as traffic:
                await asyncio.sleep(2)
                began = time.monotonic()
                running.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(running.process.wait, 40) == 0
                slowest = max(slowest, time.monotonic() - began)
            requests += len(traffic.results)
            cut += sum(each.is_cut for each in traffic.results)
        stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
        assert set(traffic.acknowledged) <= stored
    kind = "kept" if keep_alive else "new"
    report(
        f"SIGTERM under load, {STOPS} times, {clients} clients with {kind} connections: stopped in {slowest:.1f} s; "
        f"{requests} requests, {cut} without a response"
    )
    assert slowest < 30
    assert not cut


async def test_disconnected_clients_leave_no_connection_or_error(
    postgres: Postgres, anime: list[str], tmp_path: Path
) -> None:
    with service(tmp_path, postgres.url) as running:
        async with Traffic(running.address, anime, clients=1) as traffic:
            token = traffic.headers["Authorization"]
        host, _, port = running.address.partition(":")
        chosen = anime[-DISCONNECTS:]
        for number, anime_id in enumerate(chosen):
            body = f'{{"anime_id": "{anime_id}"}}'
            head = (
                f"POST /favorites HTTP/1.1\r\nHost: kitsu\r\nAuthorization: {token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            with socket.create_connection((host, int(port))) as connection:
                # Disconnect within the body, right after it, or 2 ms later; every second time with a reset.
                request = (head + body).encode()
                connection.sendall(request[: len(head) + 5] if number % 3 == 0 else request)
                if number % 3 == 2:
                    await asyncio.sleep(0.002)
                if number % 2:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        open_before = sum(len(worker.net_connections()) for worker in workers(running))
        await asyncio.sleep(2)
        busy, stored = await busy_connections(postgres), await postgres.fetch("SELECT anime_id FROM favorites")
        open_later = sum(len(worker.net_connections()) for worker in workers(running))
        report(
            f"{DISCONNECTS} clients disconnected: {len(stored)} writes stored, {busy} busy connections, "
            f"{open_before} → {open_later} sockets"
        )
        assert busy == 0
        assert open_later < 60
        assert '"level":"error"' not in running.output
        assert not [process for process in workers(running) if process.status() == psutil.STATUS_ZOMBIE]
        running.serves()
