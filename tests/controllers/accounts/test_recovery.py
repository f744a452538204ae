"""Verification and change of e-mail addresses, and reset of passwords, by the links in mails that a worker sends."""

import asyncio
import email
import re
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL
from uuid_utils.compat import uuid7

from kitsu.settings.mail import MailURL
from tests.accounts import EMAIL, PASSWORD, bearer, login, me, refresh, register
from tests.application import Applications, client_of
from tests.jobs.working import until, working
from tests.passkeys import Authenticator, add_passkey, answer_with_passkey
from tests.second_factors import challenge_of

NEW_PASSWORD = "another long password"
OTHER = "chika@example.org"
INVALID = {"code": "VALIDATION_ERROR", "message": "The token is invalid or has expired", "details": None}
PATHS = {
    "verify-email": "/auth/verify",
    "reset-password": "/auth/password/reset",
    "confirm-email": "/auth/email/confirm",
    "revert-email": "/auth/email/revert",
}
"""The paths that take the tokens of links, by the path of a link."""


class Mails:
    """The mails of a worker, in a folder."""

    def __init__(self, folder: Path, rows: asyncpg.Connection) -> None:
        self._folder, self._rows = folder, rows

    async def to(self, address: str) -> list[EmailMessage]:
        """Return the mails to an address, oldest first, when no job waits."""
        await until(self._is_idle)
        found: Any = [
            email.message_from_bytes(path.read_bytes(), policy=default) for path in sorted(self._folder.glob("*.eml"))
        ]
        return [mail for mail in found if mail["To"] == address]

    async def token(self, address: str, link: str) -> str:
        """Return the token of the last link of a kind that was sent to an address."""
        texts = [str(mail.get_body(("plain",)).get_content()) for mail in await self.to(address)]  # type: ignore[union-attr] # each has one
        tokens = [found[1] for text in texts if (found := re.search(rf"/{link}\?token=(\S+)", text))]
        assert tokens, texts
        return tokens[-1]

    async def _is_idle(self) -> bool:
        return not await self._rows.fetchval("SELECT count(*) FROM pgqueuer WHERE status <> 'failed'")


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
async def client(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that rejects logins without a delay and sends notices."""
    async with applications.client_of(login_refusal_ms=0, notify_security_events=True) as client:
        yield client


@pytest.fixture
async def mails(database: URL, rows: asyncpg.Connection, tmp_path: Path) -> AsyncIterator[Mails]:
    """Run a worker that writes mails to a folder."""
    async with working(database, mail_url=MailURL("file", folder=tmp_path)):
        yield Mails(tmp_path, rows)


async def follow(client: httpx.AsyncClient, link: str, token: str, **more: str) -> httpx.Response:
    """Send the token of a link as the front end does."""
    if link == "reset-password":
        more = {"new_password": NEW_PASSWORD} | more
    return await client.post(PATHS[link], json={"token": token, **more})


async def forgot(client: httpx.AsyncClient, address: str = EMAIL) -> httpx.Response:
    return await client.post("/auth/password/forgot", json={"email": address})


async def change_email(client: httpx.AsyncClient, tokens: dict[str, str], address: str) -> httpx.Response:
    body = {"email": address, "password": PASSWORD}
    return await client.patch("/users/me/email", json=body, headers=bearer(tokens))


async def verified(client: httpx.AsyncClient, mails: Mails) -> dict[str, str]:
    """Return the tokens of a user with a verified address."""
    tokens = await register(client)
    assert (await follow(client, "verify-email", await mails.token(EMAIL, "verify-email"))).status_code == 204
    return tokens


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


async def test_new_address_counts_when_its_link_is_followed_and_can_be_reverted(
    client: httpx.AsyncClient, mails: Mails
) -> None:
    tokens = await verified(client, mails)
    assert (await change_email(client, tokens, OTHER)).status_code == 202
    assert (await me(client, tokens)).json()["email"] == EMAIL
    assert (await follow(client, "confirm-email", await mails.token(OTHER, "confirm-email"))).status_code == 204
    assert {"email": OTHER, "email_verified": True}.items() <= (await me(client, tokens)).json().items()
    assert (await login(client, OTHER)).status_code == 200
    # While the owner may want it back, no other user gets the old address.
    response = await client.post("/auth/register", json={"email": EMAIL, "password": PASSWORD})
    assert response.json()["message"] == "Email already registered"
    revert = await mails.token(EMAIL, "revert-email")
    assert (await follow(client, "revert-email", revert)).status_code == 204
    assert (await me(client, tokens)).status_code == 401
    assert (await login(client, OTHER)).status_code == 401
    assert (await me(client, (await login(client)).json())).json()["email"] == EMAIL
    assert (await follow(client, "revert-email", revert)).json() == INVALID


async def test_first_owner_reverts_several_changes_and_later_links_end(client: httpx.AsyncClient, mails: Mails) -> None:
    tokens = await verified(client, mails)
    for address in (OTHER, "thief@example.org"):
        await change_email(client, tokens, address)
        assert (await follow(client, "confirm-email", await mails.token(address, "confirm-email"))).status_code == 204
    later = await mails.token(OTHER, "revert-email")
    assert (await follow(client, "revert-email", await mails.token(EMAIL, "revert-email"))).status_code == 204
    assert (await follow(client, "revert-email", later)).json() == INVALID
    assert (await login(client)).status_code == 200


async def test_unverified_old_address_is_told_without_a_link(client: httpx.AsyncClient, mails: Mails) -> None:
    """It may be a stranger's, by a typing error."""
    tokens = await register(client)
    await change_email(client, tokens, OTHER)
    assert (await follow(client, "confirm-email", await mails.token(OTHER, "confirm-email"))).status_code == 204
    told = (await mails.to(EMAIL))[-1]
    assert "address of your Kitsu account was changed" in str(told["Subject"]) + str(told)
    assert "revert-email" not in str(told)


async def test_change_to_a_taken_address_looks_the_same_and_tells_its_owner(
    client: httpx.AsyncClient, mails: Mails
) -> None:
    tokens = await register(client)
    await register(client, OTHER)
    free, taken = await change_email(client, tokens, "free@example.org"), await change_email(client, tokens, OTHER)
    assert (free.status_code, free.content) == (taken.status_code, taken.content)
    subjects = [str(mail["Subject"]) for mail in await mails.to(OTHER)]
    assert "This address has a Kitsu account already" in subjects
    assert "Confirm your new e-mail address for Kitsu" not in subjects


async def test_later_change_makes_the_link_of_an_earlier_one_invalid(client: httpx.AsyncClient, mails: Mails) -> None:
    tokens = await verified(client, mails)
    await change_email(client, tokens, "first@example.org")
    await change_email(client, tokens, OTHER)
    assert (await follow(client, "confirm-email", await mails.token(OTHER, "confirm-email"))).status_code == 204
    first = await mails.token("first@example.org", "confirm-email")
    assert (await follow(client, "confirm-email", first)).json() == INVALID


async def test_address_that_is_taken_before_the_link_is_followed_is_refused(
    client: httpx.AsyncClient, mails: Mails
) -> None:
    tokens = await verified(client, mails)
    await change_email(client, tokens, OTHER)
    token = await mails.token(OTHER, "confirm-email")
    await register(client, OTHER)
    response = await follow(client, "confirm-email", token)
    assert (response.status_code, response.json()["message"]) == (400, "Email already registered")
    assert (await me(client, tokens)).json()["email"] == EMAIL


async def test_revert_ends_the_other_links_to_new_addresses(client: httpx.AsyncClient, mails: Mails) -> None:
    tokens = await verified(client, mails)
    await change_email(client, tokens, OTHER)
    await change_email(client, tokens, "thief@example.org")
    assert (await follow(client, "confirm-email", await mails.token(OTHER, "confirm-email"))).status_code == 204
    assert (await follow(client, "revert-email", await mails.token(EMAIL, "revert-email"))).status_code == 204
    token = await mails.token("thief@example.org", "confirm-email")
    assert (await follow(client, "confirm-email", token)).json() == INVALID


@pytest.mark.parametrize("is_forgotten", [True, False])
async def test_new_password_ends_the_links_to_new_addresses(
    client: httpx.AsyncClient, mails: Mails, is_forgotten: bool
) -> None:
    tokens = await verified(client, mails)
    await change_email(client, tokens, OTHER)
    token = await mails.token(OTHER, "confirm-email")
    if is_forgotten:
        await forgot(client)
        assert (await follow(client, "reset-password", await mails.token(EMAIL, "reset-password"))).status_code == 204
    else:
        body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        assert (await client.post("/auth/password", json=body, headers=bearer(tokens))).status_code == 204
    assert (await follow(client, "confirm-email", token)).json() == INVALID


async def test_registration_during_a_change_does_not_take_the_old_address(
    client: httpx.AsyncClient, mails: Mails
) -> None:
    tokens = await verified(client, mails)
    await change_email(client, tokens, OTHER)
    token = await mails.token(OTHER, "confirm-email")
    body = {"email": EMAIL, "password": PASSWORD}
    confirmed, *registered = await asyncio.gather(
        follow(client, "confirm-email", token), *(client.post("/auth/register", json=body) for _ in range(3))
    )
    assert (confirmed.status_code, {response.status_code for response in registered}) == (204, {400})
    assert (await follow(client, "revert-email", await mails.token(EMAIL, "revert-email"))).status_code == 204


async def change_as_admin(client: httpx.AsyncClient, rows: asyncpg.Connection, address: str) -> httpx.Response:
    """Change the address of the first user as an administrator."""
    user_id = await rows.fetchval("SELECT id FROM users WHERE role = 'user' ORDER BY created_at LIMIT 1")
    await rows.execute("DELETE FROM users WHERE email = 'admin@example.org'")
    tokens = await register(client, "admin@example.org")
    await rows.execute("UPDATE users SET role = 'admin' WHERE email = 'admin@example.org'")
    return await client.patch(f"/users/{user_id}", json={"email": address}, headers=bearer(tokens))


async def test_administrator_gives_no_account_an_address_that_its_owner_may_want_back(
    client: httpx.AsyncClient, mails: Mails, rows: asyncpg.Connection
) -> None:
    await register(client, "third@example.org")
    tokens = await verified(client, mails)
    await change_email(client, tokens, OTHER)
    assert (await follow(client, "confirm-email", await mails.token(OTHER, "confirm-email"))).status_code == 204
    response = await change_as_admin(client, rows, EMAIL)
    assert (response.status_code, response.json()["message"]) == (400, "Email already registered")
    assert (await follow(client, "revert-email", await mails.token(EMAIL, "revert-email"))).status_code == 204


async def test_administrator_restores_a_reserved_address_of_the_same_account(
    client: httpx.AsyncClient, mails: Mails, rows: asyncpg.Connection
) -> None:
    tokens = await verified(client, mails)
    await change_email(client, tokens, OTHER)
    assert (await follow(client, "confirm-email", await mails.token(OTHER, "confirm-email"))).status_code == 204
    assert (await change_as_admin(client, rows, EMAIL)).status_code == 200
    assert (await me(client, tokens)).json()["email"] == EMAIL


async def test_links_stay_invalid_when_an_administrator_changes_the_address_and_back(
    client: httpx.AsyncClient, mails: Mails, rows: asyncpg.Connection
) -> None:
    tokens = await register(client)
    await forgot(client)
    await change_email(client, tokens, OTHER)
    links = {"verify-email": EMAIL, "reset-password": EMAIL, "confirm-email": OTHER}
    issued = {link: await mails.token(address, link) for link, address in links.items()}
    for address in ("new@example.org", EMAIL):
        assert (await change_as_admin(client, rows, address)).status_code == 200
    for link, token in issued.items():
        assert (await follow(client, link, token)).json() == INVALID
    await forgot(client)
    assert (await follow(client, "reset-password", await mails.token(EMAIL, "reset-password"))).status_code == 204


async def test_change_needs_the_password_and_another_address(client: httpx.AsyncClient) -> None:
    tokens = await register(client)
    body = {"email": OTHER, "password": "wrong password"}
    assert (await client.patch("/users/me/email", json=body, headers=bearer(tokens))).status_code == 401
    response = await change_email(client, tokens, EMAIL.upper())
    assert (response.status_code, response.json()["details"][0]["field"]) == (422, "email")
    response = await client.patch("/users/me/email", json={**body, "x": 1}, headers=bearer(tokens))
    assert response.status_code == 422


async def test_revert_removes_second_factors_that_were_added_since(
    client: httpx.AsyncClient, mails: Mails, rows: asyncpg.Connection
) -> None:
    own, others = Authenticator(), Authenticator()
    tokens = await verified(client, mails)
    assert (await add_passkey(client, tokens, own)).status_code == 201
    await change_email(client, tokens, OTHER)
    await follow(client, "confirm-email", await mails.token(OTHER, "confirm-email"))
    assert (await add_passkey(client, tokens, others)).status_code == 201
    user_id = (await me(client, tokens)).json()["id"]
    for issuer, new_id in (("before", UUID(int=1)), ("after", uuid7())):
        await rows.execute(
            "INSERT INTO external_identities (id, user_id, provider, issuer, subject) VALUES ($1, $2, 'x', $3, 'x')",
            *(new_id, UUID(user_id), issuer),
        )
    assert (await follow(client, "revert-email", await mails.token(EMAIL, "revert-email"))).status_code == 204
    assert (await answer_with_passkey(client, await challenge_of(client), own)).status_code == 200
    assert (await answer_with_passkey(client, await challenge_of(client), others)).status_code == 401
    assert await rows.fetchval("SELECT array_agg(issuer) FROM external_identities") == ["before"]


async def test_revert_lets_the_password_be_enough_if_all_factors_are_new(
    client: httpx.AsyncClient, mails: Mails
) -> None:
    tokens = await verified(client, mails)
    await change_email(client, tokens, OTHER)
    await follow(client, "confirm-email", await mails.token(OTHER, "confirm-email"))
    assert (await add_passkey(client, tokens, Authenticator())).status_code == 201
    assert (await follow(client, "revert-email", await mails.token(EMAIL, "revert-email"))).status_code == 204
    assert (await login(client)).status_code == 200
