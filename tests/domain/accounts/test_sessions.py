"""Refresh tokens: each works once; a second use revokes the session, except for two tabs at the same time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from hashlib import sha256

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL

from tests.accounts import is_refused, login, logout, me, refresh, register
from tests.application import Applications

ALIVE = "SELECT count(*) FROM auth_sessions WHERE revoked_at IS NULL AND expires_at > clock_timestamp()"
PAST_LEEWAY = "UPDATE refresh_tokens SET used_at = used_at - interval '11 seconds' WHERE token_hash = $1"
EXPIRE_SESSION = "UPDATE auth_sessions SET expires_at = clock_timestamp() - interval '1 second'"
EXPIRE_TOKENS = "UPDATE refresh_tokens SET expires_at = clock_timestamp() - interval '1 second'"


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
async def client(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that rejects logins without a delay."""
    async with applications.client_of(login_refusal_ms=0) as client:
        yield client


@pytest.fixture
async def refusing(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that refuses a repeated refresh."""
    async with applications.client_of(login_refusal_ms=0, refresh_retry="refuse") as client:
        yield client


def hashed(token: str) -> str:
    return sha256(token.encode()).hexdigest()


async def rotated(client: httpx.AsyncClient, token: str) -> str:
    """Refresh a token and return the next one."""
    response = await refresh(client, token)
    assert response.status_code == 200, response.text
    assert (await me(client, response.json())).status_code == 200
    return str(response.json()["refresh_token"])


async def test_each_refresh_returns_a_new_token(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    tokens = [(await register(client))["refresh_token"]]
    for _ in range(5):
        tokens.append(await rotated(client, tokens[-1]))
    assert len(set(tokens)) == 6
    stored = await rows.fetch("SELECT token_hash, used_at FROM refresh_tokens ORDER BY generation")
    assert [row["token_hash"] for row in stored] == [hashed(token) for token in tokens]
    assert [row["used_at"] is None for row in stored] == [False] * 5 + [True]
    assert await rows.fetchval("SELECT generation FROM auth_sessions") == 6


async def test_refresh_extends_the_session(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    token = (await register(client))["refresh_token"]
    await rows.execute("UPDATE auth_sessions SET expires_at = expires_at - interval '13 days'")
    await rotated(client, token)
    assert await rows.fetchval("SELECT expires_at > clock_timestamp() + interval '13 days 23 hours' FROM auth_sessions")


async def test_database_has_no_plain_token(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    tokens = await register(client)
    child = (await refresh(client, tokens["refresh_token"])).json()
    for table in ("users", "auth_sessions", "refresh_tokens", "rate_limits"):
        text = await rows.fetchval(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t")
        assert not [token for token in (*tokens.values(), *child.values()) if len(str(token)) > 20 and token in text]


async def test_refresh_with_used_token_after_the_leeway_revokes_session(
    refusing: httpx.AsyncClient, rows: asyncpg.Connection
) -> None:
    first = await register(refusing)
    child = (await refresh(refusing, first["refresh_token"])).json()
    other = (await login(refusing)).json()
    await rows.execute(PAST_LEEWAY, hashed(first["refresh_token"]))
    assert is_refused(await refresh(refusing, first["refresh_token"]))
    assert await rows.fetchval("SELECT revoke_reason FROM auth_sessions WHERE revoked_at IS NOT NULL") == "reuse"
    for token in (child["refresh_token"], first["refresh_token"]):
        assert (await refresh(refusing, token)).status_code == 403
    assert [(await me(refusing, tokens)).status_code for tokens in (first, child, other)] == [401, 401, 200]
    await rotated(refusing, other["refresh_token"])


async def test_refresh_with_grandparent_within_the_leeway_revokes_session(client: httpx.AsyncClient) -> None:
    tokens = [(await register(client))["refresh_token"]]
    for _ in range(2):
        tokens.append(await rotated(client, tokens[-1]))
    assert is_refused(await refresh(client, tokens[0]))
    assert [(await refresh(client, token)).status_code for token in tokens] == [403] * 3


async def test_refresh_with_parent_within_the_leeway_changes_nothing(
    refusing: httpx.AsyncClient, rows: asyncpg.Connection
) -> None:
    first = (await register(refusing))["refresh_token"]
    child = await rotated(refusing, first)
    everything = "SELECT s::text, t::text FROM auth_sessions s JOIN refresh_tokens t ON t.session_id = s.id ORDER BY 2"
    before = await rows.fetch(everything)
    for _ in range(3):
        assert is_refused(await refresh(refusing, first))
    assert await rows.fetch(everything) == before
    await rotated(refusing, child)


async def test_refresh_with_parent_and_without_leeway_revokes_session(applications: Applications) -> None:
    async with applications.client_of(refresh_leeway_seconds=0, refresh_retry="refuse") as client:
        first = (await register(client))["refresh_token"]
        child = await rotated(client, first)
        assert is_refused(await refresh(client, first))
        assert (await refresh(client, child)).status_code == 403


async def test_repeated_refresh_returns_the_same_tokens(applications: Applications, rows: asyncpg.Connection) -> None:
    async with applications.client_of(refresh_retry="same") as client:
        first = (await register(client))["refresh_token"]
        responses = await asyncio.gather(*(refresh(client, first) for _ in range(10)))
        assert {response.status_code for response in responses} == {200}
        (child,) = {response.json()["refresh_token"] for response in responses}
        assert [(await me(client, response.json())).status_code for response in responses] == [200] * 10
        assert await rows.fetchval("SELECT count(*) FROM refresh_tokens") == 2
        # Also much later, as long as the child is unused.
        await rows.execute(PAST_LEEWAY, hashed(first))
        assert (await refresh(client, first)).json()["refresh_token"] == child
        newest = await rotated(client, child)
        assert is_refused(await refresh(client, first))
        assert (await refresh(client, newest)).status_code == 403


async def test_token_that_was_used_under_the_other_rule_is_not_derived(
    applications: Applications, rows: asyncpg.Connection
) -> None:
    async with applications.client_of(refresh_retry="refuse") as client:
        first = (await register(client))["refresh_token"]
        child = await rotated(client, first)
    async with applications.client_of() as client:
        assert is_refused(await refresh(client, first))
        newest = await rotated(client, child)
        assert (await refresh(client, child)).json()["refresh_token"] == newest


async def test_repeated_refresh_with_grandparent_revokes_session(applications: Applications) -> None:
    async with applications.client_of(refresh_retry="same") as client:
        first = (await register(client))["refresh_token"]
        newest = await rotated(client, await rotated(client, first))
        assert is_refused(await refresh(client, first))
        assert (await refresh(client, newest)).status_code == 403


@pytest.mark.parametrize("expire", [EXPIRE_SESSION, EXPIRE_TOKENS])
async def test_refresh_with_expired_token_returns_401(
    client: httpx.AsyncClient, rows: asyncpg.Connection, expire: str
) -> None:
    first = await register(client)
    child = await rotated(client, first["refresh_token"])
    await rows.execute(expire)
    for token in (child, first["refresh_token"], child):
        assert is_refused(await refresh(client, token))
    assert await rows.fetchval("SELECT count(*) FROM auth_sessions WHERE revoked_at IS NOT NULL") == 0
    assert (await me(client, first)).status_code == (401 if expire == EXPIRE_SESSION else 200)


@pytest.mark.parametrize("retry", ["refuse", "same"])
async def test_refresh_of_revoked_session_returns_403_also_when_expired_or_within_the_leeway(
    applications: Applications, rows: asyncpg.Connection, retry: str
) -> None:
    async with applications.client_of(refresh_retry=retry) as client:
        first = (await register(client))["refresh_token"]
        child = await rotated(client, first)
        assert (await logout(client, child)).status_code == 204
        assert [(await refresh(client, token)).status_code for token in (first, child)] == [403, 403]
        await rows.execute(EXPIRE_SESSION)
        await rows.execute(EXPIRE_TOKENS)
        assert [(await refresh(client, token)).status_code for token in (first, child)] == [403, 403]


@pytest.mark.parametrize(
    "token",
    ["", "unknown", "\0", "🦊", "'; --", "a" * 43, "a" * 4096, "a" * 4097, "a" * 60_000],
    ids=["empty", "unknown", "nul", "emoji", "quotes", "as long as one", "4096", "4097", "60000"],
)
async def test_unknown_token_returns_401_and_its_logout_204(client: httpx.AsyncClient, token: str) -> None:
    assert (await logout(client, token)).status_code == 204
    assert is_refused(await refresh(client, token))


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_logout_with_any_token_of_the_session_ends_it(client: httpx.AsyncClient, which: int) -> None:
    tokens = [(await register(client))["refresh_token"]]
    for _ in range(2):
        tokens.append(await rotated(client, tokens[-1]))
    for _ in range(2):
        assert (await logout(client, tokens[which])).status_code == 204
    assert [(await refresh(client, token)).status_code for token in tokens] == [403] * 3


async def test_refresh_with_hash_of_a_token_returns_401(client: httpx.AsyncClient) -> None:
    token = (await register(client))["refresh_token"]
    assert is_refused(await refresh(client, hashed(token)))
    assert (await logout(client, hashed(token))).status_code == 204
    await rotated(client, token)


async def test_access_and_refresh_tokens_are_not_interchangeable(client: httpx.AsyncClient) -> None:
    tokens = await register(client)
    assert is_refused(await refresh(client, tokens["access_token"]))
    assert is_refused(await me(client, {"access_token": tokens["refresh_token"]}))


async def test_fifty_concurrent_refreshes_rotate_once(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    token = (await register(client))["refresh_token"]
    for number in range(8):
        responses = await asyncio.gather(*(refresh(client, token) for _ in range(50)))
        assert {response.status_code for response in responses} == {200}
        (token,) = {response.json()["refresh_token"] for response in responses}
        assert (await me(client, responses[number].json())).status_code == 200
        assert await rows.fetchval("SELECT count(*) FROM refresh_tokens") == number + 2
    await rotated(client, token)


async def test_fifty_concurrent_refreshes_are_refused_but_one(refusing: httpx.AsyncClient) -> None:
    token = (await register(refusing))["refresh_token"]
    responses = await asyncio.gather(*(refresh(refusing, token) for _ in range(50)))
    assert Counter(response.status_code for response in responses) == {200: 1, 401: 49}
    (winner,) = (response.json() for response in responses if response.status_code == 200)
    assert (await me(refusing, winner)).status_code == 200
    await rotated(refusing, winner["refresh_token"])


async def test_logout_during_refresh_leaves_no_valid_token(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    token = (await register(client))["refresh_token"]
    for number in range(20):
        racers = [refresh(client, token), logout(client, token)]
        responses = await asyncio.gather(*(racers if number % 2 else reversed(racers)))
        assert {response.status_code for response in responses} <= {200, 204, 403}
        for response in responses:
            if response.status_code == 200:
                assert (await refresh(client, response.json()["refresh_token"])).status_code == 403
                assert is_refused(await me(client, response.json()))
        assert await rows.fetchval(ALIVE) == 0
        await rows.execute("DELETE FROM rate_limits")
        token = (await login(client)).json()["refresh_token"]
        await rows.execute("DELETE FROM auth_sessions WHERE revoked_at IS NOT NULL")
