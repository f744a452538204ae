"""Second factors through the API: TOTP and recovery codes, the second step of a login, and attacks on both."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import jwt
import pytest
from sqlalchemy.engine import URL

from tests.accounts import EMAIL, PASSWORD, bearer, login, me, register
from tests.application import client_of
from tests.databases import column, execute
from tests.second_factors import Clock, answer, challenge_of, protect, send

KEY = "k" * 32
OTHER = "chika@example.org"


@pytest.fixture(scope="module")
async def application(module_database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that rejects logins without a delay."""
    async with client_of(module_database, login_refusal_ms=0, app_name="Anime & Co") as client:
        yield client


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
def client(application: httpx.AsyncClient, database: URL) -> httpx.AsyncClient:
    return application


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def is_error(response: httpx.Response, status: int, message: str) -> None:
    code = {400: "VALIDATION_ERROR", 401: "AUTH_ERROR", 409: "CONFLICT_ERROR"}[status]
    expected = {"code": code, "message": message, "details": None}
    assert (response.status_code, response.json()) == (status, expected)


NO_FACTOR: dict[str, Any] = {"since": None, "totp_since": None, "recovery_codes": 0, "passkeys": []}
WRONG = "The code is wrong or was used before"
INVALID = "The challenge is invalid or has expired"


async def test_totp_is_set_up_with_a_code(client: httpx.AsyncClient, clock: Clock) -> None:
    tokens = await register(client)
    assert (await send(client, tokens, "GET")).json() == NO_FACTOR
    started = await send(client, tokens, "POST", "/totp", password=PASSWORD)
    assert started.status_code == 201
    assert started.headers["cache-control"] == "no-store"
    secret, uri = started.json()["secret"], urlsplit(started.json()["uri"])
    assert (uri.scheme, uri.netloc, parse_qs(uri.query)) == (
        "otpauth",
        "totp",
        {"secret": [secret], "issuer": ["Anime & Co"]},
    )
    assert (await login(client)).status_code == 200  # not confirmed yet
    confirmed = await send(client, tokens, "POST", "/totp/confirm", code=clock.code(secret))
    codes = confirmed.json()["recovery_codes"]
    assert (confirmed.status_code, len(set(codes))) == (200, 10)
    state = (await send(client, tokens, "GET")).json()
    assert state["since"]
    assert state["totp_since"]
    assert state["recovery_codes"] == 10
    assert (await me(client, tokens)).status_code == 200


async def test_login_with_totp_takes_two_steps(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    first = await login(client)
    assert first.status_code == 401
    assert first.headers["cache-control"] == "no-store"
    assert first.json() == {
        "code": "SECOND_FACTOR_REQUIRED",
        "message": "A second factor is required",
        "details": None,
        "challenge": first.json()["challenge"],
        "methods": ["totp", "recovery_code"],
    }
    shown = clock.code(user.secret)
    second = await answer(client, first.json()["challenge"], f"{shown[:3]} {shown[3:]}")
    assert second.status_code == 200
    assert second.headers["cache-control"] == "no-store"
    assert (await me(client, second.json())).status_code == 200


async def test_wrong_password_gets_no_challenge(client: httpx.AsyncClient, clock: Clock) -> None:
    await protect(client, clock)
    is_error(await login(client, EMAIL, "a wrong password"), 401, "Authentication failed")


@pytest.mark.parametrize("path", ["/totp", "/recovery-codes", ""])
async def test_change_with_wrong_password_is_refused(client: httpx.AsyncClient, clock: Clock, path: str) -> None:
    user = await protect(client, clock)
    body = {"password": "a wrong password"}
    body |= {"code": clock.code(user.secret)} if path == "/recovery-codes" else {}
    refused = await send(client, user.tokens, "POST" if path else "DELETE", path, **body)
    is_error(refused, 401, "Authentication failed")
    assert (await send(client, user.tokens, "GET")).json()["recovery_codes"] == 10
    assert (await answer(client, await challenge_of(client), user.recovery_codes[0])).status_code == 200


async def test_second_start_of_totp_is_refused(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    response = await send(client, user.tokens, "POST", "/totp", password=PASSWORD)
    is_error(response, 409, "TOTP is set up already: remove it first")


async def test_restart_before_confirmation_replaces_the_secret(client: httpx.AsyncClient, clock: Clock) -> None:
    tokens = await register(client)
    first, second = [(await send(client, tokens, "POST", "/totp", password=PASSWORD)).json() for _ in range(2)]
    old = await send(client, tokens, "POST", "/totp/confirm", code=clock.code(first["secret"]))
    is_error(old, 400, f"{WRONG}, or TOTP was not started")
    new = await send(client, tokens, "POST", "/totp/confirm", code=clock.code(second["secret"]))
    assert new.status_code == 200


async def test_confirmation_after_an_hour_is_refused(client: httpx.AsyncClient, database: URL, clock: Clock) -> None:
    tokens = await register(client)
    started = (await send(client, tokens, "POST", "/totp", password=PASSWORD)).json()
    await execute(database, "UPDATE totp_factors SET created_at = now() - interval '61 minutes'")
    late = await send(client, tokens, "POST", "/totp/confirm", code=clock.code(started["secret"]))
    is_error(late, 400, f"{WRONG}, or TOTP was not started")


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "٠١٢٣٤٥", "-12345", "x" * 64, "😀"])
async def test_wrong_code_is_refused(client: httpx.AsyncClient, clock: Clock, code: str) -> None:
    await protect(client, clock)
    is_error(await answer(client, await challenge_of(client), code), 401, WRONG)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"challenge": "x"},
        {"code": "123456"},
        {"challenge": 1, "code": 2},
        {"challenge": "x", "code": "x" * 65},
        {"challenge": "x" * 2049, "code": "123456"},
        {"challenge": "x", "code": "1", "trust": True},
    ],
)
async def test_malformed_second_step_is_refused(client: httpx.AsyncClient, body: Any) -> None:
    assert (await client.post("/auth/login/second-factor", json=body)).status_code == 422


