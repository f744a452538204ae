"""Logins of many users from one address, and of one user from many addresses, while others guess."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.domain.accounts.passwords import PasswordHasher, Verdict
from kitsu.errors import ServiceUnavailable
from tests.accounts import EMAIL, PASSWORD, login, register
from tests.application import client_of
from tests.db.waiting import until

WRONG = "a wrong password"
HOME, OFFICE = "198.51.100.1", "198.51.100.2"


@pytest.fixture(scope="module")
async def application(module_database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application behind a proxy, which rejects logins without a delay."""
    settings = {"login_refusal_ms": 0, "db_pool_size": 10, "trusted_proxies": ("127.0.0.0/8",)}
    async with client_of(module_database, **settings) as client:
        yield client


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
def client(application: httpx.AsyncClient, database: URL) -> httpx.AsyncClient:
    return application


async def login_from(client: httpx.AsyncClient, address: str, password: str = WRONG) -> httpx.Response:
    """Return the response to a login of one user from an address."""
    body = {"email": EMAIL, "password": password}
    return await client.post("/auth/login", json=body, headers={"X-Forwarded-For": address})


async def statuses_from(client: httpx.AsyncClient, addresses: Iterable[str]) -> list[int]:
    """Return the statuses of a wrong password from each address."""
    return [(await login_from(client, address)).status_code for address in addresses]


def networks(number: int, start: int = 0) -> list[str]:
    """Return addresses of so many networks of IPv6."""
    return [f"2001:db8:0:{each:x}::1" for each in range(start, start + number)]


async def register_class(client: httpx.AsyncClient, number: int) -> list[str]:
    """Register so many users, and return their e-mails."""
    emails = [f"{each}@example.org" for each in range(number)]
    for email in emails:
        await register(client, email)
    return emails


async def test_sixty_users_behind_one_address_log_in_at_once(client: httpx.AsyncClient) -> None:
    emails = await register_class(client, 60)
    for _ in range(2):
        responses = await asyncio.gather(*(login(client, email) for email in emails))
        assert Counter(response.status_code for response in responses) == {200: 60}


async def test_user_logs_in_on_many_devices_at_once(client: httpx.AsyncClient) -> None:
    await register(client)
    responses = await asyncio.gather(*(login(client) for _ in range(30)))
    assert Counter(response.status_code for response in responses) == {200: 30}


@pytest.mark.parametrize("at_once", [False, True])
async def test_wrong_passwords_of_one_user_lock_out_nobody_else(client: httpx.AsyncClient, at_once: bool) -> None:
    await register(client)
    emails = await register_class(client, 45)
    if at_once:
        guesses = await asyncio.gather(*(login(client, password=f"{WRONG} {number}") for number in range(41)))
    else:
        guesses = [await login(client, password=f"{WRONG} {number}") for number in range(41)]
    assert Counter(response.status_code for response in guesses) == {401: 5, 429: 36}
    responses = [await login(client, email) for email in emails]
    assert {response.status_code for response in responses} == {200}


async def test_one_password_on_many_accounts_at_once_is_429(client: httpx.AsyncClient) -> None:
    responses = await asyncio.gather(*(login(client, f"{number}@example.org", WRONG) for number in range(50)))
    assert Counter(response.status_code for response in responses) == {401: 40, 429: 10}


