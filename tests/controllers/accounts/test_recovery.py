"""Verification of e-mail addresses, and reset of passwords, by the links in mails that a worker sends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.settings.mail import MailURL
from tests.accounts import EMAIL, PASSWORD, bearer, login, me, refresh, register
from tests.application import Applications, client_of
from tests.links import INVALID, NEW_PASSWORD, OTHER, PATHS, Mails, change_email, follow, forgot


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
async def client(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that rejects logins without a delay and sends notices."""
    async with applications.client_of(login_refusal_ms=0, notify_security_events=True) as client:
        yield client


async def test_link_of_the_registration_verifies_the_address_once(client: httpx.AsyncClient, mails: Mails) -> None:
    tokens = await register(client)
    assert (await me(client, tokens)).json()["email_verified"] is False
    token = await mails.token(EMAIL, "verify-email")
    assert (await follow(client, "verify-email", token)).status_code == 204
    assert (await me(client, tokens)).json()["email_verified"] is True
    response = await follow(client, "verify-email", token)
    assert (response.status_code, response.json()) == (400, INVALID)


@pytest.mark.parametrize("signed_in", [True, False])
async def test_verification_mail_is_sent_again_until_the_address_is_verified(
    client: httpx.AsyncClient, mails: Mails, signed_in: bool
) -> None:
    tokens = await register(client)
    first = await mails.token(EMAIL, "verify-email")

    async def request() -> httpx.Response:
        if signed_in:
            return await client.post("/auth/verify/request", json={}, headers=bearer(tokens))
        return await client.post("/auth/verify/request", json={"email": EMAIL.upper()})

    assert (await request()).status_code == 202
    second = await mails.token(EMAIL, "verify-email")
    assert second != first
    assert (await follow(client, "verify-email", second)).status_code == 204
    count = len(await mails.to(EMAIL))
    assert (await request()).status_code == 202
    assert len(await mails.to(EMAIL)) == count


async def test_verification_request_of_a_guest_needs_an_address(client: httpx.AsyncClient) -> None:
    response = await client.post("/auth/verify/request", json={})
    assert (response.status_code, response.json()["details"]) == (422, [{"field": "email", "message": "Missing"}])


async def test_required_verification_refuses_login_until_the_link_is_followed(database: URL, mails: Mails) -> None:
    refused = {"code": "EMAIL_NOT_VERIFIED", "message": "The e-mail address is not verified", "details": None}
    async with client_of(database, login_refusal_ms=0, require_verified_email=True) as client:
        body = {"email": EMAIL, "password": PASSWORD}
        for path in ("/auth/register", "/auth/login"):
            response = await client.post(path, json=body)
            assert (response.status_code, response.json()) == (403, refused)
        assert (await login(client, password=NEW_PASSWORD)).status_code == 401
        assert (await follow(client, "verify-email", await mails.token(EMAIL, "verify-email"))).status_code == 204
        assert (await login(client)).status_code == 200


async def test_reset_sets_the_password_ends_sessions_and_tells_the_owner(
    client: httpx.AsyncClient, mails: Mails
) -> None:
    tokens = await register(client)
    assert (await forgot(client)).status_code == 202
    token = await mails.token(EMAIL, "reset-password")
    assert (await follow(client, "reset-password", token)).status_code == 204
    assert (await me(client, tokens)).status_code == 401
    assert (await refresh(client, tokens["refresh_token"])).status_code == 403
    assert (await login(client)).status_code == 401
    fresh = (await login(client, password=NEW_PASSWORD)).json()
    assert (await me(client, fresh)).json()["email_verified"] is True
    assert any("password of your Kitsu account was changed" in str(mail) for mail in await mails.to(EMAIL))
    assert (await follow(client, "reset-password", token)).json() == INVALID


@pytest.mark.parametrize(
    ("mail_url", "is_told"), [(MailURL("smtp", host="mail.example.org", port=25), True), (MailURL("console"), False)]
)
async def test_reset_is_told_without_notices_if_mail_is_set_up(
    database: URL, mails: Mails, mail_url: MailURL, is_told: bool
) -> None:
    async with client_of(database, notify_security_events=False, mail_url=mail_url) as client:
        await register(client)
        await forgot(client)
        token = await mails.token(EMAIL, "reset-password")
        assert (await follow(client, "reset-password", token)).status_code == 204
    told = [mail for mail in await mails.to(EMAIL) if "password of your Kitsu account was changed" in str(mail)]
    assert len(told) == is_told


async def test_response_for_an_unknown_address_is_that_of_a_known_one(client: httpx.AsyncClient, mails: Mails) -> None:
    await register(client)
    known, unknown = await forgot(client), await forgot(client, OTHER)
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content) == (202, known.content)
    varying = {"x-request-id"}
    assert {*known.headers.items()} ^ {*unknown.headers.items()} <= {
        (name, value) for response in (known, unknown) for name, value in response.headers.items() if name in varying
    } | {pair for response in (known, unknown) for pair in response.headers.items() if pair[0].startswith("ratelimit")}
    assert await mails.to(OTHER) == []


async def test_a_hundred_requests_for_one_address_send_five_mails(client: httpx.AsyncClient, mails: Mails) -> None:
    await register(client)
    sent = len(await mails.to(EMAIL))
    responses = [await forgot(client, EMAIL) for _ in range(100)]
    assert {response.status_code for response in responses} == {202}
    assert 1 <= len(await mails.to(EMAIL)) - sent <= 5


