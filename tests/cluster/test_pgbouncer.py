"""The service behind PgBouncer in transaction mode."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import psutil
import pytest
from sqlalchemy.engine import URL

from tests.cli.process import Process, kitsu, server_folder, until
from tests.databases import column, connect, execute
from tests.pooler import pgbouncer

pytestmark = pytest.mark.cluster

THREADS, ROUNDS = 20, 15
CHANGES = 40
PASSWORD = "a long enough password"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def pooler(server: URL) -> Iterator[URL]:
    """Start PgBouncer with less connections than the service has."""
    with server_folder() as folder, pgbouncer(server, folder, default_pool_size="4") as url:
        yield url


def settings_of(pooler: URL, database: URL) -> dict[str, Any]:
    """Return the settings of a service behind the pooler."""
    return {
        "DATABASE_URL": pooler.set(database=database.database).render_as_string(hide_password=False),
        "DATABASE_DIRECT_URL": database.render_as_string(hide_password=False),
        "DB_POOLER": "transaction",
        "WORKERS": "2",
        "RATE_LIMIT_ENABLED": "false",
    }


@contextmanager
def service(folder: Path, pooler: URL, database: URL, **settings: str) -> Iterator[Process]:
    """Run the service behind the pooler, with two workers. Fails on a 500 in its log."""
    with kitsu(folder, "serve", **(settings_of(pooler, database) | settings)) as process:
        process.serves()
        yield process
        assert '"status":500' not in process.output


def play(address: str) -> list[tuple[str, int]]:
    """Write and read as one new user; return the requests that failed."""
    failed = []
    with httpx.Client(base_url=f"http://{address}", timeout=30, trust_env=False) as client:

        def send(method: str, path: str, **more: Any) -> httpx.Response:
            response = client.request(method, path, **more)
            if not response.is_success:
                failed.append((f"{method} {path}", response.status_code))
            return response

        account = {"email": f"{uuid4()}@example.org", "password": PASSWORD}
        tokens = send("POST", "/auth/register", json=account).json()
        ids = [each["id"] for each in send("GET", "/anime?limit=20").json()]
        for number in range(ROUNDS):
            client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            anime_id = ids[number % len(ids)]
            send("POST", "/favorites", json={"anime_id": anime_id})
            report = {"anime_id": anime_id, "episode": 1, "position_seconds": number}
            send("POST", "/watch/progress", json=report)
            send("PUT", f"/library/{anime_id}", json={"status": "watching", "score": 7})
            collection = send("POST", "/collections", json={"name": "c"}).json()["id"]
            send("PUT", f"/collections/{collection}/anime/{anime_id}")
            assert [each["id"] for each in send("GET", f"/collections/{collection}/anime").json()] == [anime_id]
            assert send("GET", "/watch/continue").json()[0]["anime_id"] == anime_id
            send("GET", f"/anime/{anime_id}")
            send("GET", "/search/anime?q=anime")
            send("GET", "/users/me/export")
            tokens = send("POST", "/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
    return failed


async def test_no_request_fails(pooler: URL, stocked: URL, tmp_path: Path) -> None:
    with service(tmp_path, pooler, stocked) as process, ThreadPoolExecutor(THREADS) as pool:
        loop = asyncio.get_running_loop()
        played = [loop.run_in_executor(pool, play, process.address) for _ in range(THREADS)]
        backup = [str(tmp_path / "kitsu.backup")]
        with kitsu(tmp_path, "backup", *backup, **settings_of(pooler, stocked)) as command:
            assert await asyncio.to_thread(command.ends) == 0, command.errors
        assert [failed for each in played for failed in await each] == []
    assert await column(stocked, "SELECT count(*) FROM favorites") == [THREADS * ROUNDS]


async def test_changes_reach_cached_responses_of_all_workers(pooler: URL, stocked: URL, tmp_path: Path) -> None:
    anime_id = str((await column(stocked, "SELECT id FROM anime LIMIT 1"))[0])
    with service(tmp_path, pooler, stocked) as process:
        for number in range(CHANGES):
            await execute(stocked, f"UPDATE anime SET year = {1950 + number} WHERE id = '{anime_id}'")
            await asyncio.sleep(0.2)
            # A new connection each: both workers get some.
            years = {process.get(f"/anime/{anime_id}").json()["year"] for _ in range(6)}
            assert years == {1950 + number}


async def test_killed_service_leaves_no_waiting_statement(pooler: URL, stocked: URL, tmp_path: Path) -> None:
    with service(tmp_path, pooler, stocked) as process, ThreadPoolExecutor(4) as pool:
        holder: asyncpg.Connection = await connect(stocked)
        await holder.execute("BEGIN; LOCK TABLE users")
        account = {"email": "kaguya@example.org", "password": PASSWORD}
        for number in range(4):
            body = account | {"email": f"{number}@example.org"}
            pool.submit(httpx.post, f"http://{process.address}/auth/register", json=body, timeout=30)
        await asyncio.to_thread(until, lambda: asyncio.run(column(stocked, WAITING)) != [0], "statements wait")
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            each.kill()
        began = time.monotonic()
        await asyncio.to_thread(until, lambda: asyncio.run(column(stocked, WAITING)) == [0], "none waits")
        assert time.monotonic() - began < 5
        await holder.close()


async def test_pooler_without_its_setting_is_refused(pooler: URL, stocked: URL, tmp_path: Path) -> None:
    settings = settings_of(pooler, stocked) | {"DB_POOLER": "none"}
    for command in ("serve", "check"):
        with kitsu(tmp_path, command, **settings) as process:
            assert await asyncio.to_thread(process.ends) == 1
            assert "set DB_POOLER=transaction" in process.output + process.errors


async def test_direct_address_of_a_pooler_leaves_no_stale_response(pooler: URL, stocked: URL, tmp_path: Path) -> None:
    anime_id = str((await column(stocked, "SELECT id FROM anime LIMIT 1"))[0])
    ignored = {"ignore_startup_parameters": "statement_timeout,lock_timeout,idle_in_transaction_session_timeout"}
    with server_folder() as folder, pgbouncer(stocked, folder, **ignored) as tolerant:
        url = tolerant.set(database=stocked.database).render_as_string(hide_password=False)
        with service(tmp_path, pooler, stocked, DATABASE_DIRECT_URL=url) as process:
            process.prints("change listener hears nothing")
            for number in range(5):
                await execute(stocked, f"UPDATE anime SET year = {1950 + number} WHERE id = '{anime_id}'")
                years = {process.get(f"/anime/{anime_id}").json()["year"] for _ in range(6)}
                assert years == {1950 + number}
        with kitsu(tmp_path, "check", **(settings_of(pooler, stocked) | {"DATABASE_DIRECT_URL": url})) as process:
            assert await asyncio.to_thread(process.ends) == 1
            assert "is a pooler" in process.output or "is the address of a pooler" in process.output
