"""What a viewer keeps, against the real server with two workers: races, and what a kill leaves. `make test-slow`."""

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
async def served(server: Process, at_once: int = 50) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is signed in; each request is a connection of its own, so that it goes to either worker."""
    await asyncio.to_thread(server.serves)
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=f"http://{server.address}", limits=limits, timeout=60, trust_env=False
    ) as client:
        response = await client.post("/auth/login", json=CREDENTIALS)
        if response.status_code != httpx.codes.OK:
            response = await client.post("/auth/register", json=CREDENTIALS)
        client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        yield client


async def animes(database: URL, count: int) -> list[str]:
    """New anime, by plain SQL."""
    connection = await connect(database)
    ids = [uuid4() for _ in range(count)]
    await connection.executemany("INSERT INTO anime (id, title) VALUES ($1, $2)", [(it, str(it)) for it in ids])
    await connection.close()
    return [str(it) for it in ids]


async def test_of_two_hundred_at_once_one_is_added(database: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        async with served(server, 200) as client:
            for anime_id in await animes(database, 3):
                body = {"anime_id": anime_id}
                answers = await asyncio.gather(*(client.post("/favorites", json=body) for _ in range(200)))
                assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 199}
                connection = await connect(database)
                count = "SELECT count(*) FROM favorites WHERE anime_id = $1"
                assert await connection.fetchval(count, UUID(anime_id)) == 1
                await connection.close()
            for path in ("/watch/progress", "/views"):
                assert (await client.get(path)).json() == []
        assert server.ended_by(signal.SIGTERM) == 0


async def test_what_is_acknowledged_is_seen_by_the_next_read(database: URL, tmp_path: Path) -> None:
    (anime_id,) = await animes(database, 1)
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        async with served(server) as client:
            body: dict[str, Any] = {"anime_id": anime_id}
            for number in range(1, 201):
                added = (await client.post("/favorites", json=body)).json()
                favorites = await asyncio.gather(*(client.get("/favorites") for _ in range(4)))
                assert all(answer.json() == [added] for answer in favorites)
                progress = await client.post("/watch/progress", json=body | {"episode": number, "position_seconds": 1})
                lists = await asyncio.gather(*(client.get("/watch/continue") for _ in range(4)))
                assert all(answer.json() == [progress.json()] for answer in lists)
                await client.delete(f"/favorites/{anime_id}")
                favorites = await asyncio.gather(*(client.get("/favorites") for _ in range(4)))
                assert all(answer.json() == [] for answer in favorites)
        assert server.ended_by(signal.SIGTERM) == 0


async def test_one_key_is_done_once_by_both(database: URL, tmp_path: Path) -> None:
    (anime_id,) = await animes(database, 1)
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        async with served(server) as client:
            for number in range(1, 21):
                body = {"anime_id": anime_id, "episode": number, "position_seconds": 1}
                key = {"Idempotency-Key": str(number)}
                answers = await asyncio.gather(
                    *(client.post("/watch/progress", json=body, headers=key) for _ in range(20))
                )
                assert {answer.status_code for answer in answers} == {200}
                assert len({answer.content for answer in answers}) == 1
                assert (await client.get("/watch/progress")).json() == [answers[0].json()]


class Writers:
    """Those who write until the service is gone, and remember what it answered them."""

    def __init__(self, client: httpx.AsyncClient, animes: list[str], enough: int) -> None:
        self.client, self.animes, self.enough = client, animes, enough
        self.answered: dict[str, Row] = {path: {} for path in LISTS}
        self.answered_enough = asyncio.Event()

    async def write(self) -> None:
        """Write until no answer comes."""
        with suppress(httpx.TransportError):
            while self.animes:
                anime_id = self.animes.pop()
                await self._send("/favorites", "POST", "/favorites", {"anime_id": anime_id})
                await self._send("/library", "PUT", f"/library/{anime_id}", {"status": "plan_to_watch"})
                progress = {"anime_id": anime_id, "episode": 1, "position_seconds": 7}
                await self._send("/watch/progress", "POST", "/watch/progress", progress)

    async def _send(self, path: str, method: str, target: str, body: Row) -> None:
        response = await self.client.request(method, target, json=body)
        assert response.is_success, response.text
        row = response.json()
        self.answered[path][row["anime_id"]] = row
        if sum(map(len, self.answered.values())) >= self.enough:
            self.answered_enough.set()


async def held(client: httpx.AsyncClient, path: str) -> Row:
    """All of a list, by its anime."""
    found: Row = {}
    target = f"{path}?limit=100"
    while target:
        response = await client.get(target)
        assert response.status_code == httpx.codes.OK
        found |= {row["anime_id"]: row for row in response.json()}
        target = response.headers.get("link", "").partition(">")[0].removeprefix("<")
    return found


async def test_a_kill_right_after_answers_loses_none_and_leaves_none_half_done(database: URL, tmp_path: Path) -> None:
    acknowledged: dict[str, Row] = {path: {} for path in LISTS}
    for number in range(KILLS + 1):
        with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
            async with served(server) as client:
                lists = {path: await held(client, path) for path in LISTS}
                for path in ("/favorites", "/watch/progress"):
                    assert {key: lists[path].get(key) for key in acknowledged[path]} == acknowledged[path]
                assert acknowledged["/library"].keys() <= lists["/library"].keys()
                begun = {key for key, entry in lists["/library"].items() if entry["status"] == "watching"}
                assert begun == lists["/watch/progress"].keys()
                if number == KILLS:
                    break
                writers = Writers(client, await animes(database, 5000), 100 + 20 * number)
                tasks = [asyncio.create_task(writers.write()) for _ in range(WRITERS)]
                await writers.answered_enough.wait()
                for process in server.left():
                    process.kill()
                await asyncio.gather(*tasks)
                assert writers.animes
                for path in LISTS:
                    acknowledged[path] |= writers.answered[path]
    assert all(len(known) >= KILLS * 30 for known in acknowledged.values())
