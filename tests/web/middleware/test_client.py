"""The budgets for large bodies, of a worker and of a user: what does not fit is rejected; small ones always pass."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from kitsu.errors import ServiceUnavailable
from kitsu.web.middleware import bodies as module
from tests.accounts import bearer, register
from tests.application import client_of

USERS_BUDGET_BYTES = 300 * 1024
USER_SHARE_BYTES = 200 * 1024
GUESTS_BUDGET_BYTES = 250 * 1024
LIST = b"<myanimelist>"
PATH = "/library/import?dry_run=true"


@asynccontextmanager
async def signed_in(database: URL, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client with a token."""
    async with client_of(database, **settings) as client:
        client.headers.update(bearer(await register(client)))
        yield client


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the service a small budget for large bodies."""
    monkeypatch.setattr(module, "USERS_BUDGET_BYTES", USERS_BUDGET_BYTES)
    monkeypatch.setattr(module, "USER_SHARE_BYTES", USER_SHARE_BYTES)
    monkeypatch.setattr(module, "GUESTS_BUDGET_BYTES", GUESTS_BUDGET_BYTES)


@pytest.fixture
async def client(database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client with a token that may be slow."""
    async with signed_in(database, body_timeout_seconds=60) as client:
        yield client


class Upload:
    """A request whose body has arrived except for its last byte."""

    def __init__(
        self, client: httpx.AsyncClient, size: int, headers: dict[str, str] | None = None, path: str = PATH
    ) -> None:
        self._may_end = asyncio.Event()
        self._has_arrived = asyncio.Event()
        self.response = asyncio.create_task(client.post(path, content=self._pieces(size), headers=headers))

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


async def uploads(client: httpx.AsyncClient, *sizes: int, of: dict[str, str] | None = None) -> list[Upload]:
    """Start uploads of these sizes, one after the other. `of` has the token of another user."""
    started = []
    for size in sizes:
        started.append(Upload(client, size, of))
        await started[-1].has_arrived()
    return started


async def test_large_body_beyond_budget_gets_503(client: httpx.AsyncClient) -> None:
    sizes = (USERS_BUDGET_BYTES // 2, USERS_BUDGET_BYTES // 2 + 3, USERS_BUDGET_BYTES // 2)
    others = [bearer(await register(client, f"{number}@example.org")) for number in range(3)]
    with capture_logs() as lines:
        started = [await uploads(client, size, of=other) for size, other in zip(sizes, others, strict=True)]
    first, second, third = (each for (each,) in started)
    assert [(line["log_level"], line["event"], line["reason"]) for line in lines] == [
        ("warning", "request rejected", "large_bodies")
    ]
    response = await second.response
    assert response.status_code == 503
    assert response.json()["code"] == ServiceUnavailable.code
    assert int(response.headers["retry-after"]) > 0
    assert not first.response.done()
    assert not third.response.done()
    assert (await first.status(), await third.status()) == (422, 422)  # the lists are incomplete


async def test_response_releases_its_budget(client: httpx.AsyncClient) -> None:
    other = bearer(await register(client, "chika@example.org"))
    for _ in range(3):
        (taken,) = await uploads(client, USERS_BUDGET_BYTES)
        (rejected,) = await uploads(client, USERS_BUDGET_BYTES, of=other)
        assert await rejected.status() == 503
        assert await taken.status() == 422


async def test_cancelled_or_slow_upload_releases_its_budget(database: URL) -> None:
    async with signed_in(database, body_timeout_seconds=1) as client:
        (gone,) = await uploads(client, USERS_BUDGET_BYTES)
        gone.response.cancel()
        await asyncio.gather(gone.response, return_exceptions=True)
        (slow,) = await uploads(client, USERS_BUDGET_BYTES)
        assert (await slow.response).status_code == 408
        (last,) = await uploads(client, USERS_BUDGET_BYTES)
        assert await last.status() in {408, 422}


async def test_small_bodies_use_no_budget(client: httpx.AsyncClient) -> None:
    (taken,) = await uploads(client, USERS_BUDGET_BYTES)
    small = await uploads(client, *[module.SMALL_BODY_BYTES] * 10)
    assert [await each.status() for each in small] == [422] * 10
    (more,) = await uploads(client, module.SMALL_BODY_BYTES + 1)
    assert await more.status() == 429
    assert await taken.status() == 422


async def test_large_bodies_of_one_user_leave_room_for_others(client: httpx.AsyncClient) -> None:
    other = bearer(await register(client, "chika@example.org"))
    with capture_logs() as lines:
        slow = await uploads(client, USER_SHARE_BYTES // 2, USER_SHARE_BYTES // 2, module.SMALL_BODY_BYTES + 9)
    response = await slow[2].response
    assert (response.status_code, response.json()["code"]) == (429, "RATE_LIMITED")
    assert response.json()["message"] == "Other large requests of yours are in progress"
    assert response.headers["retry-after"] == "60"
    assert [line["reason"] for line in lines] == ["large_bodies_of_client"]
    (upload,) = await uploads(client, USERS_BUDGET_BYTES - USER_SHARE_BYTES, of=other)
    assert await upload.status() == 422
    assert [await each.status() for each in slow[:2]] == [422, 422]
    # They have returned what they held.
    assert [await each.status() for each in await uploads(client, USER_SHARE_BYTES // 2)] == [422]


async def test_single_body_may_be_larger_than_the_budget_of_a_user(client: httpx.AsyncClient) -> None:
    (upload,) = await uploads(client, USERS_BUDGET_BYTES)
    assert await upload.status() == 422


async def test_large_bodies_of_guests_leave_the_budget_to_users(database: URL) -> None:
    # Guests send lists there, and the tokens of another service.
    path, size = "/api/import/anilist", GUESTS_BUDGET_BYTES // 2
    async with signed_in(database, body_timeout_seconds=60, trusted_proxies=("127.0.0.0/8",)) as client:
        slow = []
        for address in ("198.51.100.1", "198.51.100.2", "198.51.100.3"):
            headers = {"Authorization": "Bearer x", "Content-Type": "application/json", "X-Forwarded-For": address}
            slow.append(Upload(client, size, headers, path))
            await slow[-1].has_arrived()
        assert await slow[2].status() == 503
        (upload,) = await uploads(client, USERS_BUDGET_BYTES)
        assert await upload.status() == 422
        assert [await each.status() for each in slow[:2]] == [422, 422]


async def test_large_bodies_of_a_network_of_guests_are_limited(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GUEST_SHARE_BYTES", 2 * module.SMALL_BODY_BYTES)
    headers = {"Authorization": "", "Content-Type": "application/json"}
    async with client_of(URL.create("postgresql+asyncpg")) as guest:
        first = Upload(guest, module.SMALL_BODY_BYTES + 9, headers, "/api/import/anilist")
        await first.has_arrived()
        second = Upload(guest, module.SMALL_BODY_BYTES + 9, headers, "/api/import/anilist")
        assert await second.status() == 429
        assert await first.status() == 422