@pytest.mark.parametrize("is_taken", [True, False])
async def test_many_accounts_send_five_mails_to_one_new_address(
    client: httpx.AsyncClient, mails: Mails, is_taken: bool
) -> None:
    if is_taken:
        await register(client, OTHER)
    sent = len(await mails.to(OTHER))
    statuses = []
    for number in range(8):
        tokens = await register(client, f"user{number}@example.org")
        statuses.append((await change_email(client, tokens, OTHER.upper())).status_code)
    assert statuses == [*[202] * 5, *[429] * 3]
    assert len(await mails.to(OTHER)) - sent == 5
    await forgot(client, OTHER)
    assert len(await mails.to(OTHER)) - sent == 5 + is_taken


async def test_requests_from_one_address_are_limited(database: URL) -> None:
    async with client_of(database, rate_limit_mail_address=(3, 60)) as client:
        statuses = [(await forgot(client, f"{number}@example.org")).status_code for number in range(4)]
        assert statuses == [202, 202, 202, 429]


@pytest.mark.parametrize(
    "address",
    ["a@example.org\r\nBcc: b@example.org", "a@example.org\nb", "a b@example.org", "<a@example.org>", "a@b", ""],
)
async def test_address_that_would_change_a_mail_is_refused(client: httpx.AsyncClient, address: str) -> None:
    for path in ("/auth/password/forgot", "/auth/verify/request"):
        response = await client.post(path, json={"email": address})
        assert (response.status_code, response.json()["details"][0]["field"]) == (422, "email")


async def break_by_expiry(_client: httpx.AsyncClient, rows: asyncpg.Connection, _tokens: dict[str, str]) -> None:
    await rows.execute("UPDATE account_tokens SET expires_at = now() - interval '1 second'")


async def break_by_new_password(client: httpx.AsyncClient, _rows: asyncpg.Connection, tokens: dict[str, str]) -> None:
    body = {"current_password": PASSWORD, "new_password": "a third long password"}
    assert (await client.post("/auth/password", json=body, headers=bearer(tokens))).status_code == 204


async def break_by_new_address(_client: httpx.AsyncClient, rows: asyncpg.Connection, _tokens: dict[str, str]) -> None:
    await rows.execute("UPDATE users SET email = 'new@example.org'")


async def break_by_deactivation(_client: httpx.AsyncClient, rows: asyncpg.Connection, _tokens: dict[str, str]) -> None:
    await rows.execute("UPDATE users SET is_active = false")


async def break_by_deletion(_client: httpx.AsyncClient, rows: asyncpg.Connection, _tokens: dict[str, str]) -> None:
    await rows.execute("DELETE FROM users")


@pytest.mark.parametrize(
    "change", [break_by_expiry, break_by_new_password, break_by_new_address, break_by_deactivation, break_by_deletion]
)
async def test_reset_token_is_invalid_after(
    client: httpx.AsyncClient, mails: Mails, rows: asyncpg.Connection, change: Callable[..., Any]
) -> None:
    tokens = await register(client)
    await forgot(client)
    token = await mails.token(EMAIL, "reset-password")
    await change(client, rows, tokens)
    before = await rows.fetch("SELECT password_hash FROM users")
    response = await follow(client, "reset-password", token)
    assert (response.status_code, response.json()) == (400, INVALID)
    assert await rows.fetch("SELECT password_hash FROM users") == before


async def test_token_of_one_purpose_is_invalid_for_the_others(client: httpx.AsyncClient, mails: Mails) -> None:
    await register(client)
    await forgot(client)
    for kind in ("verify-email", "reset-password"):
        token = await mails.token(EMAIL, kind)
        for link in PATHS:
            if link != kind:
                assert (await follow(client, link, token)).json() == INVALID
    for token in ("", "x" * 43, "\ud800", "é" * 100):
        response = await client.post("/auth/verify", content=f'{{"token": {ascii(token)!s}}}'.replace("'", '"'))
        assert response.status_code in {400, 415, 422}


async def test_invalid_password_spends_no_token(client: httpx.AsyncClient, mails: Mails) -> None:
    await register(client)
    await forgot(client)
    token = await mails.token(EMAIL, "reset-password")
    assert (await follow(client, "reset-password", token, new_password="short")).status_code == 422
    assert (await follow(client, "reset-password", token)).status_code == 204


async def test_concurrent_resets_with_one_token_succeed_once(client: httpx.AsyncClient, mails: Mails) -> None:
    await register(client)
    await forgot(client)
    token = await mails.token(EMAIL, "reset-password")
    passwords = [f"{NEW_PASSWORD} {number}" for number in range(5)]
    responses = await asyncio.gather(
        *(follow(client, "reset-password", token, new_password=password) for password in passwords)
    )
    assert sorted(response.status_code for response in responses) == [204, 400, 400, 400, 400]
    winner = next(
        password for password, response in zip(passwords, responses, strict=True) if response.status_code == 204
    )
    assert (await login(client, password=winner)).status_code == 200


async def test_reset_during_a_password_change_leaves_one_of_both(client: httpx.AsyncClient, mails: Mails) -> None:
    tokens = await register(client)
    await forgot(client)
    token = await mails.token(EMAIL, "reset-password")
    third = "a third long password"
    body = {"current_password": PASSWORD, "new_password": third}
    reset, change = await asyncio.gather(
        follow(client, "reset-password", token), client.post("/auth/password", json=body, headers=bearer(tokens))
    )
    assert sorted([reset.status_code == 204, change.status_code == 204]) == [False, True]
    valid = NEW_PASSWORD if reset.status_code == 204 else third
    assert (await login(client, password=valid)).status_code == 200
    assert (await login(client)).status_code == 401
