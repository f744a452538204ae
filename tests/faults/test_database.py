"""What happens to the database: it cuts connections, stops, freezes, is locked; two instances migrate it at once."""

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
from tests.faults.conftest import Postgres, connections, service, tell
from tests.faults.traffic import CREDENTIALS, UNUSED, Traffic
from tests.tcp_proxy import slow_proxy

pytestmark = pytest.mark.faults

CUT_SECONDS, CUT_EVERY = 60, 2
STOPPED, FROZEN, LOCKED = 10, 15, 10
CROWD = 200
LATE = (0.05, 0.3, 0.6, 0.9, 1.4)
"""Seconds that a database of a bad day takes for each answer."""
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
    ("POST", "/collections", {"name": "Seen on a slow day"}),
    ("POST", "/auth/login", CREDENTIALS),
    ("POST", "/auth/password", {"current_password": CREDENTIALS["password"], "new_password": CREDENTIALS["password"]}),
    ("POST", "/auth/logout", {"refresh_token": "none"}),
)


@contextmanager
def asked(running: Process) -> Iterator[httpx.Client]:
    """A client of its own."""
    with httpx.Client(base_url=f"http://{running.address}", trust_env=False, timeout=20) as client:
        yield client


async def test_connections_that_are_cut(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kitsu'"
    with service(tmp_path, postgres.url) as running:
        async with Traffic(running.address, anime) as traffic:
            for _ in range(CUT_SECONDS // CUT_EVERY):
                await asyncio.sleep(CUT_EVERY)
                await postgres.fetch(cut)
            await traffic.recovers(5)
        statuses = traffic.statuses()
        stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
        lost = set(traffic.acknowledged) - stored
        tell(f"connections cut {CUT_SECONDS // CUT_EVERY} times: {dict(statuses)}, {len(lost)} lost")
        assert set(statuses) <= {200, 201, 409, 503}
        assert statuses[503] < sum(statuses.values()) / 20
        assert not lost
        assert "Traceback" not in running.errors


async def test_stopped_database(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running, asked(running) as client:
        async with Traffic(running.address, anime) as traffic:
            await asyncio.sleep(1)
            await asyncio.to_thread(postgres.stop)
            gone = time.monotonic()
            await asyncio.sleep(1)
            ready = await asyncio.to_thread(client.get, "/health/ready")
            live = await asyncio.to_thread(client.get, "/health/live")
            refused = await asyncio.to_thread(client.get, "/anime")
            await asyncio.sleep(STOPPED - 2)
            back = time.monotonic()
            statuses, slowest = traffic.statuses(gone + 0.5), traffic.slowest(gone)
            await asyncio.to_thread(postgres.start)
            began = time.monotonic()
            again = await traffic.recovers(5)
        tell(
            f"stopped for {back - gone:.0f} s: {dict(statuses)}, slowest {slowest:.2f} s; "
            f"well again {again:.2f} s later"
        )
        assert (ready.status_code, live.status_code, refused.status_code) == (503, 200, 503)
        assert int(refused.headers["retry-after"]) > 0
        assert set(statuses) == {503}
        assert slowest < 3
        assert time.monotonic() - began < 30
        stored = {str(each) for each in await postgres.fetch("SELECT anime_id FROM favorites")}
        assert set(traffic.acknowledged) <= stored


async def test_frozen_database(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running, asked(running) as client:
        async with Traffic(running.address, anime, clients=30) as traffic:
            await asyncio.sleep(1)
            postgres.freeze()
            frozen = time.monotonic()
            logins = [asyncio.create_task(_login(running.address)) for _ in range(10)]
            await asyncio.sleep(FROZEN - 4)
            ready = await asyncio.to_thread(client.get, "/health/ready")
            live = await asyncio.to_thread(client.get, "/health/live")
            slow_logins = await asyncio.gather(*logins)
            statuses, slowest = traffic.statuses(frozen + 0.5), traffic.slowest(frozen)
            postgres.thaw()
            again = await traffic.recovers(5)
        tell(
            f"frozen for {FROZEN} s: {dict(statuses)}, slowest {slowest:.2f} s, "
            f"logins {max(slow_logins):.2f} s; well again {again:.2f} s later"
        )
        assert (ready.status_code, live.status_code) == (503, 200)
        assert set(statuses) == {503}
        assert max(slowest, *slow_logins) < Timeouts().command + 1
        assert await connections(postgres) == 0


async def _login(address: str) -> float:
    status, took = await _began(address, {}, "POST", "/auth/login", CREDENTIALS)
    assert status == 503
    return took


async def test_locked_table(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    with service(tmp_path, postgres.url) as running, asked(running) as client:
        async with Traffic(running.address, anime, clients=CROWD, pause=0.5) as traffic:
            await asyncio.sleep(1)
            connection: Any = await asyncpg.connect(postgres.plain)
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("LOCK TABLE favorites IN ACCESS EXCLUSIVE MODE")
            locked = time.monotonic()
            took = []
            while time.monotonic() < locked + LOCKED:
                began = time.monotonic()
                assert (await asyncio.to_thread(client.get, "/health/live")).status_code == 200
                took.append(time.monotonic() - began)
                await asyncio.sleep(0.2)
            writes = [answer for answer in traffic.answers if answer.is_write and answer.at > locked + 0.5]
            await transaction.rollback()
            await connection.close()
            again = await traffic.recovers(5)
        slowest = max(answer.took for answer in writes)
        # Two hundred clients share two processors with the service: the median says what it takes, the rest who waits.
        alive = sorted(took)[len(took) // 2]
        tell(
            f"locked for {LOCKED} s, {CROWD} clients: {len(writes)} writes refused, slowest {slowest:.2f} s, "
            f"liveness {alive * 1000:.0f} ms; well again {again:.2f} s later"
        )
        assert {answer.status for answer in writes} == {503}
        assert slowest < 3
        assert alive < 0.1
        assert await connections(postgres) == 0


async def test_slow_database(postgres: Postgres, anime: list[str], tmp_path: Path) -> None:
    """No statement takes too long, but a request of several would."""
    with slow_proxy(postgres.url) as proxy, service(tmp_path, proxy.url) as running:
        async with Traffic(running.address, anime, clients=1, pause=0.1) as traffic:
            figures = []
            for proxy.delay_seconds in LATE:
                answers = await asyncio.gather(*(_began(running.address, traffic.headers, *each) for each in REQUESTS))
                statuses, slowest = Counter(status for status, _ in answers), max(took for _, took in answers)
                figures.append(f"{proxy.delay_seconds * 1000:.0f} ms: {dict(statuses)}, slowest {slowest:.2f} s")
                assert set(statuses) <= {200, 201, 204, 503}
                assert slowest < 3
            proxy.delay_seconds = 0
            again = await traffic.recovers(5)
        tell(f"each answer of the database late by {'; '.join(figures)}; well again {again:.2f} s later")
        assert await connections(postgres) == 0
        assert '"level":"error"' not in running.output


async def _began(address: str, headers: dict[str, str], method: str, path: str, body: object) -> tuple[int, float]:
    """The status of an answer and the seconds until it came; an export's pieces may come later, or break off."""
    async with httpx.AsyncClient(
        base_url=f"http://{address}", trust_env=False, timeout=20, headers=headers, verify=UNUSED
    ) as client:
        began = time.monotonic()
        async with client.stream(method, path, json=body) as response:
            took = time.monotonic() - began
            with suppress(httpx.RemoteProtocolError):
                await response.aread()
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and not path.startswith("/health"):
            assert int(response.headers["retry-after"]) > 0
        return response.status_code, took


def test_two_instances_that_migrate_at_once(tmp_path: Path) -> None:
    with server_folder() as folder:
        postgres = Postgres(folder)
        try:
            migrations = [kitsu(tmp_path, "migrate", database=postgres.url) for _ in range(2)]
            with migrations[0] as one, migrations[1] as other:
                codes = one.ends(), other.ends()
                said = one.output + other.output
            revisions = asyncio.run(postgres.fetch("SELECT version_num FROM alembic_version"))
            tell(f"two migrations at once: {said!r}")
            assert codes == (0, 0)
            assert len(revisions) == 1
            with service(tmp_path, postgres.url), service(tmp_path, postgres.url) as second:
                assert second.get("/health/ready").status_code == 200
        finally:
            postgres.close()