async def test_refused_logins_store_nothing(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    for number in range(45):
        await login(client, f"{number}@example.org", WRONG)
    count = "SELECT count(*) FROM login_counters"
    assert await rows.fetchval(count) == 1 + 2 * 40
    assert (await login(client, "another@example.org", WRONG)).status_code == 429
    assert await rows.fetchval(count) == 1 + 2 * 40


async def test_right_passwords_leave_no_counters(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await register(client)
    for password in (WRONG, PASSWORD, PASSWORD):
        await login(client, password=password)
    # The failure counts for the e-mail until its window ends.
    assert [tuple(row) for row in await rows.fetch("SELECT failures, unfinished FROM login_counters")] == [(1, 0)]


@pytest.mark.parametrize("known", [True, False])
async def test_guesses_from_many_networks_wait(client: httpx.AsyncClient, known: bool) -> None:
    if known:
        await register(client)
    responses = [await login_from(client, address) for address in networks(22)]
    assert [response.status_code for response in responses] == [401] * 10 + [429] * 12
    delays = [int(response.headers["retry-after"]) for response in responses[10:]]
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert responses[10].headers["ratelimit-policy"] == '"login-account";q=10;w=900'
    # One that comes back too early is no further network.
    again = [await login_from(client, networks(1, start=15)[0]) for _ in range(3)]
    assert [response.status_code for response in again] == [429] * 3
    assert all(30 <= int(response.headers["retry-after"]) <= 32 for response in again)
    assert int((await login_from(client, HOME)).headers["retry-after"]) == 300


async def test_guesses_from_many_networks_at_once_wait(client: httpx.AsyncClient) -> None:
    await register(client)
    responses = await asyncio.gather(*(login_from(client, address) for address in networks(120)))
    assert Counter(response.status_code for response in responses) == {401: 10, 429: 110}


async def test_owner_logs_in_during_an_attack(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await client.post("/auth/register", json={"email": EMAIL, "password": PASSWORD}, headers={"X-Forwarded-For": HOME})
    await statuses_from(client, networks(40))
    # At home at once, also after a typing error; elsewhere after the delay, during which the attack goes on.
    statuses = [(await login_from(client, HOME, password)).status_code for password in (WRONG, PASSWORD)]
    assert statuses == [401, 200]
    response = await login_from(client, OFFICE, PASSWORD)
    assert (response.status_code, response.headers["retry-after"]) == (429, "300")
    await statuses_from(client, networks(40, start=40))
    await rows.execute(
        "UPDATE login_counters SET waits_until = waits_until - interval '300 s', "
        "ends_at = CASE WHEN waits_until IS NULL THEN ends_at ELSE now() END"
    )
    assert (await login_from(client, OFFICE, PASSWORD)).status_code == 200
    # From now on it is a network of the owner's.
    assert (await login_from(client, OFFICE, PASSWORD)).status_code == 200


async def test_network_gets_one_try_after_its_delay(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await register(client)
    await statuses_from(client, networks(10))
    assert await statuses_from(client, [OFFICE]) == [429]
    await rows.execute("UPDATE login_counters SET waits_until = now()")
    assert await statuses_from(client, [OFFICE] * 3) == [401, 429, 429]
    await rows.execute("UPDATE login_counters SET ends_at = now()")
    assert await statuses_from(client, [OFFICE]) == [401]


@pytest.mark.parametrize("reason", ["password", "reuse", "account", "ended"])
async def test_network_of_a_revoked_session_waits(
    client: httpx.AsyncClient, rows: asyncpg.Connection, reason: str
) -> None:
    body = {"email": EMAIL, "password": PASSWORD}
    await client.post("/auth/register", json=body, headers={"X-Forwarded-For": HOME})
    await rows.execute("UPDATE auth_sessions SET revoked_at = now(), revoke_reason = $1", reason)
    await statuses_from(client, networks(10))
    assert (await login_from(client, HOME, PASSWORD)).status_code == 429


async def test_login_without_a_check_does_not_count(
    client: httpx.AsyncClient, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(client)

    async def check(*_: object) -> Verdict:
        raise ServiceUnavailable  # the queue is full

    with monkeypatch.context() as patched:
        patched.setattr(PasswordHasher, "check", check)
        assert [(await login(client)).status_code for _ in range(6)] == [503] * 6
    assert await rows.fetchval("SELECT count(*) FROM login_counters") == 0
    assert (await login(client)).status_code == 200


async def test_login_that_is_cancelled_does_not_count(
    client: httpx.AsyncClient, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(client)
    is_checking = asyncio.Event()

    async def check(*_: object) -> Verdict:
        is_checking.set()
        await asyncio.sleep(60)
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(PasswordHasher, "check", check)
        request = asyncio.create_task(login(client))
        await is_checking.wait()
        assert await rows.fetchval("SELECT sum(unfinished) FROM login_counters") > 0
        request.cancel()

    async def is_forgotten() -> bool:
        return bool(await rows.fetchval("SELECT count(*) = 0 FROM login_counters"))

    await until(is_forgotten)


async def test_attempts_that_never_end_are_forgotten(
    client: httpx.AsyncClient, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kitsu.domain.accounts.login_limits.WAIT_SECONDS", 0)
    await register(client)
    await login(client, password=WRONG)
    await rows.execute("UPDATE login_counters SET unfinished = 5")  # of a killed worker
    response = await login(client)
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")
    await rows.execute("UPDATE login_counters SET ends_at = now()")
    assert (await login(client)).status_code == 200


async def test_waiting_logins_hold_no_slot(
    client: httpx.AsyncClient, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kitsu.domain.accounts.login_limits.WAIT_SECONDS", 60)  # a slow machine checks 60 passwords
    await register(client)
    await login(client, password=WRONG)
    await rows.execute("UPDATE login_counters SET unfinished = 5")
    waiting = [asyncio.create_task(login(client)) for _ in range(60)]
    await asyncio.sleep(0.1)
    assert (await client.get("/anime")).status_code == 200
    assert not [task for task in waiting if task.done()]
    await rows.execute("UPDATE login_counters SET unfinished = 0")
    assert {(await task).status_code for task in waiting} == {200}
