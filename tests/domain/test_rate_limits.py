"""Login attempts are counted in the database before the password is checked, and limited."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.domain.accounts.passwords import PasswordHasher, Verdict
from kitsu.domain.rate_limits import network_of
from tests.accounts import EMAIL, PASSWORD, login, me, refresh, register
from tests.application import Applications, client_of
from tests.databases import execute

WRONG = "a wrong password"
LIMITED = {"code": "RATE_LIMITED", "message": "Too many requests", "details": None}
END_WINDOWS = "UPDATE login_counters SET ends_at = clock_timestamp() - interval '1 second'"


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
async def client(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application with a worker's concurrency, which rejects logins without a delay."""
    async with applications.client_of(login_refusal_ms=0, db_pool_size=10) as client:
        yield client


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that are checked."""
    checked: list[str] = []
    real = PasswordHasher.check

    async def check(hasher: PasswordHasher, password: str, stored: str | None) -> Verdict:
        checked.append(password)
        return await real(hasher, password, stored)

    monkeypatch.setattr(PasswordHasher, "check", check)
    return checked


async def guess(client: httpx.AsyncClient, times: int, email: str = EMAIL) -> list[int]:
    """Return the statuses of so many wrong passwords."""
    return [(await login(client, email, f"{WRONG} {number}")).status_code for number in range(times)]


async def login_from(client: httpx.AsyncClient, address: str, password: str = PASSWORD) -> int:
    """Return the status of a login through a proxy."""
    body = {"email": EMAIL, "password": password}
    return (await client.post("/auth/login", json=body, headers={"X-Forwarded-For": address})).status_code


@pytest.mark.parametrize("known", [True, False])
async def test_sixth_wrong_password_is_429(client: httpx.AsyncClient, known: bool, checks: list[str]) -> None:
    if known:
        await register(client)
    for left in (4, 3, 2, 1, 0):
        response = await login(client, password=WRONG)
        assert response.status_code == 401
        assert response.headers["ratelimit-policy"] == '"login";q=5;w=900'
        assert response.headers["ratelimit"].startswith(f'"login";r={left};t=')
    for password in (WRONG, PASSWORD):
        response = await login(client, password=password)
        assert (response.status_code, response.json()) == (429, LIMITED)
        assert 0 < int(response.headers["retry-after"]) <= 900
        assert response.headers["ratelimit-policy"] == '"login";q=5;w=900'
        assert response.headers["ratelimit"] == f'"login";r=0;t={response.headers["retry-after"]}'
        assert response.headers["cache-control"] == "no-store"
    assert len(checks) == 5


async def test_other_spelling_of_the_email_shares_the_limit(client: httpx.AsyncClient) -> None:
    await register(client)
    spellings = [EMAIL, EMAIL.upper(), f" {EMAIL}", f"{EMAIL} ", EMAIL.title()]
    assert [(await login(client, email, WRONG)).status_code for email in spellings] == [401] * 5
    assert [(await login(client, email, WRONG)).status_code for email in spellings] == [429] * 5


async def test_refused_login_does_not_prolong_the_window(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await register(client)
    await guess(client, 5)
    counters = await rows.fetch("SELECT * FROM login_counters ORDER BY key")
    assert await guess(client, 20) == [429] * 20
    assert await rows.fetch("SELECT * FROM login_counters ORDER BY key") == counters
    await rows.execute(END_WINDOWS)
    assert (await login(client)).status_code == 200


async def test_hit_after_the_window_starts_a_new_one(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await guess(client, 6)
    await rows.execute(END_WINDOWS)
    assert await guess(client, 6) == [401] * 5 + [429]


async def test_limit_of_an_account_does_not_limit_its_address(client: httpx.AsyncClient) -> None:
    await register(client, "chika@example.org")
    await guess(client, 60)
    assert (await login(client, "chika@example.org")).status_code == 200


async def test_owner_at_another_address_logs_in(applications: Applications) -> None:
    async with applications.client_of(login_refusal_ms=0, trusted_proxies=("127.0.0.0/8",)) as client:
        await register(client)
        assert [await login_from(client, "203.0.113.7", WRONG) for _ in range(6)] == [401] * 5 + [429]
        assert await login_from(client, "203.0.113.7") == 429
        assert await login_from(client, "203.0.113.8") == 200
        # The proxy appends the address it sees to what the client sent.
        assert await login_from(client, "203.0.113.9, 203.0.113.7") == 429
        assert await login_from(client, "203.0.113.7, 203.0.113.9") == 200
        assert await login_from(client, "203.0.113.7, 127.0.0.2") == 429


async def test_ipv6_network_of_a_customer_shares_the_limit(applications: Applications) -> None:
    async with applications.client_of(login_refusal_ms=0, trusted_proxies=("127.0.0.0/8",)) as client:
        await register(client)
        statuses = [await login_from(client, f"2001:db8:0:1::{number}", WRONG) for number in range(6)]
        assert statuses == [401] * 5 + [429]
        assert await login_from(client, "2001:db8:0:2::1") == 200


async def test_ipv4_mapped_address_equals_the_ipv4_address() -> None:
    # A dual-stack socket shows all of IPv4 like this: one /64 network would contain every client.
    assert network_of("::ffff:203.0.113.9") == network_of("203.0.113.9")
    assert network_of("::ffff:203.0.113.9") != network_of("::ffff:198.51.100.1")


@pytest.mark.parametrize("proxies", [(), ("10.0.0.0/8",), ("::1/128",)])
async def test_address_from_an_untrusted_proxy_is_ignored(applications: Applications, proxies: tuple[str, ...]) -> None:
    async with applications.client_of(login_refusal_ms=0, trusted_proxies=proxies) as client:
        await register(client)
        statuses = [await login_from(client, f"203.0.113.{number}", WRONG) for number in range(6)]
        assert statuses == [401] * 5 + [429]


async def test_two_hundred_concurrent_logins_check_five_passwords(client: httpx.AsyncClient, checks: list[str]) -> None:
    await register(client)
    responses = await asyncio.gather(*(login(client, password=f"{WRONG} {number}") for number in range(200)))
    statuses = Counter(response.status_code for response in responses)
    # The queue of one worker may be too short for all of them.
    assert (statuses[401], statuses[429] + statuses[503]) == (5, 195)
    assert statuses[429] > 0
    assert len(checks) == 5
    assert (await client.get("/health")).status_code == 200


async def test_one_password_on_many_accounts_is_429(client: httpx.AsyncClient, checks: list[str]) -> None:
    responses = [await login(client, f"{number}@example.org", WRONG) for number in range(50)]
    assert [response.status_code for response in responses] == [401] * 40 + [429] * 10
    assert responses[-1].headers["ratelimit-policy"] == '"login-address";q=40;w=900'
    assert len(checks) == 40


async def test_workers_share_the_counts(database: URL) -> None:
    async with client_of(database, login_refusal_ms=0) as first, client_of(database, login_refusal_ms=0) as second:
        assert await guess(first, 3) + await guess(second, 3) == [401] * 5 + [429]
        assert await guess(first, 1) == [429]
    async with client_of(database, login_refusal_ms=0) as restarted:
        assert await guess(restarted, 1) == [429]


async def test_successful_login_resets_the_failures(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await register(client)
    for _ in range(3):
        assert await guess(client, 4) == [401] * 4
        assert (await login(client)).status_code == 200
    assert await guess(client, 6) == [401] * 5 + [429]


async def test_successful_login_keeps_the_failures_of_others(client: httpx.AsyncClient) -> None:
    await register(client, "chika@example.org")
    for _ in range(5):
        assert await guess(client, 1) == [401]
        assert (await login(client, "chika@example.org")).status_code == 200
    assert await guess(client, 1) == [429]
    # A login to the attacker's own account does not reset the limit of the address either.
    statuses = []
    for number in range(40):
        statuses += await guess(client, 1, f"{number}@example.org")
        await login(client, "chika@example.org")
    assert statuses == [401] * 39 + [429]


async def test_disabled_limits_count_nothing(applications: Applications, rows: asyncpg.Connection) -> None:
    async with applications.client_of(login_refusal_ms=0, rate_limit_enabled=False) as client:
        assert await guess(client, 10) == [401] * 10
        response = await login(client)
        assert not [name for name in response.headers if name.startswith("ratelimit")]
        for table in ("rate_limits", "login_counters"):
            assert await rows.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_registration_and_refresh_have_limits(applications: Applications) -> None:
    async with applications.client_of(rate_limit_register=(2, 60), rate_limit_refresh=(3, 60)) as client:
        token = (await register(client))["refresh_token"]
        await register(client, "chika@example.org")
        response = await client.post("/auth/register", json={"email": "ai@example.org", "password": PASSWORD})
        assert (response.status_code, response.headers["ratelimit-policy"]) == (429, '"register";q=2;w=60')
        statuses = [(await refresh(client, "unknown")).status_code for _ in range(3)]
        response = await refresh(client, token)
        assert [*statuses, response.status_code] == [401, 401, 401, 429]
        assert 0 < int(response.headers["retry-after"]) <= 60
        assert (await me(client, (await login(client)).json())).status_code == 200


@pytest.mark.parametrize("password", [WRONG, PASSWORD])
async def test_login_without_a_stored_count_is_503(database: URL, checks: list[str], password: str) -> None:
    async with client_of(database, login_refusal_ms=0) as client:
        await register(client)
    read_only = f"ALTER DATABASE {database.database} SET default_transaction_read_only"
    await execute(database, f"{read_only} = on")
    async with client_of(database, login_refusal_ms=0) as client:
        response = await login(client, password=password)
        await execute(database, "SET default_transaction_read_only = off", f"{read_only} = off")
        assert (response.status_code, response.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert response.headers["retry-after"].isdecimal()
    assert checks == []


async def test_login_without_database_is_503(server: URL, checks: list[str]) -> None:
    async with client_of(server.set(host="127.0.0.1", port=1, query={}), login_refusal_ms=0) as client:
        for path in ("login", "register", "refresh", "logout"):
            body = {"email": EMAIL, "password": PASSWORD, "refresh_token": "unknown"}
            response = await client.post(f"/auth/{path}", json=body)
            assert (response.status_code, response.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert checks == []


async def test_counters_store_neither_email_nor_address(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await guess(client, 2)
    keys = [row["key"] for row in await rows.fetch("SELECT key FROM login_counters")]
    assert len(keys) == 3
    assert {len(key) for key in keys} == {32}
    stored = b" ".join(keys) + str(await rows.fetch("SELECT c::text FROM login_counters c")).encode()
    assert not [word for word in (b"kaguya", b"example", b"127.0.0.1", b"login") if word in stored]
