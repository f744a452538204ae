"""Deactivation by the owner: invisible at once, a login brings the account back, and afterwards it is deleted."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.settings.mail import mail_url
from tests.accounts import EMAIL, PASSWORD, bearer, is_refused, login, me, refresh, register
from tests.application import Applications
from tests.databases import column, execute
from tests.jobs.working import finished, working

WRONG = "a wrong long password"


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
async def api(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    async with applications.client_of(login_refusal_ms=0) as client:
        yield client


async def deactivate(client: httpx.AsyncClient, tokens: dict[str, str], password: str = PASSWORD) -> httpx.Response:
    return await client.post("/users/me/deactivate", headers=bearer(tokens), json={"password": password})


async def pass_days(database: URL, days: int) -> None:
    """Move the times of all deletions back."""
    await execute(database, f"UPDATE users SET deletion_at = deletion_at - interval '{days} days'")


def mails_in(folder: Path) -> list[EmailMessage]:
    """Return the mails of a folder."""
    return [message_from_bytes(path.read_bytes(), EmailMessage, policy=default) for path in folder.iterdir()]


async def public_user(api: httpx.AsyncClient) -> tuple[dict[str, str], str]:
    """Register a user with a public profile and a public collection. Return the tokens and the collection's id."""
    tokens = await register(api)
    await api.patch("/users/me", headers=bearer(tokens), json={"is_public": True, "username": "Kaguya"})
    body = {"name": "Moon", "is_public": True}
    response = await api.post("/collections", headers=bearer(tokens), json=body)
    assert response.status_code == 201, response.text
    return tokens, response.json()["id"]


async def seen(api: httpx.AsyncClient, collection_id: str) -> list[int]:
    """Return what a guest gets for the profile, the library and the collection."""
    paths = ("/profiles/Kaguya", "/profiles/Kaguya/library", f"/collections/{collection_id}")
    return [(await api.get(path)).status_code for path in paths]


async def test_deactivated_account_is_invisible_and_signed_out(api: httpx.AsyncClient) -> None:
    tokens, collection_id = await public_user(api)
    assert await seen(api, collection_id) == [200] * 3
    response = await deactivate(api, tokens)
    assert response.status_code == 200, response.text
    days = datetime.fromisoformat(response.json()["deletion_at"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < days <= timedelta(days=30)
    assert await seen(api, collection_id) == [404] * 3
    assert (await api.get("/collections")).json() == []
    assert is_refused(await me(api, tokens))
    assert (await refresh(api, tokens["refresh_token"])).status_code == 403


async def test_mail_tells_owner_the_time_of_deletion_on_the_owners_clock(
    api: httpx.AsyncClient, database: URL, tmp_path: Path
) -> None:
    tokens = await register(api)
    await api.patch("/users/me", headers=bearer(tokens), json={"timezone": "Asia/Tokyo"})
    deletion_at = datetime.fromisoformat((await deactivate(api, tokens)).json()["deletion_at"])
    (_, mail) = await column(database, "SELECT payload FROM pgqueuer WHERE entrypoint = 'send-mail' ORDER BY id")
    mail = json.loads(mail)
    assert (mail["template"], mail["to"]) == ("account-deactivated", EMAIL)
    there = deletion_at.astimezone(ZoneInfo("Asia/Tokyo"))
    shown = f"{there:%Y-%m-%d %H:%M} (Asia/Tokyo)"
    assert mail["values"]["time"] == shown
    async with working(database, mail_url=mail_url(f"file://{tmp_path}")):
        await finished(database)
    sent = next(mail for mail in mails_in(tmp_path) if "deactivated" in mail["Subject"])
    assert sent["Subject"] == "Your Kitsu account was deactivated"
    parts = [part.get_content() for part in sent.iter_parts()]
    assert len(parts) == 2
    assert all(shown in part for part in parts)


async def test_login_brings_account_back_with_its_data(api: httpx.AsyncClient, database: URL) -> None:
    tokens, collection_id = await public_user(api)
    await deactivate(api, tokens)
    await pass_days(database, 29)
    assert is_refused(await login(api, password=WRONG))
    assert await seen(api, collection_id) == [404] * 3
    response = await login(api)
    assert response.status_code == 200
    user = (await me(api, response.json())).json()
    assert (user["username"], user["deletion_at"]) == ("Kaguya", None)
    assert await seen(api, collection_id) == [200] * 3


async def test_login_during_deactivation_leaves_no_session_of_a_deactivated_account(
    api: httpx.AsyncClient, database: URL
) -> None:
    tokens = await register(api)
    for _ in range(8):
        responses = await asyncio.gather(login(api), deactivate(api, tokens), login(api), login(api))
        assert all(response.status_code == 200 for response in responses)
        query = """
            SELECT row(deletion_at IS NULL, (SELECT count(*) FROM auth_sessions WHERE revoked_at IS NULL)) FROM users
        """
        ((is_active, sessions),) = await column(database, query)
        assert is_active == (sessions > 0)
        tokens = (await login(api)).json()


async def test_login_after_time_of_deletion_is_refused(api: httpx.AsyncClient, database: URL) -> None:
    await deactivate(api, await register(api))
    await pass_days(database, 30)
    assert is_refused(await login(api))


async def test_login_does_not_undo_deactivation_by_administrator(api: httpx.AsyncClient, database: URL) -> None:
    await deactivate(api, await register(api))
    await execute(database, "UPDATE users SET is_active = false")
    assert is_refused(await login(api))


@pytest.mark.parametrize(
    ("body", "status"),
    [({"password": WRONG}, 401), ({}, 422), ({"password": 1}, 422), ({"password": PASSWORD, "days": 1}, 422)],
)
async def test_deactivation_without_password_changes_nothing(
    api: httpx.AsyncClient, body: dict[str, Any], status: int
) -> None:
    tokens = await register(api)
    response = await api.post("/users/me/deactivate", headers=bearer(tokens), json=body)
    assert response.status_code == status
    assert (await me(api, tokens)).json()["deletion_at"] is None


async def test_last_administrator_cannot_deactivate_the_account(api: httpx.AsyncClient, database: URL) -> None:
    tokens = await register(api)
    await execute(database, "UPDATE users SET role = 'admin'")
    response = await deactivate(api, tokens)
    assert (response.status_code, response.json()["message"]) == (
        400,
        "The last administrator can't be removed or demoted",
    )
    other = await register(api, "other@example.org")
    await execute(database, "UPDATE users SET role = 'admin'")
    assert (await deactivate(api, tokens)).status_code == 200
    # The one who has left does not count.
    assert (await deactivate(api, other)).status_code == 400


async def test_address_of_deactivated_account_stays_taken(api: httpx.AsyncClient) -> None:
    await deactivate(api, await register(api))
    response = await api.post("/auth/register", json={"email": EMAIL, "password": PASSWORD})
    assert response.json()["message"] == "Email already registered"
