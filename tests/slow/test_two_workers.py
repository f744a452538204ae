"""Refresh, rate limits and logout with two workers."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.cli.process import kitsu

pytestmark = pytest.mark.slow

ROUNDS = 40
CONCURRENT_REQUESTS = 50
CREDENTIALS = {"email": "kaguya@example.org", "password": "a long enough password"}


def client_of(address: str) -> httpx.AsyncClient:
    """Return a client with a new connection for each request, so that both workers get requests."""
    limits = httpx.Limits(max_connections=CONCURRENT_REQUESTS, max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=f"http://{address}", limits=limits, timeout=60, trust_env=False)


async def test_concurrent_refreshes_with_one_token_rotate_once(database: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        await asyncio.to_thread(server.serves)
        async with client_of(server.address) as client:
            tokens = (await client.post("/auth/register", json=CREDENTIALS)).json()
            for _ in range(ROUNDS):
                body = {"refresh_token": tokens["refresh_token"]}
                responses = await asyncio.gather(
                    *(client.post("/auth/refresh", json=body) for _ in range(CONCURRENT_REQUESTS))
                )
                assert {response.status_code for response in responses} == {httpx.codes.OK}
                assert len({response.json()["refresh_token"] for response in responses}) == 1
                tokens = responses[0].json()
                bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
                assert (await client.get("/users/me", headers=bearer)).status_code == httpx.codes.OK


async def test_failed_logins_of_both_workers_are_counted_and_survive_restart(database: URL, tmp_path: Path) -> None:
    wrong = CREDENTIALS | {"password": "a wrong password"}
    with kitsu(tmp_path, "serve", database=database, WORKERS="2", LOGIN_REFUSAL_MS="0") as server:
        await asyncio.to_thread(server.serves)
        async with client_of(server.address) as client:
            await client.post("/auth/register", json=CREDENTIALS)
            responses = await asyncio.gather(*(client.post("/auth/login", json=wrong) for _ in range(200)))
            assert Counter(response.status_code for response in responses) == {401: 5, 429: 195}
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        await asyncio.to_thread(server.serves)
        async with client_of(server.address) as client:
            assert (await client.post("/auth/login", json=CREDENTIALS)).status_code == httpx.codes.TOO_MANY_REQUESTS


async def test_logout_ends_session_in_both_workers(database: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "serve", database=database, WORKERS="2") as server:
        await asyncio.to_thread(server.serves)
        async with client_of(server.address) as client:
            tokens = (await client.post("/auth/register", json=CREDENTIALS)).json()
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            assert (await client.get("/users/me", headers=bearer)).status_code == httpx.codes.OK
            await client.post("/auth/logout", json={"refresh_token": tokens["refresh_token"]})
            responses = await asyncio.gather(
                *(client.get("/users/me", headers=bearer) for _ in range(CONCURRENT_REQUESTS))
            )
            assert {response.status_code for response in responses} == {401}
