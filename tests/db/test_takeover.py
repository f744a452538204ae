"""Upgrade of a FastAPI service's database with its passwords, tokens and progress, and the downgrade."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.db.engine import create_engine
from kitsu.db.migrations import SchemaError
from tests.application import client_of
from tests.cli.invoke import invoked
from tests.databases import connect, execute
from tests.db.service_database import ROWS, TABLES, rows, schema, tables

PASSWORD = "пароль of the old service"
LONG = "x" * 80  # longer than what bcrypt hashes
TOKEN, REVOKED, EXPIRED = "living-token", "revoked-token", "expired-token"


def bcrypt_of(password: bytes) -> str:
    return bcrypt.hashpw(password, bcrypt.gensalt(4)).decode()


def hex_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def user_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


PEOPLE = {
    "Digest@X.org": (11, bcrypt_of(hex_of(PASSWORD).encode())),
    "plain@x.org": (12, bcrypt_of(PASSWORD.encode())),
    "long@x.org": (13, bcrypt_of(LONG.encode()[:72])),
    "digest@y.org": (14, bcrypt_of(hex_of(LONG).encode())),
    "--@x.org": (15, bcrypt_of(hex_of(PASSWORD).encode())),
    "имя@x.org": (16, bcrypt_of(hex_of(PASSWORD).encode())),
    "DIGEST@z.org": (17, bcrypt_of(hex_of(PASSWORD).encode())),
    "user@x.org": (18, bcrypt_of(hex_of(PASSWORD).encode())),
    "a-very-long-name-that-is-cut-after-thirty-two@x.org": (19, bcrypt_of(hex_of(PASSWORD).encode())),
    "a-very-long-name-that-is-cut-after-thirty-three@x.org": (20, bcrypt_of(hex_of(PASSWORD).encode())),
}


async def make(url: URL, revision: str, *more: str) -> None:
    """Create a database of the service with these users."""
    await execute(url, TABLES, ROWS, f"INSERT INTO alembic_version VALUES ('{revision}')", *more)
    connection = await connect(url)
    try:
        for email, (number, password_hash) in PEOPLE.items():
            await connection.execute(
                "INSERT INTO users (id, email, password_hash) VALUES ($1, $2, $3)",
                *(user_id(number), email, password_hash),
            )
        for number, token, revoked, days in ((11, TOKEN, False, 3), (12, REVOKED, True, 3), (13, EXPIRED, False, -3)):
            await connection.execute(
                "INSERT INTO refresh_tokens (id, user_id, token_hash, expires_at, revoked, created_at) "
                "VALUES (gen_random_uuid(), $1, $2, now() + make_interval(days => $3), $4, now() - interval '4 days')",
                *(user_id(number), hex_of(token), days, revoked),
            )
    finally:
        await connection.close()


async def migrate(url: URL, revision: str = "head") -> None:
    engine = create_engine(url)
    try:
        await migrations.migrate(engine, revision)
    finally:
        await engine.dispose()


async def fetch(url: URL, query: str) -> list[Any]:
    connection = await connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


@pytest.fixture(params=["0007", "0008"])
async def taken_over(bare_database: URL, request: pytest.FixtureRequest) -> URL:
    """A database of the service, upgraded."""
    await make(bare_database, request.param)
    await migrate(bare_database)
    return bare_database


async def test_upgrade_keeps_the_rows(bare_database: URL) -> None:
    await make(bare_database, "0007")
    columns, before = await tables(bare_database), await rows(bare_database)
    del columns["refresh_tokens"]
    await migrate(bare_database)
    after = await rows(bare_database, columns)
    assert after == {table: before[table] for table in columns}
    assert len(after["favorites"]) == len(after["watch_progress"]) == 2


async def test_users_with_either_old_hash_log_in(taken_over: URL) -> None:
    async with client_of(taken_over, login_refusal_ms=0, rate_limit_enabled=False) as client:

        async def login(email: str, password: str) -> int:
            return (await client.post("/auth/login", json={"email": email, "password": password})).status_code

        passwords = {email: LONG if number in {13, 14} else PASSWORD for email, (number, _) in PEOPLE.items()}
        for email, password in passwords.items():
            assert await login(email, f"{password}-wrong" if password == PASSWORD else "wrong" * 9) == 401
            assert await login(email, hex_of(password)) == 401
            assert await login(email, hex_of(password).upper()) == 401
        assert {row[0] for row in await fetch(taken_over, "SELECT left(password_hash, 4) FROM users")} >= {"$2b$"}
        for email, password in passwords.items():
            for _ in range(2):  # the second time with the new hash
                assert await login(email.swapcase(), password) == 200, email
            assert await login(email, hex_of(password)) == 401
        found = await fetch(taken_over, "SELECT email FROM users WHERE password_hash LIKE '$argon2id$%'")
        assert {row[0] for row in found} == set(PEOPLE)


async def test_old_refresh_token_is_accepted_once(taken_over: URL) -> None:
    async with client_of(taken_over) as client:

        async def refresh(token: str) -> Any:
            return await client.post("/auth/refresh", json={"refresh_token": token})

        for token, status in ((REVOKED, 403), (EXPIRED, 401), ("unknown", 401)):
            assert (await refresh(token)).status_code == status
        first = await refresh(TOKEN)
        assert first.status_code == 200
        me = await client.get("/users/me", headers={"Authorization": f"Bearer {first.json()['access_token']}"})
        assert (me.json()["id"], me.json()["email"], me.json()["role"]) == (user_id(11), "Digest@X.org", "user")
        assert (await refresh(first.json()["refresh_token"])).status_code == 200
        assert (await refresh(TOKEN)).status_code == 401  # used before the last one: stolen
        assert (await refresh(TOKEN)).status_code == 403


async def test_each_user_has_a_unique_username(taken_over: URL) -> None:
    found = await fetch(taken_over, "SELECT username FROM users")
    names = [row[0] for row in found]
    assert len({name.lower() for name in names}) == len(names) == len(PEOPLE) + 2
    assert all(3 <= len(name) <= 32 for name in names)
    bad = await fetch(taken_over, "SELECT username FROM users WHERE username !~ '^[A-Za-z0-9_-]{3,32}$'")
    assert bad == []
    assert {"Digest", "plain", "long"} <= set(names)


async def test_generated_username_equal_to_another_local_part_is_unique(bare_database: URL) -> None:
    """Equal names get the end of the id as a suffix, which may be the local part of another user."""
    more = [
        "INSERT INTO users (id, email, password_hash, created_at) "
        f"VALUES ('{user_id(number)}', '{email}', 'x', '{day}Z')"
        for number, email, day in (
            (31, "same@a.org", "2020-01-01"),
            (32, "same@b.org", "2020-01-02"),
            (33, f"same-{user_id(32)[-12:]}@c.org", "2020-01-03"),
        )
    ]
    await make(bare_database, "0007", *more)
    await migrate(bare_database)
    names = [row[0].lower() for row in await fetch(bare_database, "SELECT username FROM users")]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("revision", ["0007", "0008"])
async def test_upgrade_with_emails_that_differ_in_case_is_refused(
    bare_database: URL, revision: str, tmp_path: Path
) -> None:
    pairs = ("plain@X.org", "PLAIN@x.org", "DIGEST@x.ORG")
    more = [
        f"INSERT INTO users (id, email, password_hash) VALUES (gen_random_uuid(), '{email}', 'x')" for email in pairs
    ]
    await make(bare_database, revision, *more)
    before = await schema(bare_database, versioned=True), await rows(bare_database)
    with pytest.raises(SchemaError) as caught:
        await migrate(bare_database)
    message = str(caught.value)
    for email in (*pairs, "plain@x.org", "Digest@X.org"):
        assert email in message
    assert "long@x.org" not in message
    assert "kitsu settle-emails" in message
    assert (await schema(bare_database, versioned=True), await rows(bare_database)) == before
    assert [row[0] for row in await fetch(bare_database, "SELECT version_num FROM alembic_version")] == [revision]

    code, _, errors = await invoked(tmp_path, "migrate", database=bare_database)
    assert code == 1
    assert "kitsu settle-emails" in errors
    assert "plain@X.org" in errors
    settle = ("settle-emails", "--yes", "--keep", "plain@x.org")
    assert (await invoked(tmp_path, *settle, database=bare_database))[0] == 0
    code, _, errors = await invoked(tmp_path, "migrate", database=bare_database)
    assert code == 0, errors
    assert await fetch(bare_database, "SELECT 1 FROM users WHERE email = 'plain@x.org'")


async def test_downgrade_keeps_the_columns_of_the_older_schema(taken_over: URL) -> None:
    emails = "SELECT id, email FROM users ORDER BY id"
    before = await fetch(taken_over, emails)
    async with client_of(taken_over, login_refusal_ms=0) as client:
        credentials = {"email": "digest@x.org", "password": PASSWORD}
        used, other = [(await client.post("/auth/login", json=credentials)).json() for _ in range(2)]
        used = (await client.post("/auth/refresh", json={"refresh_token": used["refresh_token"]})).json()
        ended = (await client.post("/auth/login", json=credentials)).json()
        await client.post("/auth/logout", json={"refresh_token": ended["refresh_token"]})
    await migrate(taken_over, "0007")
    assert await fetch(taken_over, emails) == before
    held = {
        str(row["user_id"]): row
        for row in await fetch(taken_over, "SELECT user_id, token_hash, revoked FROM refresh_tokens")
    }
    assert held[user_id(11)]["token_hash"] == hex_of(used["refresh_token"])
    assert held[user_id(11)]["revoked"] is False
    assert held[user_id(12)]["token_hash"] == hex_of(REVOKED)
    assert held[user_id(12)]["revoked"] is True
    assert held[user_id(13)]["token_hash"] == hex_of(EXPIRED)

    await migrate(taken_over)
    async with client_of(taken_over, login_refusal_ms=0) as client:
        for token, status in (
            (used["refresh_token"], 200),
            (other["refresh_token"], 401),
            (REVOKED, 403),
            (EXPIRED, 401),
        ):
            assert (await client.post("/auth/refresh", json={"refresh_token": token})).status_code == status
        login = await client.post("/auth/login", json=credentials)
        assert login.status_code == 200
    assert await fetch(taken_over, emails) == before
