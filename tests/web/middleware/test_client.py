"""Large bodies at once: as many as there is room for; the rest is told to come again, and small ones always pass."""

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
    """A client that is signed in."""
    async with client_of(database, **settings) as client:
        tokens = (await client.post("/auth/register", json=CREDENTIALS)).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield client


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the service take few large bodies at once."""
    monkeypatch.setattr(module, "LARGE_BODY_BUDGET_BYTES", LARGE_BODY_BUDGET_BYTES)


@pytest.fixture
async def client(database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is signed in, and may be slow."""
    async with signed_in(database, body_timeout_seconds=60) as client:
        yield client


class Upload:
    """A list on its way, all of which has arrived but for its end."""

    def __init__(self, client: httpx.AsyncClient, size: int) -> None:
        self._may_end = asyncio.Event()
        self._has_arrived = asyncio.Event()
        self.answer = asyncio.create_task(client.post("/library/import?dry_run=true", content=self._pieces(size)))

    async def _pieces(self, size: int) -> AsyncIterator[bytes]:
        yield LIST
        yield b" " * (size - len(LIST) - 1)
        self._has_arrived.set()
        await self._may_end.wait()
        yield b" "

    async def has_arrived(self) -> None:
        """Wait until it is here, or was refused."""
        arrived = asyncio.create_task(self._has_arrived.wait())
        await asyncio.wait([arrived, self.answer], return_when=asyncio.FIRST_COMPLETED)
        arrived.cancel()

    async def status(self) -> int:
        """What it is answered, at the end."""
        self._may_end.set()
        return (await self.answer).status_code


async def uploads(client: httpx.AsyncClient, *sizes: int) -> list[Upload]:
    """One after the other."""
    begun = []
    for size in sizes:
        begun.append(Upload(client, size))
        await begun[-1].has_arrived()
    return begun


async def test_what_there_is_no_room_for_is_refused(client: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        first, second, third = await uploads(
            client, LARGE_BODY_BUDGET_BYTES // 2, LARGE_BODY_BUDGET_BYTES // 2 + 3, LARGE_BODY_BUDGET_BYTES // 2
        )
    assert [(line["log_level"], line["event"]) for line in lines] == [("warning", "too many large bodies at once")]
    response = await second.answer
    assert response.status_code == 503
    assert response.json()["code"] == ServiceUnavailable.code
    assert int(response.headers["retry-after"]) > 0
    assert not first.answer.done()
    assert not third.answer.done()
    assert (await first.status(), await third.status()) == (422, 422)  # they are no whole lists


async def test_there_is_room_again_behind_each_answer(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        (taken,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
        (refused,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
        assert await refused.status() == 503
        assert await taken.status() == 422


async def test_upload_that_is_cancelled_or_too_slow_frees_its_room(database: URL) -> None:
    async with signed_in(database, body_timeout_seconds=1) as client:
        (gone,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
        gone.answer.cancel()
        await asyncio.gather(gone.answer, return_exceptions=True)
        (slow,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
        assert (await slow.answer).status_code == 408
        (last,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
        assert await last.status() in {408, 422}


async def test_small_bodies_need_no_room(client: httpx.AsyncClient) -> None:
    (taken,) = await uploads(client, LARGE_BODY_BUDGET_BYTES)
    small = await uploads(client, *[module.SMALL_BODY_BYTES] * 10)
    assert [await each.status() for each in small] == [422] * 10
    (more,) = await uploads(client, module.SMALL_BODY_BYTES + 1)
    assert await more.status() == 503
    assert await taken.status() == 422
