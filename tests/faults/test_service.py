"""What happens to the service: it is killed, a worker is killed, it is told to end, its clients hang up."""

import asyncio
import os
import random
import resource
import signal
import socket
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
from tests.faults.conftest import ANIME, Postgres, connections, killed, service, tell, workers
from tests.faults.traffic import Traffic

pytestmark = pytest.mark.faults

KILLS = 50
HANG_UPS = 1000
SILENT = 500
"""Clients of each kind that never say all."""


async def test_kill_of_the_whole_service(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    chosen = random.Random(1)  # noqa: S311 - the same moments each time
    acknowledged: list[str] = []
    starts: list[float] = []
    for round_number in range(KILLS):
        began = time.monotonic()
        with service(tmp_path, postgres.url) as running:
            starts.append(time.monotonic() - began)
            part = anime[round_number * 300 : (round_number + 1) * 300]
            async with Traffic(running.address, part) as traffic:
                await asyncio.sleep(chosen.uniform(0.1, 0.6))
                killed(running)
            acknowledged += traffic.acknowledged
    stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
    lost = set(acknowledged) - stored
    tell(
        f"{KILLS} kills: {len(acknowledged)} acknowledged, {len(lost)} lost, serving after {max(starts):.1f} s at most"
    )
    assert len(acknowledged) > KILLS
    assert not lost
    assert max(starts) < 5
    assert await connections(postgres) == 0


async def test_kill_of_a_worker(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running:
        async with Traffic(running.address, anime, keep_alive=False) as traffic:
            await asyncio.sleep(1)
            before = {worker.pid for worker in workers(running)}
            os.kill(min(before), signal.SIGKILL)
            began = time.monotonic()
            await asyncio.to_thread(
                until, lambda: len({w.pid for w in workers(running)} - before) == 1, "a new one", 10
            )
            again = time.monotonic() - began
            await traffic.recovers(5)
            await asyncio.sleep(2)
        statuses = traffic.statuses()
        tell(f"kill of a worker: a new one after {again:.1f} s; answers {dict(statuses)}")
        assert again < 5
        assert set(statuses) <= {0, 200, 201}
        # What the killed one held in its hands; the other one serves on.
        assert statuses[0] <= 16
        stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
        assert set(traffic.acknowledged) <= stored


def megabytes(process: psutil.Process) -> int:
    """What it has in memory; 0 for one that has just ended."""
    with suppress(psutil.Error):
        return int(process.memory_info().rss >> 20)
    return 0


async def test_a_worker_that_grows(postgres: Postgres, tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running:
        at_rest = max(map(megabytes, workers(running)))
    limit = at_rest + 40
    grown = {"WORKER_MEMORY_MB": str(limit), "CATALOGUE_MEMORY_MB": "1000"}
    with service(tmp_path, postgres.url, **grown) as running:
        first = {worker.pid for worker in workers(running)}
        largest = 0
        statuses: Counter[int] = Counter()
        async with httpx.AsyncClient(base_url=f"http://{running.address}", trust_env=False) as client:
            began = time.monotonic()
            # Each page is another answer to keep.
            for offset in count():
                try:
                    response = await client.get("/anime", params={"limit": 100, "offset": offset % ANIME})
                    statuses[response.status_code] += 1
                except httpx.RemoteProtocolError:
                    # A connection that is kept is closed as the next request comes: browsers and proxies ask again.
                    statuses[0] += 1
                living = workers(running)
                largest = max(largest, *map(megabytes, living))
                if not first & {worker.pid for worker in living} and len(living) == 2:
                    break
                assert time.monotonic() < began + 120, f"{largest} MB of {limit} after two minutes"
        took = time.monotonic() - began
        tell(
            f"workers of {at_rest} MB with a limit of {limit}: at most {largest} MB, both replaced after {took:.0f} s "
            f"and {statuses.total()} requests: {dict(statuses)}"
        )
        assert set(statuses) <= {0, 200}
        assert statuses[0] <= len(first)
        running.serves()


def drip(connection: socket.socket, piece: bytes) -> bool:
    """Send some more; whether the other end still listens. Whatever it is told, such as 408, is the end."""
    with suppress(OSError):
        connection.send(piece)
        try:
            connection.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
    return False


async def test_clients_that_say_little(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    """Nothing, a header that never ends, a body that never ends: others do not wait behind them."""
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
            alone = p99(traffic, 0)
            began, ended = time.monotonic(), dict.fromkeys(kinds, 0.0)
            host, _, port = running.address.partition(":")
            open_ones = []
            for kind, (begin, piece) in kinds.items():
                for _ in range(SILENT):
                    connection = sockets.enter_context(socket.create_connection((host, int(port))))
                    connection.sendall(begin)
                    open_ones.append((kind, piece, connection))
                await asyncio.sleep(0)
            since = time.monotonic()
            while open_ones and time.monotonic() < began + 30:
                await asyncio.sleep(0.5)
                for each in list(open_ones):
                    kind, piece, connection = each
                    if not drip(connection, piece):
                        open_ones.remove(each)
                        ended[kind] = time.monotonic() - began
            beside = p99(traffic, since)
        said = ", ".join(f"{kind} cut off within {seconds:.1f} s" for kind, seconds in ended.items())
        tell(f"{3 * SILENT} clients that say little: {said}; p99 of others {alone * 1000:.0f} → {beside * 1000:.0f} ms")
        assert not open_ones
        assert max(ended.values()) < 13
        assert set(traffic.statuses()) <= {200, 201}
        assert traffic.slowest(since) < 2


def p99(traffic: Traffic, since: float) -> float:
    took = sorted(answer.took for answer in traffic.answers if answer.at > since)
    return took[len(took) * 99 // 100]


async def test_end_under_load(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running:
        # Each request has a connection of its own: it is answered whole, or refused when nobody listens any more.
        async with Traffic(running.address, anime, clients=16, keep_alive=False) as traffic:
            await asyncio.sleep(1)
            began = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(running.ends)
            took = time.monotonic() - began
            refused = [answer for answer in traffic.answers if answer.status == 0]
        cut = [answer for answer in refused if answer.took > 0.05 and answer.at < began + took]
        tell(f"SIGTERM under load: exit {code} after {took:.1f} s; {len(traffic.answers)} answers, {len(cut)} cut off")
        assert code == 0
        assert took < 30
        assert not cut
        stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
        assert stored == set(traffic.acknowledged)


async def test_clients_that_hang_up(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running:
        async with Traffic(running.address, anime, clients=1) as traffic:
            token = traffic.headers["Authorization"]
        host, _, port = running.address.partition(":")
        wanted = anime[-HANG_UPS:]
        for number, anime_id in enumerate(wanted):
            body = f'{{"anime_id": "{anime_id}"}}'
            head = (
                f"POST /favorites HTTP/1.1\r\nHost: kitsu\r\nAuthorization: {token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            with socket.create_connection((host, int(port))) as connection:
                # Within the body, right behind it, or a moment later; some with a reset.
                whole = (head + body).encode()
                connection.sendall(whole[: len(head) + 5] if number % 3 == 0 else whole)
                if number % 3 == 2:
                    await asyncio.sleep(0.002)
                if number % 2:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        open_files = sum(len(worker.net_connections()) for worker in workers(running))
        await asyncio.sleep(2)
        busy, stored = await connections(postgres), await postgres.fetch("SELECT anime_id FROM favorites")
        left = sum(len(worker.net_connections()) for worker in workers(running))
        tell(
            f"{HANG_UPS} clients hung up: {len(stored)} writes whole, {busy} busy connections, "
            f"{open_files} → {left} sockets"
        )
        assert busy == 0
        assert left < 60
        assert '"level":"error"' not in running.output
        assert not [process for process in workers(running) if process.status() == psutil.STATUS_ZOMBIE]
        running.serves()
