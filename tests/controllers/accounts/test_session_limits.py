"""How many sessions, refresh tokens and logins a user has."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from tests.accounts import bearer, is_refused, login, logout, me, refresh, register
from tests.application import client_of

MAX_SESSIONS = 5


@pytest.fixture(scope="module")
async def application(module_database: URL) -> AsyncIterator[httpx.AsyncClient]:
    settings = {"login_refusal_ms": 0, "db_pool_size": 10, "max_sessions": MAX_SESSIONS, "rate_limit_login": (50, 900)}
    async with client_of(module_database, **settings) as client:
        yield client


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
def client(application: httpx.AsyncClient, database: URL) -> httpx.AsyncClient:
    return application


async def test_login_beyond_the_limit_ends_the_oldest_session(client: httpx.AsyncClient) -> None:
    first = await register(client)
    devices = [(await login(client)).json() for _ in range(MAX_SESSIONS - 1)]
    first = (await refresh(client, first["refresh_token"])).json()  # used a moment ago
    with capture_logs() as lines:
        newest = (await login(client)).json()
    assert [line["number"] for line in lines if line["event"] == "session limit reached"] == [1]
    assert is_refused(await me(client, devices[0]))
    assert (await refresh(client, devices[0]["refresh_token"])).status_code == 403
    assert [(await me(client, each)).status_code for each in (first, *devices[1:], newest)] == [200] * MAX_SESSIONS


async def test_sessions_of_a_user_do_not_exceed_the_limit(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await register(client, "chika@example.org")
    await register(client)
    for _ in range(2):
        responses = await asyncio.gather(*(login(client) for _ in range(30)))
        assert Counter(response.status_code for response in responses) == {200: 30}
        tokens = responses[-1].json()
    count = (
        "SELECT count(*) FILTER (WHERE revoked_at IS NULL), count(*) FROM auth_sessions JOIN users u ON u.id = user_id"
    )
    assert tuple(await rows.fetchrow(f"{count} WHERE email LIKE 'kaguya%'")) == (MAX_SESSIONS, 2 * MAX_SESSIONS)
    assert tuple(await rows.fetchrow(f"{count} WHERE email LIKE 'chika%'")) == (1, 1)
    # Those that the user ended are limited, too.
    for _ in range(MAX_SESSIONS + 3):
        tokens = (await login(client)).json()
        await logout(client, tokens["refresh_token"])
    assert await rows.fetchval("SELECT count(*) FROM auth_sessions") <= 2 * MAX_SESSIONS + 1
    assert (await refresh(client, tokens["refresh_token"])).status_code == 403


async def test_session_with_too_many_tokens_ends(database: URL, rows: asyncpg.Connection) -> None:
    # The larger one of the settings and twice the refreshes of a client in the lifetime.
    rules = {"max_refresh_tokens": 6, "refresh_token_expire_days": 1, "access_token_expire_minutes": 1440}
    async with client_of(database, **rules) as client:
        tokens, other = await register(client), (await login(client)).json()
        for _ in range(6):
            response = await refresh(client, tokens["refresh_token"])
            assert response.status_code == 200
            tokens = response.json()
        with capture_logs() as lines:
            assert (await refresh(client, tokens["refresh_token"])).status_code == 403
        assert "refresh limit reached" in [line["event"] for line in lines]
        assert is_refused(await me(client, tokens))
        assert await rows.fetchval("SELECT count(*) FROM refresh_tokens") == 2
        assert (await me(client, other)).status_code == 200


async def test_expired_tokens_do_not_count(database: URL, rows: asyncpg.Connection) -> None:
    rules = {"max_refresh_tokens": 6, "refresh_token_expire_days": 1, "access_token_expire_minutes": 1440}
    async with client_of(database, **rules) as client:
        token = (await register(client))["refresh_token"]
        for _ in range(20):
            token = (await refresh(client, token)).json()["refresh_token"]
            # As `kitsu purge` does with those that have expired.
            await rows.execute("DELETE FROM refresh_tokens WHERE used_at IS NOT NULL")
        assert (await refresh(client, token)).status_code == 200


async def test_logins_of_a_user_are_rate_limited(database: URL) -> None:
    async with client_of(database, rate_limit_session=(3, 3600)) as client:
        await register(client)
        responses = [await login(client) for _ in range(4)]
        assert [response.status_code for response in responses] == [200, 200, 200, 429]
        assert responses[3].headers["ratelimit-policy"] == '"session";q=3;w=3600'
        assert int(responses[3].headers["retry-after"]) > 3000
        tokens = await register(client, "chika@example.org")
        assert (await client.get("/auth/sessions", headers=bearer(tokens))).status_code == 200
