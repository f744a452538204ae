"""Faults of the database: closed connections, stop, freeze, lock, slow responses, and concurrent migrations."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from kitsu.db.engine import Timeouts
from tests.cli.process import Process, kitsu, server_folder
from tests.faults.conftest import Postgres, busy_connections, report, service
from tests.faults.traffic import CREDENTIALS, TLS_CONTEXT, Traffic
from tests.tcp_proxy import slow_proxy

pytestmark = pytest.mark.faults

TERMINATE_SECONDS, TERMINATE_INTERVAL_SECONDS = 60, 2
STOPPED_SECONDS, FROZEN_SECONDS, LOCKED_SECONDS = 10, 15, 10
CLIENTS = 200
DELAYS_SECONDS = (0.05, 0.3, 0.6, 0.9, 1.4)
"""Delays of each response of the database."""
REQUESTS: tuple[tuple[str, str, object], ...] = (
    ("GET", "/anime", None),
    ("GET", "/favorites", None),
    ("GET", "/watch/continue", None),
    ("GET", "/library", None),
    ("GET", "/collections", None),
    ("GET", "/users/me", None),
    ("GET", "/users/me/export", None),
    ("GET", "/health/ready", None),
    ("GET", "/health", None),
    ("PATCH", "/users/me", {"name": "Kaguya"}),
    ("POST", "/collections", {"name": "Slow"}),
    ("POST", "/auth/login", CREDENTIALS),
    ("POST", "/auth/password", {"current_password": CREDENTIALS["password"], "new_password": CREDENTIALS["password"]}),
    ("POST", "/auth/logout", {"refresh_token": "none"}),
)


@contextmanager
def client_of(running: Process) -> Iterator[httpx.Client]:
    """Yield an HTTP client of the service."""
    with httpx.Client(base_url=f"http://{running.address}", trust_env=False, timeout=20) as client:
        yield client


async def test_terminated_connections_lose_no_acknowledged_write(
    postgres: Postgres, anime: list[str], tmp_path: Path
) -> None:
    terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kitsu'"
    with service(tmp_path, postgres.url) as running:
        async with Traffic(running.address, anime) as traffic:
            for _ in range(TERMINATE_SECONDS // TERMINATE_INTERVAL_SECONDS):
                await asyncio.sleep(TERMINATE_INTERVAL_SECONDS)
                await postgres.fetch(terminate)
            await traffic.recovers(5)
        statuses = traffic.statuses()
        stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
        lost = set(traffic.acknowledged) - stored
        report(
            f"connections terminated {TERMINATE_SECONDS // TERMINATE_INTERVAL_SECONDS} times: "
            f"responses {dict(statuses)}, {len(lost)} acknowledged writes lost"
        )
        assert set(statuses) <= {200, 201, 409, 503}
        assert statuses[503] < sum(statuses.values()) / 20
        assert not lost
        assert "Traceback" not in running.errors


async def test_requests_get_503_while_database_is_stopped(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running, client_of(running) as client:
        async with Traffic(running.address, anime) as traffic:
            await asyncio.sleep(1)
            await asyncio.to_thread(postgres.stop)
            stopped = time.monotonic()
            await asyncio.sleep(1)
            ready = await asyncio.to_thread(client.get, "/health/ready")
            live = await asyncio.to_thread(client.get, "/health/live")
            refused = await asyncio.to_thread(client.get, "/anime")
            await asyncio.sleep(STOPPED_SECONDS - 2)
            restarted = time.monotonic()
            statuses, slowest = traffic.statuses(stopped + 0.5), traffic.slowest(stopped)
            await asyncio.to_thread(postgres.start)
            began = time.monotonic()
            recovery = await traffic.recovers(5)
        report(
            f"database stopped for {restarted - stopped:.0f} s: responses {dict(statuses)}, slowest {slowest:.2f} s; "
            f"recovered within {recovery:.2f} s"
        )
        assert (ready.status_code, live.status_code, refused.status_code) == (503, 200, 503)
        assert int(refused.headers["retry-after"]) > 0
        assert set(statuses) == {503}
        assert slowest < 3
        assert time.monotonic() - began < 30
        stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
        assert set(traffic.acknowledged) <= stored


async def test_requests_get_503_in_time_while_database_is_frozen(
    postgres: Postgres, anime: list[str], tmp_path: Path
) -> None:
    with service(tmp_path, postgres.url) as running, client_of(running) as client:
        async with Traffic(running.address, anime, clients=30) as traffic:
            await asyncio.sleep(1)
            postgres.freeze()
            frozen = time.monotonic()
            logins = [asyncio.create_task(_login(running.address)) for _ in range(10)]
            await asyncio.sleep(FROZEN_SECONDS - 4)
            ready = await asyncio.to_thread(client.get, "/health/ready")
            live = await asyncio.to_thread(client.get, "/health/live")
            slow_logins = await asyncio.gather(*logins)
            statuses, slowest = traffic.statuses(frozen + 0.5), traffic.slowest(frozen)
            postgres.thaw()
            recovery = await traffic.recovers(5)
        report(
            f"database frozen for {FROZEN_SECONDS} s: responses {dict(statuses)}, slowest {slowest:.2f} s, "
            f"logins {max(slow_logins):.2f} s; recovered within {recovery:.2f} s"
        )
        assert (ready.status_code, live.status_code) == (503, 200)
        assert set(statuses) == {503}
        assert max(slowest, *slow_logins) < Timeouts().command + 1
        assert await busy_connections(postgres) == 0


async def _login(address: str) -> float:
    """Log in, check that the response is 503, and return its seconds."""
    status, seconds = await _send(address, {}, "POST", "/auth/login", CREDENTIALS)
    assert status == 503
    return seconds


async def test_writes_to_locked_table_get_503_in_time(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running, client_of(running) as client:
        async with Traffic(running.address, anime, clients=CLIENTS, pause=0.5) as traffic:
            await asyncio.sleep(1)
            connection: Any = await asyncpg.connect(postgres.dsn)
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("LOCK TABLE favorites IN ACCESS EXCLUSIVE MODE")
            locked = time.monotonic()
            liveness = []
            while time.monotonic() < locked + LOCKED_SECONDS:
                began = time.monotonic()
                assert (await asyncio.to_thread(client.get, "/health/live")).status_code == 200
                liveness.append(time.monotonic() - began)
                await asyncio.sleep(0.2)
            writes = [each for each in traffic.results if each.is_write and each.ended_at > locked + 0.5]
            await transaction.rollback()
            await connection.close()
            recovery = await traffic.recovers(5)
        slowest = max(write.seconds for write in writes)
        # The clients share two processors with the service, so only the median shows the time of a response.
        median = sorted(liveness)[len(liveness) // 2]
        report(
            f"table locked for {LOCKED_SECONDS} s, {CLIENTS} clients: {len(writes)} writes refused, "
            f"slowest {slowest:.2f} s, median liveness {median * 1000:.0f} ms; recovered within {recovery:.2f} s"
        )
        assert {write.status for write in writes} == {503}
        assert slowest < 3
        assert median < 0.1
        assert await busy_connections(postgres) == 0


async def test_slow_database_delays_no_request_beyond_its_deadline(
    postgres: Postgres, anime: list[str], tmp_path: Path
) -> None:
    """Each statement stays within its timeout, but a request of several would exceed its deadline."""
    with slow_proxy(postgres.url) as proxy, service(tmp_path, proxy.url) as running:
        async with Traffic(running.address, anime, clients=1, pause=0.1) as traffic:
            figures = []
            for proxy.delay_seconds in DELAYS_SECONDS:
                results = await asyncio.gather(*(_send(running.address, traffic.headers, *each) for each in REQUESTS))
                statuses, slowest = Counter(status for status, _ in results), max(seconds for _, seconds in results)
                figures.append(f"{proxy.delay_seconds * 1000:.0f} ms: {dict(statuses)}, slowest {slowest:.2f} s")
                assert set(statuses) <= {200, 201, 204, 503}
                assert slowest < 3
            proxy.delay_seconds = 0
            recovery = await traffic.recovers(5)
        report(f"responses of the database delayed by {'; '.join(figures)}; recovered within {recovery:.2f} s")
        assert await busy_connections(postgres) == 0
        assert '"level":"error"' not in running.output


async def _send(address: str, headers: dict[str, str], method: str, path: str, body: object) -> tuple[int, float]:
    """Send a request, and return the status and the seconds until the head of the response."""
    async with httpx.AsyncClient(
        base_url=f"http://{address}", trust_env=False, timeout=20, headers=headers, verify=TLS_CONTEXT
    ) as client:
        began = time.monotonic()
        async with client.stream(method, path, json=body) as response:
            seconds = time.monotonic() - began
            # The body of an export may end early.
            with suppress(httpx.RemoteProtocolError):
                await response.aread()
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and not path.startswith("/health"):
            assert int(response.headers["retry-after"]) > 0
        return response.status_code, seconds


def test_concurrent_migrations_both_succeed(tmp_path: Path) -> None:
    with server_folder() as folder:
        postgres = Postgres(folder)
        try:
            migrations = [kitsu(tmp_path, "migrate", database=postgres.url) for _ in range(2)]
            with migrations[0] as one, migrations[1] as other:
                codes = one.ends(), other.ends()
                output = one.output + other.output
            revisions = asyncio.run(postgres.fetch("SELECT version_num FROM alembic_version"))
            report(f"two concurrent migrations: {output!r}")
            assert codes == (0, 0)
            assert len(revisions) == 1
            with service(tmp_path, postgres.url), service(tmp_path, postgres.url) as second:
                assert second.get("/health/ready").status_code == 200
        finally:
            postgres.close()
