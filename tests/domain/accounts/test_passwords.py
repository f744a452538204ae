"""Passwords: argon2id hashes, both forms of bcrypt from older databases, and the threads for hashing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256

import asyncpg
import bcrypt
import httpx
import pytest
from passlib.hash import argon2
from sqlalchemy.engine import URL

from kitsu.domain.accounts import passwords
from kitsu.domain.accounts.passwords import PasswordHasher, Verdict
from kitsu.errors import ServiceUnavailable
from tests.accounts import EMAIL, PASSWORD, is_refused, login, register
from tests.application import Applications, client_of

STORED = "SELECT password_hash FROM users"
QUEUE_TIMEOUT_SECONDS = 30
"""Seconds after which a test that hangs fails instead."""


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
async def client(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that rejects logins without a delay."""
    async with applications.client_of(login_refusal_ms=0, rate_limit_enabled=False) as client:
        yield client


class Gate:
    """Blocks every check of a password until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def check(self, *_: object) -> Verdict:
        """Replace the real check: every password is wrong."""
        self.entered.release()
        assert self.opened.wait(QUEUE_TIMEOUT_SECONDS)
        return Verdict(right=False)

    async def reached(self) -> None:
        """Return when a check has begun."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=QUEUE_TIMEOUT_SECONDS)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate that blocks the checks of passwords."""
    gate = Gate()
    monkeypatch.setattr("kitsu.domain.accounts.passwords._check", gate.check)
    yield gate
    gate.opened.set()


def hex_digest(password: str) -> str:
    return sha256(password.encode()).hexdigest()


def over_digest(password: str) -> str:
    """Return the hash that the older service stored."""
    return bcrypt.hashpw(hex_digest(password).encode(), bcrypt.gensalt(4)).decode()


def over_password(password: str) -> str:
    """Return the hash that the oldest service stored."""
    return bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()


OLD_FORMS = pytest.mark.parametrize("old_form", [over_digest, over_password])


async def add(rows: asyncpg.Connection, password_hash: str) -> None:
    """Insert a user of an older database."""
    await rows.execute(
        "INSERT INTO users (id, email, username, password_hash) VALUES (gen_random_uuid(), $1, 'kaguya', $2)",
        EMAIL,
        password_hash,
    )


