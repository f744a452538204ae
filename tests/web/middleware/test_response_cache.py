"""Cached responses of the catalogue: they are current, or read from the database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import patch

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.db.statements import StatementRunner
from kitsu.web.middleware.response_cache import ENTRY_OVERHEAD_BYTES, CachedResponse, ResponseCache
from tests.application import client_of
from tests.assertions import statements
from tests.databases import connect, execute

ANIME = "10000000-0000-4000-8000-000000000001"
RELEASE = "20000000-0000-4000-8000-000000000001"
EPISODE = "30000000-0000-4000-8000-000000000001"
ROWS = (
    f"INSERT INTO anime (id, title) VALUES ('{ANIME}', 'A work')",
    f"INSERT INTO releases (id, anime_id, title) VALUES ('{RELEASE}', '{ANIME}', 'TV')",
    f"INSERT INTO episodes (id, release_id, number) VALUES ('{EPISODE}', '{RELEASE}', 1)",
)
CACHED = (
    *("/anime", "/anime/", "/anime?limit=1&sort=-score&total=true", f"/anime/{ANIME}", "/releases"),
    *(f"/releases?anime_id={ANIME}", f"/releases/{RELEASE}", f"/episodes?release_id={RELEASE}"),
    *("/search/suggest?q=work", "/genres", "/studios", "/seasons"),
)
UNCACHED = ("/search/anime?q=work", "/anime?limit=0", "/health", "/docs", "/anime/10000000-0000-4000-8000-00000000000f")
LISTENER = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND (query LIKE 'LISTEN%' OR application_name = 'kitsu' AND query = 'SELECT 1')"
)


@pytest.fixture
async def rows(database: URL) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection to the database, which has one row of each table of the catalogue."""
    await execute(database, *ROWS)
    connection = await connect(database)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def shared(module_database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application with a cache, for tests that change no row."""
    await execute(module_database, *ROWS)
    async with client_of(module_database, catalogue_memory_mb=1) as client:
        await until_async(lambda: is_cached(client, "/anime"))
        yield client


@pytest.fixture
async def client(database: URL, rows: asyncpg.Connection) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application with a cache, once the cache is on."""
    async with client_of(database, catalogue_memory_mb=1) as client:
        await until_async(lambda: is_cached(client, "/anime"))
        yield client


async def is_cached(client: httpx.AsyncClient, path: str) -> bool:
    """Return whether a response needed no statement."""
    with statements() as sent:
        await client.get(path)
    return not sent


async def is_not_cached(client: httpx.AsyncClient, path: str) -> bool:
    return not await is_cached(client, path)


async def has_title(client: httpx.AsyncClient, title: str) -> bool:
    return bool((await client.get("/anime")).json()[0]["title"] == title)


async def until_async(condition: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.001)


async def test_head_shares_the_cache_with_get(shared: httpx.AsyncClient) -> None:
    await shared.head("/anime?limit=3")
    with statements() as sent:
        got = await shared.get("/anime?limit=3")
        head = await shared.head("/anime?limit=3")
        unchanged = await shared.head("/anime?limit=3", headers={"If-None-Match": got.headers["etag"]})
    assert not sent
    assert (len(got.json()), head.content) == (1, b"")
    assert {**head.headers, "x-request-id": ""} == {**got.headers, "x-request-id": ""}
    assert unchanged.status_code == 304


@pytest.mark.parametrize("path", CACHED)
async def test_second_response_is_cached_and_equal(shared: httpx.AsyncClient, path: str) -> None:
    first = await shared.get(path)
    with statements() as sent:
        second = await shared.get(path)
        third = await shared.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert sent == []
    assert (first.status_code, second.status_code, third.status_code) == (200, 200, 304)
    assert second.content == first.content
    own = {"x-request-id"}
    assert {k: v for k, v in second.headers.items() if k not in own} == {
        k: v for k, v in first.headers.items() if k not in own
    }
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert third.content == b""


@pytest.mark.parametrize("path", UNCACHED)
async def test_other_responses_are_not_cached(shared: httpx.AsyncClient, path: str) -> None:
    first = await shared.get(path)
    assert (await shared.get(path)).status_code == first.status_code
    assert path in {"/docs", "/anime?limit=0"} or not await is_cached(shared, path)


async def test_other_method_or_query_misses_the_cache(shared: httpx.AsyncClient) -> None:
    await shared.get("/anime")
    assert (await shared.put("/anime")).status_code == 405
    assert (await shared.get("/anime?offset=1")).json() == []
    assert len((await shared.get("/anime")).json()) == 1


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE anime SET title = 'Another' WHERE id = '{ANIME}'",
        f"UPDATE releases SET title = 'Another' WHERE id = '{RELEASE}'",
        f"UPDATE episodes SET title = 'Another' WHERE id = '{EPISODE}'",
        f"INSERT INTO external_ids VALUES ('anidb', '1', '{ANIME}')",
        "DELETE FROM anime",
        "TRUNCATE anime CASCADE",
    ],
)
async def test_change_by_another_connection_empties_the_cache(
    client: httpx.AsyncClient, rows: asyncpg.Connection, change: str
) -> None:
    before = {path: (await client.get(path)).content for path in CACHED}
    assert await is_cached(client, f"/anime/{ANIME}")
    await rows.execute(change)
    await until_async(lambda: is_not_cached(client, "/anime"))
    after = {path: (await client.get(path)).content for path in CACHED}
    assert before != after


