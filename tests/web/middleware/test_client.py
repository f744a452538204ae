"""The budget for large bodies: a worker takes as many as fit and rejects the others; small ones always pass."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from kitsu.errors import ServiceUnavailable
from kitsu.web.middleware import client as module
from tests.application import client_of
from tests.observability.test_metrics import CREDENTIALS

LARGE_BODY_BUDGET_BYTES = 300 * 1024
LIST = b"<myanimelist>"


@asynccontextmanager
async def signed_in(database: URL, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client with a token."""
    async with client_of(database, **settings) as client:
        tokens = (await client.post("/auth/register", json=CREDENTIALS)).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield client


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the service a small budget for large bodies."""
    monkeypatch.setattr(module, "LARGE_BODY_BUDGET_BYTES", LARGE_BODY_BUDGET_BYTES)


@pytest.fixture
async def client(database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client with a token that may be slow."""
    async with signed_in(database, body_timeout_seconds=60) as client:
        yield client


class Upload:
    """A request whose body has arrived except for its last byte."""

    def __init__(self, client: httpx.AsyncClient, size: int) -> None:
        self._may_end = asyncio.Event()
        self._has_arrived = asyncio.Event()
        self.response = asyncio.create_task(client.post("/library/import?dry_run=true", content=self._pieces(size)))

    async def _pieces(self, size: int) -> AsyncIterator[bytes]:
        yield LIST
        yield b" " * (size - len(LIST) - 1)
        self._has_arrived.set()
        await self._may_end.wait()
        yield b" "

    async def has_arrived(self) -> None:
        """Wait until the body has arrived, or was rejected."""
        arrived = asyncio.create_task(self._has_arrived.wait())
        await asyncio.wait([arrived, self.response], return_when=asyncio.FIRST_COMPLETED)
        arrived.cancel()

    async def status(self) -> int:
        """Send the last byte and return the status."""
        self._may_end.set()
        return (await self.response).status_code


async def uploads(client: httpx.AsyncClient, *sizes: int) -> list[Upload]:
    """Start uploads of these sizes, one after the other."""
    started = []
    for size in sizes:
        started.append(Upload(client, size))
        await started[-1].has_arrived()
    return started


async def test_large_body_beyond_budget_gets_503(client: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        first, second, third = await uploads(
            client, LARGE_BODY_BUDGET_BYTES // 2, LARGE_BODY_BUDGET_BYTES // 2 + 3, LARGE_BODY_BUDGET_BYTES // 2
        )
    assert [(line["log_level"], line["event"]) for line in lines] == [("warning", "request rejected")]
    response = await second.response
    assert response.status_code == 503
    assert response.json()["code"] == ServiceUnavailable.code
    assert int(response.headers["retry-after"]) > 0
    assert not first.response.done()
    assert not third.response.done()
    assert (await first.status(), await third.status()) == (422, 422)  # the lists are incomplete


async def test_response_releases_its_budget(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        (taken,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
        (rejected,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
        assert await rejected.status() == 503
        assert await taken.status() == 422


async def test_cancelled_or_slow_upload_releases_its_budget(database: URL) -> None:
    async with signed_in(database, body_timeout_seconds=1) as client:
        (gone,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
        gone.response.cancel()
        await asyncio.gather(gone.response, return_exceptions=True)
        (slow,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
        assert (await slow.response).status_code == 408
        (last,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
        assert await last.status() in {408, 422}


async def test_small_bodies_use_no_budget(client: httpx.AsyncClient) -> None:
    (taken,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
    small = await uploads(client, *[module.SMALL_BODY_BYTES] * 10)
    assert [await each.status() for each in small] == [422] * 10
    (more,) = await uploads(client, module.SMALL_BODY_BYTES + 1)
    assert await more.status() == 503
    assert await taken.status() == 422