@pytest.mark.usefixtures("real_passwords")
async def test_new_hash_is_argon2id_with_the_required_cost(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await register(client)
    await register(client, "chika@example.org")
    first, second = [row[0] for row in await rows.fetch(STORED)]
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second


@OLD_FORMS
@pytest.mark.parametrize(
    "password",
    [PASSWORD, "p" * 1024, "ünïcödé 🦊" * 20, "a" * 71 + "é" * 5, "x" * 64, "A" * 72],
    ids=["plain", "longest", "unicode", "cut inside a letter", "64", "72"],
)
async def test_login_with_bcrypt_hash_succeeds_and_replaces_it(
    client: httpx.AsyncClient, rows: asyncpg.Connection, old_form: object, password: str
) -> None:
    assert callable(old_form)
    await add(rows, old_form(password))
    assert is_refused(await login(client, password="another password"))
    assert (await rows.fetchval(STORED)).startswith("$2b$")
    assert (await login(client, password=password)).status_code == 200
    new = await rows.fetchval(STORED)
    assert new.startswith("$argon2id$")
    assert (await login(client, password=password)).status_code == 200
    assert await rows.fetchval(STORED) == new
    # The new hash is of the whole password.
    for other in (password[:-1], password[:-1] + "~", password[:72] + "~"):
        assert is_refused(await login(client, password=other))


@OLD_FORMS
@pytest.mark.parametrize("replaced", [False, True])
async def test_login_with_sha256_of_the_password_is_refused(
    client: httpx.AsyncClient, rows: asyncpg.Connection, old_form: object, replaced: bool
) -> None:
    assert callable(old_form)
    await add(rows, old_form(PASSWORD))
    if replaced:
        assert (await login(client)).status_code == 200
    stored, digest = await rows.fetchval(STORED), hex_digest(PASSWORD)
    for guess in (digest, digest.upper(), f"{digest}\0", f"{digest}\0{digest}", f"{digest} ", digest + "a" * 8):
        assert is_refused(await login(client, password=guess))
    assert await rows.fetchval(STORED) == stored


async def test_login_with_hash_of_a_decomposed_password_replaces_it(
    client: httpx.AsyncClient, rows: asyncpg.Connection
) -> None:
    composed, decomposed = "caf\u00e9-m\u00fcnchen", "cafe\u0301-mu\u0308nchen"
    await add(rows, argon2.using(memory_cost=64, time_cost=1, parallelism=1).hash(decomposed))
    assert is_refused(await login(client, password=composed))
    assert (await login(client, password=decomposed)).status_code == 200
    assert (await login(client, password=composed)).status_code == 200


async def test_login_with_first_72_bytes_of_bcrypt_password_stores_the_whole_password(
    client: httpx.AsyncClient, rows: asyncpg.Connection
) -> None:
    await add(rows, over_password("p" * 72 + "first"))
    assert (await login(client, password="p" * 72 + "second")).status_code == 200
    assert is_refused(await login(client, password="p" * 72 + "first"))


async def test_password_with_nul_is_not_truncated(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await add(rows, over_password("pass"))
    for guess in ("pass\0word", "pass\0pass\0", "pass\0"):
        assert is_refused(await login(client, password=guess))


@pytest.mark.usefixtures("real_passwords")
async def test_login_with_weaker_argon2_hash_replaces_it(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await add(rows, argon2.using(memory_cost=64, time_cost=1, parallelism=1).hash(PASSWORD))
    assert (await login(client)).status_code == 200
    assert (await rows.fetchval(STORED)).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize("stored", ["", "!", "plain text", "$2b$12$", "$argon2id$x", PASSWORD, hex_digest(PASSWORD)])
async def test_login_with_damaged_hash_is_refused(
    client: httpx.AsyncClient, rows: asyncpg.Connection, stored: str
) -> None:
    await add(rows, stored)
    assert is_refused(await login(client))
    assert is_refused(await login(client, password=stored))


async def test_concurrent_logins_replace_bcrypt_hash_once(client: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    await add(rows, over_digest(PASSWORD))
    responses = await asyncio.gather(*(login(client) for _ in range(4)))
    assert [response.status_code for response in responses] == [200] * 4
    assert (await login(client)).status_code == 200


@pytest.mark.parametrize("common", ["password123", "PASSWORD123"])
async def test_common_password_is_refused_if_enabled(applications: Applications, common: str) -> None:
    assert "password123" in passwords.COMMON
    async with applications.client_of(refuse_common_passwords=True) as client:
        response = await client.post("/auth/register", json={"email": EMAIL, "password": common})
        assert response.status_code == 422
    async with applications.client_of() as client:
        await register(client, password=common)


async def test_full_queue_rejects_until_it_is_processed(gate: Gate) -> None:
    hasher = PasswordHasher(threads=1, queue=2)
    waiting = [asyncio.create_task(hasher.check(PASSWORD, None)) for _ in range(3)]
    await gate.reached()
    for _ in range(3):
        with pytest.raises(ServiceUnavailable):
            await hasher.check(PASSWORD, None)
    gate.opened.set()
    assert await asyncio.gather(*waiting) == [Verdict(right=False)] * 3
    assert await hasher.check(PASSWORD, None) == Verdict(right=False)
    hasher.close()


async def test_login_with_full_queue_returns_503(database: URL, gate: Gate) -> None:
    async with client_of(database, login_refusal_ms=0, password_threads=1, password_queue=0) as client:
        first = asyncio.create_task(login(client))
        await gate.reached()
        response = await login(client, "chika@example.org")
        assert (response.status_code, response.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert response.headers["retry-after"].isdecimal()
        gate.opened.set()
        assert is_refused(await first)


async def test_hashing_blocks_neither_event_loop_nor_database(database: URL, gate: Gate) -> None:
    one = {"db_pool_size": 1, "db_max_overflow": 0, "login_refusal_ms": 0}
    async with client_of(database, **one) as client:
        logins = [asyncio.create_task(login(client, f"{number}@example.org")) for number in range(5)]
        await gate.reached()
        # With the only connection of the pool, on the only event loop, while five passwords wait.
        for path in ("/health", "/health/ready", "/anime", "/health/live"):
            assert (await client.get(path)).status_code == 200
        assert not any(task.done() for task in logins)
        gate.opened.set()
        assert all(is_refused(response) for response in await asyncio.gather(*logins))


async def test_hashing_uses_its_own_bounded_threads(gate: Gate) -> None:
    hasher = PasswordHasher(threads=2, queue=20)
    tasks = [asyncio.create_task(hasher.check(PASSWORD, None)) for _ in range(10)]
    await gate.reached()
    await gate.reached()
    assert not gate.entered.acquire(blocking=False)
    assert len([thread for thread in threading.enumerate() if thread.name.startswith("passwords")]) >= 2
    gate.opened.set()
    assert len(await asyncio.gather(*tasks)) == 10
    hasher.close()
