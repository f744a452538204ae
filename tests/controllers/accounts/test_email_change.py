"""Changes of e-mail addresses, and what reverts them, by the links in mails that a worker sends."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL
from uuid_utils.compat import uuid7

from tests.accounts import EMAIL, PASSWORD, bearer, login, me, register
from tests.application import Applications
from tests.links import INVALID, NEW_PASSWORD, OTHER, Mails, change_email, follow, forgot, verified
from tests.passkeys import Authenticator, add_passkey, answer_with_passkey
from tests.second_factors import challenge_of


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
async def client(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that rejects logins without a delay and sends notices."""
    async with applications.client_of(login_refusal_ms=0, notify_security_events=True) as client:
        yield client


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
