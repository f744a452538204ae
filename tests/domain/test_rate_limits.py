"""Guessing is counted before it is checked, in the database, and stopped; the owner elsewhere is not."""

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
from tests.application import client_of
from tests.databases import execute

WRONG = "a wrong password"
LIMITED = {"code": "RATE_LIMITED", "message": "Too many requests", "details": None}
END_WINDOWS = "UPDATE rate_limits SET ends_at = clock_timestamp() - interval '1 second'"


@pytest.fixture
async def client(database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """The application, which refuses logins at once, and lets in as many requests at once as a worker does."""
    async with client_of(database, login_refusal_ms=0, db_pool_size=10) as client:
        yield client


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that reach the check."""
    checked: list[str] = []
    real = PasswordHasher.check

    async def check(hasher: PasswordHasher, password: str, stored: str | None) -> Verdict:
        checked.append(password)
        return await real(hasher, password, stored)

    monkeypatch.setattr(PasswordHasher, "check", check)
    return checked


async def guess(client: httpx.AsyncClient, times: int, email: str = EMAIL) -> list[int]:
    """What so many wrong passwords are answered."""
    return [(await login(client, email, f"{WRONG} {number}")).status_code for number in range(times)]


async def login_from(client: httpx.AsyncClient, address: str, password: str = PASSWORD) -> int:
    """What a login through a proxy is answered."""
    body = {"email": EMAIL, "password": password}
    return (await client.post("/auth/login", json=body, headers={"X-Forwarded-For": address})).status_code


@pytest.mark.parametrize("known", [True, False])
async def test_sixth_guess_is_stopped(client: httpx.AsyncClient, known: bool, checks: list[str]) -> None:
    if known:
        await register(client)
    for left in (4, 3, 2, 1, 0):
        answer = await login(client, password=WRONG)
        assert answer.status_code == 401
        assert answer.headers["ratelimit-policy"] == '"login";q=5;w=900'
        assert answer.headers["ratelimit"].startswith(f'"login";r={left};t=')
    for password in (WRONG, PASSWORD):
        answer = await login(client, password=password)
        assert (answer.status_code, answer.json()) == (429, LIMITED)
        assert 0 < int(answer.headers["retry-after"]) <= 900
        assert answer.headers["ratelimit-policy"] == '"login";q=5;w=900'
        assert answer.headers["ratelimit"] == f'"login";r=0;t={answer.headers["retry-after"]}'
        assert answer.headers["cache-control"] == "no-store"
    assert len(checks) == 5


async def test_spelling_of_the_email_gives_no_more_guesses(client: httpx.AsyncClient) -> None:
    await register(client)
    spellings = [EMAIL, EMAIL.upper(), f" {EMAIL}", f"{EMAIL} ", EMAIL.title()]
    assert [(await login(client, email, WRONG)).status_code for email in spellings] == [401] * 5
    assert [(await login(client, email, WRONG)).status_code for email in spellings] == [429] * 5


async def test_lock_is_not_prolonged_and_ends(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await register(client)
    await guess(client, 5)
    ends = await rows.fetch("SELECT key, ends_at FROM rate_limits ORDER BY key")
    assert await guess(client, 20) == [429] * 20
    assert await rows.fetch("SELECT key, ends_at FROM rate_limits ORDER BY key") == ends
    await rows.execute(END_WINDOWS)
    assert (await login(client)).status_code == 200


async def test_ended_window_begins_anew(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await guess(client, 6)
    await rows.execute(END_WINDOWS)
    assert await guess(client, 6) == [401] * 5 + [429]


async def test_locked_account_does_not_lock_its_address(client: httpx.AsyncClient) -> None:
    await register(client, "chika@example.org")
    await guess(client, 60)
    assert (await login(client, "chika@example.org")).status_code == 200


async def test_owner_at_another_address_gets_in(database: URL) -> None:
    async with client_of(database, login_refusal_ms=0, trusted_proxies=("127.0.0.0/8",)) as client:
        await register(client)
        assert [await login_from(client, "203.0.113.7", WRONG) for _ in range(6)] == [401] * 5 + [429]
        assert await login_from(client, "203.0.113.7") == 429
        assert await login_from(client, "203.0.113.8") == 200
        # What a client makes up stands to the left of what the proxy saw.
        assert await login_from(client, "203.0.113.9, 203.0.113.7") == 429
        assert await login_from(client, "203.0.113.7, 203.0.113.9") == 200
        assert await login_from(client, "203.0.113.7, 127.0.0.2") == 429


async def test_network_of_one_customer_is_one_address(database: URL) -> None:
    async with client_of(database, login_refusal_ms=0, trusted_proxies=("127.0.0.0/8",)) as client:
        await register(client)
        answers = [await login_from(client, f"2001:db8:0:1::{number}", WRONG) for number in range(6)]
        assert answers == [401] * 5 + [429]
        assert await login_from(client, "2001:db8:0:2::1") == 200


async def test_mapped_address_is_the_address_it_maps() -> None:
    # A socket for both versions of IP sees all of IPv4 so: one /64 would be everybody.
    assert network_of("::ffff:203.0.113.9") == network_of("203.0.113.9")
    assert network_of("::ffff:203.0.113.9") != network_of("::ffff:198.51.100.1")


@pytest.mark.parametrize("proxies", [(), ("10.0.0.0/8",), ("::1/128",)])
async def test_untrusted_proxy_is_not_believed(database: URL, proxies: tuple[str, ...]) -> None:
    async with client_of(database, login_refusal_ms=0, trusted_proxies=proxies) as client:
        await register(client)
        answers = [await login_from(client, f"203.0.113.{number}", WRONG) for number in range(6)]
        assert answers == [401] * 5 + [429]


async def test_five_of_two_hundred_guesses_at_once_are_checked(client: httpx.AsyncClient, checks: list[str]) -> None:
    await register(client)
    answers = await asyncio.gather(*(login(client, password=f"{WRONG} {number}") for number in range(200)))
    statuses = Counter(answer.status_code for answer in answers)
    # The queue of one worker may be too short for so many.
    assert (statuses[401], statuses[429] + statuses[503]) == (5, 195)
    assert statuses[429] > 0
    assert len(checks) == 5
    assert (await client.get("/health")).status_code == 200


async def test_one_password_on_many_accounts_is_stopped(client: httpx.AsyncClient, checks: list[str]) -> None:
    answers = [await login(client, f"{number}@example.org", WRONG) for number in range(50)]
    assert [answer.status_code for answer in answers] == [401] * 40 + [429] * 10
    assert answers[-1].headers["ratelimit-policy"] == '"login-address";q=40;w=900'
    assert len(checks) == 40


async def test_people_behind_one_address_do_not_hinder_each_other(database: URL) -> None:
    async with client_of(database, login_refusal_ms=0) as client:
        emails = [f"{number}@example.org" for number in range(12)]
        for email in emails:
            await register(client, email)
        for _ in range(2):
            answers = await asyncio.gather(*(login(client, email) for email in emails * 3))
            assert Counter(answer.status_code for answer in answers) == {200: 36}


async def test_right_passwords_at_once_do_not_lock_their_address(database: URL) -> None:
    async with client_of(database, login_refusal_ms=0) as client:
        emails = [f"{number}@example.org" for number in range(15)]
        for email in emails:
            await register(client, email)
        answers = await asyncio.gather(*(login(client, email) for email in emails * 2))
        assert Counter(answer.status_code for answer in answers) == {200: 30}


async def test_counts_hold_for_another_worker(database: URL) -> None:
    async with client_of(database, login_refusal_ms=0) as first, client_of(database, login_refusal_ms=0) as second:
        assert await guess(first, 3) + await guess(second, 3) == [401] * 5 + [429]
        assert await guess(first, 1) == [429]
    async with client_of(database, login_refusal_ms=0) as restarted:
        assert await guess(restarted, 1) == [429]


async def test_success_takes_failures_back(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await register(client)
    for _ in range(3):
        assert await guess(client, 4) == [401] * 4
        assert (await login(client)).status_code == 200
    assert await guess(client, 6) == [401] * 5 + [429]


async def test_success_takes_nothing_of_others_back(client: httpx.AsyncClient) -> None:
    await register(client, "chika@example.org")
    for _ in range(5):
        assert await guess(client, 1) == [401]
        assert (await login(client, "chika@example.org")).status_code == 200
    assert await guess(client, 1) == [429]
    # Nor does an account of one's own open the address for guesses again.
    statuses = []
    for number in range(40):
        statuses += await guess(client, 1, f"{number}@example.org")
        await login(client, "chika@example.org")
    assert statuses == [401] * 35 + [429] * 5


async def test_limits_are_switched_off(database: URL, rows: asyncpg.Connection) -> None:
    async with client_of(database, login_refusal_ms=0, rate_limit_enabled=False) as client:
        assert await guess(client, 10) == [401] * 10
        answer = await login(client)
        assert not [name for name in answer.headers if name.startswith("ratelimit")]
        assert await rows.fetchval("SELECT count(*) FROM rate_limits") == 0


async def test_registration_and_refresh_have_limits(database: URL) -> None:
    async with client_of(database, rate_limit_register=(2, 60), rate_limit_refresh=(3, 60)) as client:
        token = (await register(client))["refresh_token"]
        await register(client, "chika@example.org")
        answer = await client.post("/auth/register", json={"email": "ai@example.org", "password": PASSWORD})
        assert (answer.status_code, answer.headers["ratelimit-policy"]) == (429, '"register";q=2;w=60')
        statuses = [(await refresh(client, "unknown")).status_code for _ in range(3)]
        answer = await refresh(client, token)
        assert [*statuses, answer.status_code] == [401, 401, 401, 429]
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert (await me(client, (await login(client)).json())).status_code == 200


@pytest.mark.parametrize("password", [WRONG, PASSWORD])
async def test_counts_that_cannot_be_kept_are_503(database: URL, checks: list[str], password: str) -> None:
    async with client_of(database, login_refusal_ms=0) as client:
        await register(client)
    await execute(database, f"ALTER DATABASE {database.database} SET default_transaction_read_only = on")
    async with client_of(database, login_refusal_ms=0) as client:
        answer = await login(client, password=password)
        assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert answer.headers["retry-after"].isdecimal()
    assert checks == []


async def test_database_away_is_503(server: URL, checks: list[str]) -> None:
    async with client_of(server.set(host="127.0.0.1", port=1, query={}), login_refusal_ms=0) as client:
        for path in ("login", "register", "refresh", "logout"):
            body = {"email": EMAIL, "password": PASSWORD, "refresh_token": "unknown"}
            answer = await client.post(f"/auth/{path}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert checks == []


async def test_neither_email_nor_address_is_stored(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await guess(client, 2)
    keys = [row["key"] for row in await rows.fetch("SELECT key FROM rate_limits")]
    assert len(keys) == 2
    assert {len(key) for key in keys} == {32}
    stored = b" ".join(keys) + str(await rows.fetch("SELECT r::text FROM rate_limits r")).encode()
    assert not [word for word in (b"kaguya", b"example", b"127.0.0.1", b"login") if word in stored]