@pytest.mark.parametrize(("steps", "status"), [(-2, 401), (-1, 200), (0, 200), (1, 200), (2, 401)])
async def test_clock_may_differ_by_one_step(client: httpx.AsyncClient, clock: Clock, steps: int, status: int) -> None:
    user = await protect(client, clock)
    clock.next_step()
    response = await answer(client, await challenge_of(client), clock.code(user.secret, steps))
    assert response.status_code == status


async def test_code_is_accepted_once(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    is_error(await answer(client, await challenge_of(client), clock.code(user.secret, -1)), 401, WRONG)  # confirmed it
    code = clock.code(user.secret, 1)
    assert (await answer(client, await challenge_of(client), code)).status_code == 200
    is_error(await answer(client, await challenge_of(client), code), 401, WRONG)
    # Nor is an earlier one, which an observer may have seen.
    is_error(await answer(client, await challenge_of(client), clock.code(user.secret)), 401, WRONG)


async def test_of_requests_with_one_code_one_succeeds(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    for code in (clock.code(user.secret), user.recovery_codes[0]):
        challenges = [await challenge_of(client) for _ in range(4)]
        responses = await asyncio.gather(*(answer(client, challenge, code) for challenge in challenges))
        statuses = [response.status_code for response in responses]
        assert statuses.count(200) == 1
        assert set(statuses) <= {200, 401, 429}


async def test_of_requests_with_one_challenge_one_succeeds(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    challenge = await challenge_of(client)
    responses = await asyncio.gather(*(answer(client, challenge, code) for code in user.recovery_codes[:3]))
    assert sorted(response.status_code for response in responses) == [200, 401, 401]
    is_error(await answer(client, challenge, user.recovery_codes[3]), 401, INVALID)
    assert (await send(client, user.tokens, "GET")).json()["recovery_codes"] == 9


async def test_recovery_code_works_once_in_any_spelling(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    spelled = f" {user.recovery_codes[0].replace('-', ' ').upper()} "
    assert (await answer(client, await challenge_of(client), spelled)).status_code == 200
    is_error(await answer(client, await challenge_of(client), user.recovery_codes[0]), 401, WRONG)
    assert (await send(client, user.tokens, "GET")).json()["recovery_codes"] == 9


async def test_new_recovery_codes_replace_the_old_ones(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    refused = await send(client, user.tokens, "POST", "/recovery-codes", password=PASSWORD, code="000000")
    is_error(refused, 401, WRONG)
    renewed = await send(
        client, user.tokens, "POST", "/recovery-codes", password=PASSWORD, code=clock.code(user.secret)
    )
    codes = renewed.json()["recovery_codes"]
    assert (renewed.status_code, len(codes)) == (200, 10)
    is_error(await answer(client, await challenge_of(client), user.recovery_codes[0]), 401, WRONG)
    assert (await answer(client, await challenge_of(client), codes[0])).status_code == 200


async def test_user_without_second_factor_gets_no_recovery_codes(client: httpx.AsyncClient) -> None:
    tokens = await register(client)
    response = await send(client, tokens, "POST", "/recovery-codes", password=PASSWORD, code="123456")
    is_error(response, 401, WRONG)


async def test_deletion_needs_only_the_password_afterwards(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    challenge = await challenge_of(client)
    for _ in range(2):  # a repeated request is no error
        assert (await send(client, user.tokens, "DELETE", password=PASSWORD)).status_code == 204
    assert (await login(client)).status_code == 200
    is_error(await answer(client, challenge, user.recovery_codes[0]), 401, WRONG)


async def test_code_of_another_user_is_refused(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    other = await protect(client, clock, OTHER)
    challenge = await challenge_of(client)
    for code in (clock.code(other.secret), other.recovery_codes[0]):
        is_error(await answer(client, challenge, code), 401, WRONG)
    assert (await answer(client, challenge, clock.code(user.secret))).status_code == 200


async def test_encrypted_secret_of_another_user_is_of_no_use(
    client: httpx.AsyncClient, database: URL, clock: Clock
) -> None:
    user = await protect(client, clock)
    await protect(client, clock, OTHER)
    mine = "(SELECT secret FROM totp_factors JOIN users ON id = user_id WHERE email = '{}')"
    await execute(database, f"UPDATE totp_factors SET last_step = NULL, secret = {mine.format(EMAIL)}")
    is_error(await answer(client, await challenge_of(client, OTHER), clock.code(user.secret)), 401, WRONG)


async def test_database_has_no_secret_and_no_code(client: httpx.AsyncClient, database: URL, clock: Clock) -> None:
    user = await protect(client, clock)
    [secret] = await column(database, "SELECT secret FROM totp_factors")
    assert user.secret.encode() not in secret
    stored = await column(database, "SELECT code_hash FROM recovery_codes")
    assert len(stored) == 10
    assert not {*stored} & {text for code in user.recovery_codes for text in (code, code.replace("-", ""))}


async def test_challenge_ends_with_the_password(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    challenge = await challenge_of(client)
    change = {"current_password": PASSWORD, "new_password": "another long password"}
    assert (await client.post("/auth/password", json=change, headers=bearer(user.tokens))).status_code == 204
    is_error(await answer(client, challenge, clock.code(user.secret)), 401, INVALID)
    again = await challenge_of(client, EMAIL, "another long password")
    assert (await answer(client, again, clock.code(user.secret))).status_code == 200


async def test_login_during_the_set_up_needs_a_second_factor(client: httpx.AsyncClient, database: URL) -> None:
    await register(client)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    connection = await asyncpg.connect(database.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        async with connection.transaction():
            await connection.execute("UPDATE users SET second_factor_since = now()")
            request = asyncio.create_task(login(client))
            while not request.done() and not (await column(database, waiting))[0]:
                continue
    finally:
        await connection.close()
    response = await request
    assert (response.status_code, response.json()["code"]) == (401, "SECOND_FACTOR_REQUIRED")


async def test_challenge_of_deactivated_user_is_refused(client: httpx.AsyncClient, database: URL, clock: Clock) -> None:
    user = await protect(client, clock)
    challenge = await challenge_of(client)
    await execute(database, "UPDATE users SET is_active = false")
    is_error(await answer(client, challenge, clock.code(user.secret)), 401, "Authentication failed")


@pytest.mark.parametrize("change", ["expired", "key", "typ", "user", "none", "access", "text"])
async def test_forged_challenge_is_refused(client: httpx.AsyncClient, clock: Clock, change: str) -> None:
    user = await protect(client, clock)
    challenge = await challenge_of(client)
    claims = jwt.decode(challenge, KEY, algorithms=["HS256"])
    other = (await me(client, await register(client, OTHER))).json()["id"]
    forged = {
        "expired": jwt.encode({**claims, "exp": claims["exp"] - 301}, KEY),
        "key": jwt.encode(claims, "x" * 32),
        "typ": jwt.encode({**claims, "typ": "access"}, KEY),
        "user": jwt.encode({**claims, "sub": other}, KEY),
        "none": jwt.encode(claims, "", "none"),
        "access": user.tokens["access_token"],
        "text": "not a token",
    }
    is_error(await answer(client, forged[change], clock.code(user.secret)), 401, INVALID)


async def test_challenge_is_no_access_token(client: httpx.AsyncClient, clock: Clock) -> None:
    await protect(client, clock)
    assert (await me(client, {"access_token": await challenge_of(client)})).status_code == 401


async def test_guesses_are_limited_over_challenges_and_applications(
    client: httpx.AsyncClient, database: URL, clock: Clock
) -> None:
    user = await protect(client, clock)
    await protect(client, clock, OTHER)
    async with client_of(database, login_refusal_ms=0) as second:
        for each in (client, second, client, second, client):
            is_error(await answer(each, await challenge_of(each), "000000"), 401, WRONG)
        for each in (client, second):
            limited = await answer(each, await challenge_of(each), clock.code(user.secret))
            assert (limited.status_code, limited.json()["code"]) == (429, "RATE_LIMITED")
            assert 0 < int(limited.headers["retry-after"]) <= 900
    # The limit is for the account alone.
    is_error(await answer(client, await challenge_of(client, OTHER), "000000"), 401, WRONG)


async def test_right_code_forgets_wrong_ones(client: httpx.AsyncClient, clock: Clock) -> None:
    user = await protect(client, clock)
    for code in user.recovery_codes[:2]:
        for _ in range(4):
            is_error(await answer(client, await challenge_of(client), "000000"), 401, WRONG)
        assert (await answer(client, await challenge_of(client), code)).status_code == 200


async def test_guest_reads_no_second_factor(client: httpx.AsyncClient) -> None:
    assert (await client.get("/auth/second-factor")).status_code == 401


async def test_rows_are_deleted_with_the_user(
    client: httpx.AsyncClient, rows: asyncpg.Connection, clock: Clock
) -> None:
    user = await protect(client, clock)
    response = await client.request("DELETE", "/users/me", json={"password": PASSWORD}, headers=bearer(user.tokens))
    assert response.status_code == 204
    left = "SELECT (SELECT count(*) FROM totp_factors) + (SELECT count(*) FROM recovery_codes)"
    assert await rows.fetchval(left) == 0
