"""Answers of the catalogue from memory: right, or from the database."""

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
from tests.checks import statements
from tests.databases import connect, execute

ANIME = "10000000-0000-4000-8000-000000000001"
RELEASE = "20000000-0000-4000-8000-000000000001"
EPISODE = "30000000-0000-4000-8000-000000000001"
ROWS = (
    f"INSERT INTO anime (id, title) VALUES ('{ANIME}', 'A work')",
    f"INSERT INTO releases (id, anime_id, title) VALUES ('{RELEASE}', '{ANIME}', 'TV')",
    f"INSERT INTO episodes (id, release_id, number) VALUES ('{EPISODE}', '{RELEASE}', 1)",
)
KEPT = (
    *("/anime", "/anime/", "/anime?limit=1&sort=-score&total=true", f"/anime/{ANIME}", "/releases"),
    *(f"/releases?anime_id={ANIME}", f"/releases/{RELEASE}", f"/episodes?release_id={RELEASE}"),
)
NOT_KEPT = ("/search/anime?q=work", "/anime?limit=0", "/health", "/docs", "/anime/10000000-0000-4000-8000-00000000000f")
LISTENER = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND (query LIKE 'LISTEN%' OR application_name = 'kitsu' AND query = 'SELECT 1')"
)


@pytest.fixture
async def rows(database: URL) -> AsyncIterator[asyncpg.Connection]:
    """The database, from outside, with one of everything in it."""
    await execute(database, *ROWS)
    connection = await connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def client(database: URL, rows: asyncpg.Connection) -> AsyncIterator[httpx.AsyncClient]:
    """The application with a memory, once it listens."""
    async with client_of(database, catalogue_memory_mb=1) as client:
        await until_async(lambda: is_kept(client, "/anime"))
        yield client


async def is_kept(client: httpx.AsyncClient, path: str) -> bool:
    """Whether the answer came without a statement."""
    with statements() as sent:
        await client.get(path)
    return not sent


async def is_not_kept(client: httpx.AsyncClient, path: str) -> bool:
    return not await is_kept(client, path)


async def has_title(client: httpx.AsyncClient, title: str) -> bool:
    return bool((await client.get("/anime")).json()[0]["title"] == title)


async def until_async(condition: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - it is another process that makes it true
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("path", KEPT)
async def test_the_second_answer_needs_no_statement_and_is_the_same(client: httpx.AsyncClient, path: str) -> None:
    first = await client.get(path)
    with statements() as sent:
        second = await client.get(path)
        third = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert sent == []
    assert (first.status_code, second.status_code, third.status_code) == (200, 200, 304)
    assert second.content == first.content
    own = {"x-request-id"}
    assert {k: v for k, v in second.headers.items() if k not in own} == {
        k: v for k, v in first.headers.items() if k not in own
    }
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert third.content == b""


@pytest.mark.parametrize("path", NOT_KEPT)
async def test_what_is_not_kept(client: httpx.AsyncClient, path: str) -> None:
    first = await client.get(path)
    assert (await client.get(path)).status_code == first.status_code
    assert path in {"/docs", "/anime?limit=0"} or not await is_kept(client, path)


async def test_other_methods_and_queries_have_answers_of_their_own(client: httpx.AsyncClient) -> None:
    await client.get("/anime")
    assert (await client.post("/anime")).status_code == 405
    assert (await client.get("/anime?offset=1")).json() == []
    assert len((await client.get("/anime")).json()) == 1


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
async def test_a_change_by_anybody_is_seen_at_once(
    client: httpx.AsyncClient, rows: asyncpg.Connection, change: str
) -> None:
    before = {path: (await client.get(path)).content for path in KEPT}
    assert await is_kept(client, f"/anime/{ANIME}")
    await rows.execute(change)
    await until_async(lambda: is_not_kept(client, "/anime"))
    after = {path: (await client.get(path)).content for path in KEPT}
    assert before != after


async def test_a_change_in_the_middle_of_a_read_is_not_lost(
    client: httpx.AsyncClient, rows: asyncpg.Connection
) -> None:
    """The row is read, then changed, and the change heard of before the answer is kept."""
    fetch = StatementRunner._fetch  # noqa: SLF001 - where a read can be held
    app: Any = client._transport.app  # type: ignore[attr-defined] # noqa: SLF001 - httpx has no other way
    cache = app.state.parts.cache
    before = cache.epoch

    async def heard() -> bool:
        return bool(cache.epoch > before)

    async def slow(direct: StatementRunner, statement: Any, parameters: Any) -> Any:
        found = await fetch(direct, statement, parameters)
        await rows.execute(f"UPDATE anime SET title = 'Another' WHERE id = '{ANIME}'")
        await until_async(heard)
        return found

    with patch.object(StatementRunner, "_fetch", slow):
        old = await client.get(f"/anime/{ANIME}?x=1")
    assert old.json()["title"] == "A work"
    assert (await client.get(f"/anime/{ANIME}?x=1")).json()["title"] == "Another"


async def test_nothing_is_kept_while_nobody_listens(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    assert await is_kept(client, "/anime")
    await rows.execute(f"SELECT pg_terminate_backend(pid) FROM ({LISTENER}) AS listener")
    assert not await is_kept(client, "/anime?x=1")
    await rows.execute(f"UPDATE anime SET title = 'Another' WHERE id = '{ANIME}'")
    assert (await client.get("/anime")).json()[0]["title"] == "Another"
    # And it listens again by itself.
    await until_async(lambda: is_kept(client, "/anime"))
    await rows.execute(f"UPDATE anime SET title = 'A third' WHERE id = '{ANIME}'")
    await until_async(lambda: has_title(client, "A third"))


async def test_switched_off(database: URL, rows: asyncpg.Connection) -> None:
    async with client_of(database, catalogue_memory_mb=0) as client:
        for _ in range(3):
            assert not await is_kept(client, "/anime")
        assert await rows.fetch(LISTENER) == []


def answer(size: int) -> CachedResponse:
    return CachedResponse([], b"x" * (size - ENTRY_OVERHEAD_BYTES), b'"x"', "/anime")


def memory(max_bytes: int = 10_000) -> ResponseCache:
    memory = ResponseCache(max_bytes)
    memory.connected()
    return memory


def key(number: int) -> tuple[str, str, bytes]:
    return "", "", str(number).encode()


def test_a_full_memory_lets_go_of_what_was_asked_for_longest_ago() -> None:
    full = memory()
    for number in range(9):
        full.put(key(number), answer(1200), full.epoch)
        full.get(key(0))
    kept = [number for number in range(9) if full.get(key(number))]
    assert kept == [0, *range(2, 9)]


def test_what_is_too_large_is_not_kept() -> None:
    full = memory()
    full.put(key(1), answer(2000), full.epoch)
    assert full.get(key(1)) is None


def test_what_was_read_before_a_change_is_not_kept() -> None:
    full = memory()
    epoch = full.epoch
    full.changed()
    full.put(key(1), answer(1000), epoch)
    assert full.get(key(1)) is None
    full.put(key(1), answer(1000), full.epoch)
    assert full.get(key(1)) is not None
    full.disconnected()
    full.put(key(1), answer(1000), full.epoch)
    assert full.get(key(1)) is None
