"""The limit of concurrent requests: some wait in the queue, further ones get 503, and cheap paths stay available."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from kitsu.domain import concurrency
from kitsu.errors import ServiceUnavailable
from kitsu.observability.logs import RequestLines
from tests.application import ORIGIN, client_of
from tests.databases import connect, execute
from tests.db.waiting import run_other_tasks, soon, until
from tests.observability.test_metrics import CREDENTIALS, scrape, value
from tests.web.middleware.test_response_cache import ROWS, is_cached, until_async

AT_ONCE, WAITING = 2, 20
"""Slots and the queue of a worker with two connections."""


@pytest.fixture
async def client(database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """The application with two connections to the database."""
    await execute(database, *ROWS)
    few = {"db_pool_size": 1, "db_max_overflow": 1, "metrics_enabled": True, "catalogue_memory_mb": 1}
    async with client_of(database, **few, rate_limit_enabled=False) as client:
        await until_async(lambda: is_cached(client, "/anime"))
        yield client


@pytest.fixture
async def locked(database: URL, client: httpx.AsyncClient) -> AsyncIterator[asyncpg.Connection]:
    """Lock the anime table until the connection is closed."""
    connection = await connect(database)
    await connection.execute("BEGIN")
    await connection.execute("LOCK TABLE anime IN ACCESS EXCLUSIVE MODE")
    yield connection
    await connection.close()


async def send(client: httpx.AsyncClient, number: int, begin: int = 0) -> list[asyncio.Task[httpx.Response]]:
    """Send requests that read the table, and return when each has a slot, waits for one or is rejected."""
    tasks = [
        asyncio.create_task(client.get(f"/anime?offset={n}", headers={"Origin": ORIGIN, "X-Request-ID": f"ask-{n}"}))
        for n in range(begin, begin + number)
    ]
    await run_other_tasks()
    return tasks


async def completed(tasks: list[asyncio.Task[httpx.Response]], number: int) -> list[int]:
    """Return the statuses of the completed requests, once there are so many."""

    async def are_there() -> bool:
        return sum(task.done() for task in tasks) >= number

    await until(are_there)
    return [task.result().status_code for task in tasks if task.done()]


async def test_requests_beyond_queue_get_503_at_once(client: httpx.AsyncClient, locked: asyncpg.Connection) -> None:
    tasks = await send(client, AT_ONCE + WAITING + 6)
    assert await completed(tasks, 6) == [503] * 6
    await locked.close()
    assert Counter([(await task).status_code for task in tasks]) == {200: AT_ONCE + WAITING, 503: 6}


async def test_rejection_has_the_headers_of_other_errors(client: httpx.AsyncClient, locked: asyncpg.Connection) -> None:
    tasks = await send(client, AT_ONCE + WAITING)
    (rejection,) = await send(client, 1, begin=77)
    response = await soon(rejection)
    assert response.status_code == 503
    assert response.json() == {"code": ServiceUnavailable.code, "message": ServiceUnavailable.message, "details": None}
    # The same response as when the database is unavailable, except for its id.
    other = await client.get("/anime/x", headers={"Origin": ORIGIN, "X-Request-ID": "ask-77"})
    assert other.status_code == 503
    await locked.close()
    await asyncio.gather(*tasks)
    reference = await client.get("/nope", headers={"Origin": ORIGIN, "X-Request-ID": "ask-77"})
    assert dict(response.headers) == {
        **reference.headers,
        "content-length": str(len(response.content)),
        "retry-after": ServiceUnavailable.headers["Retry-After"],
    }


async def test_rejected_request_without_id_gets_a_new_one(
    client: httpx.AsyncClient, locked: asyncpg.Connection
) -> None:
    tasks = await send(client, AT_ONCE + WAITING)
    ids = {(await client.post("/favorites", json={})).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    await locked.close()
    await asyncio.gather(*tasks)


async def test_request_over_queue_timeout_gets_503(
    client: httpx.AsyncClient, locked: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrency, "QUEUE_TIMEOUT_SECONDS", 0.01)
    tasks = await send(client, AT_ONCE + 3)
    assert await completed(tasks, 3) == [503] * 3
    await locked.close()
    assert Counter([(await task).status_code for task in tasks]) == {200: AT_ONCE, 503: 3}


async def test_unlimited_paths_work_without_free_slots(client: httpx.AsyncClient, locked: asyncpg.Connection) -> None:
    tasks = await send(client, AT_ONCE + WAITING)
    for method, path, status in (
        *(("GET", "/health/live", 200), ("GET", "/health/ready", 200), ("GET", "/metrics", 200)),
        *(("GET", "/docs", 200), ("GET", "/openapi.json", 200), ("GET", "/media/avatars/none.webp", 404)),
        *(("OPTIONS", "/favorites", 204), ("GET", "/anime", 200), ("GET", "/nope", 503)),
    ):
        headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        assert (await client.request(method, path, headers=headers)).status_code == status, path
    # It waits for a connection, but not for a slot.
    health = asyncio.create_task(client.get("/health"))
    await run_other_tasks()
    assert not health.done()
    await locked.close()
    assert (await health).status_code == 200
    await asyncio.gather(*tasks)


async def test_slow_uploads_and_password_checks_hold_no_slots(client: httpx.AsyncClient) -> None:
    is_over = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await is_over.wait()
        yield b"}"

    slow = [asyncio.create_task(client.post("/auth/login", content=body())) for _ in range(3 * AT_ONCE)]
    logins = [asyncio.create_task(client.post("/auth/login", json=CREDENTIALS)) for _ in range(3 * AT_ONCE)]
    await run_other_tasks()
    assert (await client.get("/releases?limit=2")).status_code == 200
    is_over.set()
    assert Counter([(await task).status_code for task in slow]) == {422: len(slow)}
    assert Counter([(await task).status_code for task in logins]) == {401: len(logins)}
    assert value(await scrape(client), "kitsu_http_requests_in_flight") == 0


async def test_errors_that_wait_for_the_rest_of_a_body_hold_no_slots(client: httpx.AsyncClient) -> None:
    is_over = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        await is_over.wait()
        yield b"{}"

    slow = [asyncio.create_task(client.post("/favorites", content=body())) for _ in range(3 * AT_ONCE)]
    await run_other_tasks()
    assert (await client.get("/releases?limit=2")).status_code == 200
    assert not any(each.done() for each in slow)
    is_over.set()
    assert Counter([(await task).status_code for task in slow]) == {401: len(slow)}
    assert value(await scrape(client), "kitsu_http_requests_in_flight") == 0


async def test_slow_readers_of_streams_hold_no_slots(client: httpx.AsyncClient) -> None:
    tokens = (await client.post("/auth/register", json=CREDENTIALS)).json()
    app: Any = client._transport.app  # type: ignore[attr-defined] # noqa: SLF001 - httpx reads responses at once
    is_over, held = asyncio.Event(), 0

    async def all_held() -> bool:
        return held == 3 * AT_ONCE

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        async def send_slowly(message: Any) -> None:
            nonlocal held
            if message.get("more_body"):
                held += 1
                await is_over.wait()
            await send(message)

        await app(scope, receive, send_slowly)

    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(slow), base_url="http://kitsu.test") as reader:
        exports = [asyncio.create_task(reader.get("/users/me/export", headers=headers)) for _ in range(3 * AT_ONCE)]
        await until(all_held)
        assert (await client.get("/releases?limit=2")).status_code == 200
        assert not any(export.done() for export in exports)
        is_over.set()
        assert Counter([(await export).status_code for export in exports]) == {200: len(exports)}
    assert value(await scrape(client), "kitsu_http_requests_in_flight") == 0


async def test_rejections_are_counted_and_logged_once_a_second(
    client: httpx.AsyncClient, locked: asyncpg.Connection
) -> None:
    tasks = await send(client, AT_ONCE + WAITING)
    with patch.object(RequestLines, "write") as write, capture_logs() as logs:
        await asyncio.gather(*await send(client, 50, begin=100))
        assert write.call_count == 0

        async def all_logged() -> bool:
            return bool(sum(entry["count"] for entry in logs) >= 50)

        await until_async(all_logged)
    assert {(entry["log_level"], entry["event"]) for entry in logs} == {("warning", "requests rejected")}
    assert len(logs) <= 2
    assert (value(await scrape(client), "kitsu_http_requests_rejected_total") or 0) >= 50
    await locked.close()
    await asyncio.gather(*tasks)
    assert value(await scrape(client), "kitsu_http_requests_in_flight") == 0
