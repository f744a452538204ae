"""What has to hold across worker processes, against the real server with two of them. `make test-slow` runs it."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.cli.process import kitsu

pytestmark = pytest.mark.slow

ROUNDS = 40
AT_ONCE = 50
CREDENTIALS = {"email": "kaguya@example.org", "password": "a long enough password"}


def clients(address: str) -> httpx.AsyncClient:
    """A client whose requests go to either worker, each on a connection of its own."""
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=f"http://{address}", limits=limits, timeout=60, trust_env=False)


async def test_one_refresh_wins(database: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        await asyncio.to_thread(server.serves)
        async with clients(server.address) as client:
            tokens = (await client.post("/auth/register", json=CREDENTIALS)).json()
            for _ in range(ROUNDS):
                body = {"refresh_token": tokens["refresh_token"]}
                answers = await asyncio.gather(*(client.post("/auth/refresh", json=body) for _ in range(AT_ONCE)))
                assert Counter(answer.status_code for answer in answers) == {200: 1, 401: AT_ONCE - 1}
                tokens = next(answer.json() for answer in answers if answer.status_code == httpx.codes.OK)
                bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
                assert (await client.get("/users/me", headers=bearer)).status_code == httpx.codes.OK


async def test_guesses_are_counted_together_and_kept(database: URL, tmp_path: Path) -> None:
    wrong = CREDENTIALS | {"password": "a wrong password"}
    with kitsu(tmp_path, "serve", database=database, WORKERS="2", LOGIN_REFUSAL_MS="0") as server:
        await asyncio.to_thread(server.serves)
        async with clients(server.address) as client:
            await client.post("/auth/register", json=CREDENTIALS)
            answers = await asyncio.gather(*(client.post("/auth/login", json=wrong) for _ in range(200)))
            assert Counter(answer.status_code for answer in answers) == {401: 5, 429: 195}
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        await asyncio.to_thread(server.serves)
        async with clients(server.address) as client:
            assert (await client.post("/auth/login", json=CREDENTIALS)).status_code == httpx.codes.TOO_MANY_REQUESTS


async def test_an_ended_session_is_over_in_both(database: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        await asyncio.to_thread(server.serves)
        async with clients(server.address) as client:
            tokens = (await client.post("/auth/register", json=CREDENTIALS)).json()
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            assert (await client.get("/users/me", headers=bearer)).status_code == httpx.codes.OK
            await client.post("/auth/logout", json={"refresh_token": tokens["refresh_token"]})
            answers = await asyncio.gather(*(client.get("/users/me", headers=bearer) for _ in range(AT_ONCE)))
            assert {answer.status_code for answer in answers} == {401}