async def test_response_read_before_a_change_is_not_cached(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    """The row is read, then changed, and the cache learns of the change before the response."""
    fetch = StatementRunner._fetch  # noqa: SLF001 - a read can be held here
    app: Any = client._transport.app  # type: ignore[attr-defined] # noqa: SLF001 - httpx has no other way
    cache = app.state.parts.cache
    before = cache.epoch

    async def is_emptied() -> bool:
        return bool(cache.epoch > before)

    async def slow(direct: StatementRunner, statement: Any, parameters: Any) -> Any:
        found = await fetch(direct, statement, parameters)
        await rows.execute(f"UPDATE anime SET title = 'Another' WHERE id = '{ANIME}'")
        await until_async(is_emptied)
        return found

    with patch.object(StatementRunner, "_fetch", slow):
        old = await client.get(f"/anime/{ANIME}?x=1")
    assert old.json()["title"] == "A work"
    assert (await client.get(f"/anime/{ANIME}?x=1")).json()["title"] == "Another"


@pytest.mark.parametrize("stale_seconds", [0, 10])
async def test_nothing_further_is_cached_while_the_listener_is_disconnected(
    database: URL, rows: asyncpg.Connection, stale_seconds: int
) -> None:
    async with client_of(database, catalogue_memory_mb=1, catalogue_stale_seconds=stale_seconds) as client:
        await until_async(lambda: is_cached(client, "/anime"))
        await rows.execute(f"SELECT pg_terminate_backend(pid) FROM ({LISTENER}) AS listener")
        assert not await is_cached(client, "/anime?_=1")
        await rows.execute(f"UPDATE anime SET title = 'Another' WHERE id = '{ANIME}'")
        assert ((await client.get("/anime")).json()[0]["title"] == "Another") is (stale_seconds == 0)
        # The listener reconnects.
        await until_async(lambda: has_title(client, "Another"))
        await until_async(lambda: is_cached(client, "/anime"))
        await rows.execute(f"UPDATE anime SET title = 'A third' WHERE id = '{ANIME}'")
        await until_async(lambda: has_title(client, "A third"))


async def test_cache_of_0_mb_caches_nothing(database: URL, rows: asyncpg.Connection) -> None:
    async with client_of(database, catalogue_memory_mb=0) as client:
        for _ in range(3):
            assert not await is_cached(client, "/anime")
        assert await rows.fetch(LISTENER) == []


def response_of(size: int) -> CachedResponse:
    return CachedResponse([], b"x" * (size - ENTRY_OVERHEAD_BYTES), b'"x"', "/anime")


def cache_of(max_bytes: int = 10_000) -> ResponseCache:
    cache = ResponseCache(max_bytes)
    cache.connected()
    return cache


def key(number: int) -> tuple[str, str, bytes, str]:
    return "", "", str(number).encode(), ""


def test_full_cache_removes_least_recently_used_response() -> None:
    cache = cache_of()
    for number in range(9):
        cache.put(key(number), response_of(1200), cache.epoch)
        cache.get(key(0))
    cached = [number for number in range(9) if cache.get(key(number))]
    assert cached == [0, *range(2, 9)]


def test_too_large_response_is_not_cached() -> None:
    cache = cache_of()
    cache.put(key(1), response_of(2000), cache.epoch)
    assert cache.get(key(1)) is None


def test_response_of_an_ended_epoch_is_not_cached() -> None:
    cache = cache_of()
    epoch = cache.epoch
    cache.changed()
    cache.put(key(1), response_of(1000), epoch)
    assert cache.get(key(1)) is None
    cache.put(key(1), response_of(1000), cache.epoch)
    assert cache.get(key(1)) is not None
    cache.disconnected()
    cache.put(key(1), response_of(1000), cache.epoch)
    assert cache.get(key(1)) is None
