"""A viewer's lists with two workers: concurrent writes, and writes before a kill."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.cli.process import Process, kitsu
from tests.conftest import connect

Row = dict[str, Any]

pytestmark = pytest.mark.slow

CREDENTIALS = {"email": "kaguya@example.org", "password": "a long enough password"}
LISTS = ("/favorites", "/library", "/watch/progress")
KILLS = 10
WRITERS = 20


@asynccontextmanager
async def signed_in_client(server: Process, max_connections: int = 50) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a signed-in client with a new connection for each request, so that both workers get requests."""
    await asyncio.to_thread(server.serves)
    limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=f"http://{server.address}", limits=limits, timeout=60, trust_env=False
    ) as client:
        response = await client.post("/auth/login", json=CREDENTIALS)
        if response.status_code != httpx.codes.OK:
            response = await client.post("/auth/register", json=CREDENTIALS)
        client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        yield client


async def insert_anime(database: URL, count: int) -> list[str]:
    """Insert anime, and return their ids."""
    connection = await connect(database)
    ids = [uuid4() for _ in range(count)]
    await connection.executemany("INSERT INTO anime (id, title) VALUES ($1, $2)", [(each, str(each)) for each in ids])
    await connection.close()
    return [str(each) for each in ids]


async def test_concurrent_favorites_of_one_anime_add_one(database: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        async with signed_in_client(server, 200) as client:
            for anime_id in await insert_anime(database, 3):
                body = {"anime_id": anime_id}
                responses = await asyncio.gather(*(client.post("/favorites", json=body) for _ in range(200)))
                assert Counter(response.status_code for response in responses) == {201: 1, 409: 199}
                connection = await connect(database)
                count = "SELECT count(*) FROM favorites WHERE anime_id = $1"
                assert await connection.fetchval(count, UUID(anime_id)) == 1
                await connection.close()
            for path in ("/watch/progress", "/views"):
                assert (await client.get(path)).json() == []
        assert server.ended_by(signal.SIGTERM) == 0


async def test_read_after_acknowledged_write_returns_it(database: URL, tmp_path: Path) -> None:
    (anime_id,) = await insert_anime(database, 1)
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        async with signed_in_client(server) as client:
            body: dict[str, Any] = {"anime_id": anime_id}
            for number in range(1, 201):
                added = (await client.post("/favorites", json=body)).json()
                favorites = await asyncio.gather(*(client.get("/favorites") for _ in range(4)))
                assert all(response.json() == [added] for response in favorites)
                progress = await client.post("/watch/progress", json=body | {"episode": number, "position_seconds": 1})
                lists = await asyncio.gather(*(client.get("/watch/continue") for _ in range(4)))
                assert all(response.json() == [progress.json()] for response in lists)
                await client.delete(f"/favorites/{anime_id}")
                favorites = await asyncio.gather(*(client.get("/favorites") for _ in range(4)))
                assert all(response.json() == [] for response in favorites)
        assert server.ended_by(signal.SIGTERM) == 0


async def test_concurrent_requests_with_one_idempotency_key_write_once(database: URL, tmp_path: Path) -> None:
    (anime_id,) = await insert_anime(database, 1)
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        async with signed_in_client(server) as client:
            for number in range(1, 21):
                body = {"anime_id": anime_id, "episode": number, "position_seconds": 1}
                key = {"Idempotency-Key": str(number)}
                responses = await asyncio.gather(
                    *(client.post("/watch/progress", json=body, headers=key) for _ in range(20))
                )
                assert {response.status_code for response in responses} == {200}
                assert len({response.content for response in responses}) == 1
                assert (await client.get("/watch/progress")).json() == [responses[0].json()]


class Writers:
    """Clients that write until the service is killed, and record the acknowledged rows."""

    def __init__(self, client: httpx.AsyncClient, anime_ids: list[str], target: int) -> None:
        self.client, self.anime_ids, self.target = client, anime_ids, target
        self.acknowledged: dict[str, Row] = {path: {} for path in LISTS}
        self.target_reached = asyncio.Event()

    async def write(self) -> None:
        """Write until a request fails."""
        with suppress(httpx.TransportError):
            while self.anime_ids:
                anime_id = self.anime_ids.pop()
                await self._send("/favorites", "POST", "/favorites", {"anime_id": anime_id})
                await self._send("/library", "PUT", f"/library/{anime_id}", {"status": "plan_to_watch"})
                progress = {"anime_id": anime_id, "episode": 1, "progress_percent": 95}
                await self._send("/watch/progress", "POST", "/watch/progress", progress)

    async def _send(self, path: str, method: str, target: str, body: Row) -> None:
        response = await self.client.request(method, target, json=body)
        assert response.is_success, response.text
        row = response.json()
        self.acknowledged[path][row["anime_id"]] = row
        if sum(map(len, self.acknowledged.values())) >= self.target:
            self.target_reached.set()


async def read_list(client: httpx.AsyncClient, path: str) -> Row:
    """Return all rows of a list, by anime id."""
    found: Row = {}
    target = f"{path}?limit=100"
    while target:
        response = await client.get(target)
        assert response.status_code == httpx.codes.OK
        found |= {row["anime_id"]: row for row in response.json()}
        target = response.headers.get("link", "").partition(">")[0].removeprefix("<")
    return found


async def test_kill_loses_no_acknowledged_write_and_leaves_no_partial_write(database: URL, tmp_path: Path) -> None:
    acknowledged: dict[str, Row] = {path: {} for path in LISTS}
    for number in range(KILLS + 1):
        with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
            async with signed_in_client(server) as client:
                lists = {path: await read_list(client, path) for path in LISTS}
                for path in ("/favorites", "/watch/progress"):
                    assert {key: lists[path].get(key) for key in acknowledged[path]} == acknowledged[path]
                assert acknowledged["/library"].keys() <= lists["/library"].keys()
                begun = {key for key, entry in lists["/library"].items() if entry["status"] == "watching"}
                assert begun == lists["/watch/progress"].keys()
                if number == KILLS:
                    break
                writers = Writers(client, await insert_anime(database, 5000), 100 + 20 * number)
                tasks = [asyncio.create_task(writers.write()) for _ in range(WRITERS)]
                await writers.target_reached.wait()
                for process in server.left():
                    process.kill()
                await asyncio.gather(*tasks)
                assert writers.anime_ids
                for path in LISTS:
                    acknowledged[path] |= writers.acknowledged[path]
    assert all(len(rows) >= KILLS * 30 for rows in acknowledged.values())
