"""The sessions of an account: their list and their end, also by a new password."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.accounts import FORBIDDEN, PASSWORD, bearer, is_refused, login, logout, me, refresh, register
from tests.application import Applications
from tests.controllers.accounts.test_auth import fields_at_fault

NEW_PASSWORD = "an entirely new password"
NOT_FOUND = {"code": "NOT_FOUND", "message": "Session not found", "details": None}


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
async def client(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that rejects logins without a delay."""
    async with applications.client_of(login_refusal_ms=0) as client:
        yield client


async def sessions(client: httpx.AsyncClient, tokens: dict[str, str]) -> list[dict[str, object]]:
    """Return the sessions of a user."""
    response = await client.get("/auth/sessions", headers=bearer(tokens))
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    found: list[dict[str, object]] = response.json()
    return found


async def change(
    client: httpx.AsyncClient, tokens: dict[str, str], current: str = PASSWORD, new: str = NEW_PASSWORD
) -> httpx.Response:
    """Return the response to a password change."""
    body = {"current_password": current, "new_password": new}
    return await client.post("/auth/password", json=body, headers=bearer(tokens))


async def test_every_device_has_a_session(client: httpx.AsyncClient) -> None:
    first = await register(client)
    devices = [first, *[(await login(client)).json() for _ in range(12)]]
    client.headers["User-Agent"] = "Firefox on a phone"
    newest = (await login(client)).json()
    found = await sessions(client, newest)
    assert len(found) == 14
    assert all(
        session.keys() == {"id", "created_at", "last_used_at", "user_agent", "ip", "current"} for session in found
    )
    assert [session["current"] for session in found] == [True] + [False] * 13
    assert (found[0]["user_agent"], found[0]["ip"]) == ("Firefox on a phone", "127.0.0.1")
    assert [(await me(client, device)).status_code for device in devices] == [200] * 13


async def test_ended_session_is_signed_out(client: httpx.AsyncClient) -> None:
    here, there = await register(client), (await login(client)).json()
    other = next(session for session in await sessions(client, here) if not session["current"])
    path = f"/auth/sessions/{other['id']}"
    assert (await client.delete(path, headers=bearer(here))).status_code == 204
    assert is_refused(await me(client, there))
    response = await refresh(client, there["refresh_token"])
    assert (response.status_code, response.json()) == (403, FORBIDDEN)
    assert len(await sessions(client, here)) == 1
    again = await client.delete(path, headers=bearer(here))
    assert (again.status_code, again.json()) == (404, NOT_FOUND)


async def test_own_session_can_be_ended(client: httpx.AsyncClient) -> None:
    tokens = await register(client)
    (session,) = await sessions(client, tokens)
    assert (await client.delete(f"/auth/sessions/{session['id']}", headers=bearer(tokens))).status_code == 204
    assert is_refused(await me(client, tokens))


async def test_ending_other_sessions_signs_them_out(client: httpx.AsyncClient) -> None:
    others = [await register(client), *[(await login(client)).json() for _ in range(3)]]
    here = (await login(client)).json()
    stranger = await register(client, "chika@example.org")
    for _ in range(2):
        assert (await client.delete("/auth/sessions", headers=bearer(here))).status_code == 204
    assert [(await me(client, tokens)).status_code for tokens in others] == [401] * 4
    assert [(await me(client, tokens)).status_code for tokens in (here, stranger)] == [200, 200]
    assert (await refresh(client, here["refresh_token"])).status_code == 200


async def test_session_of_another_user_returns_404(client: httpx.AsyncClient) -> None:
    here, stranger = await register(client), await register(client, "chika@example.org")
    (theirs,) = await sessions(client, stranger)
    for session_id in (theirs["id"], uuid4()):
        response = await client.delete(f"/auth/sessions/{session_id}", headers=bearer(here))
        assert (response.status_code, response.json()) == (404, NOT_FOUND)
    assert (await me(client, stranger)).status_code == 200


async def test_malformed_session_id_returns_422(client: httpx.AsyncClient) -> None:
    tokens = await register(client)
    for session_id in ("1", "x", "%00", "é"):
        fields_at_fault(await client.delete(f"/auth/sessions/{session_id}", headers=bearer(tokens)))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/sessions"),
        ("DELETE", "/auth/sessions"),
        ("DELETE", "/auth/sessions/x"),
        ("DELETE", "/auth/sessions/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"),
        ("POST", "/auth/password"),
    ],
)
async def test_guest_gets_401(client: httpx.AsyncClient, method: str, path: str) -> None:
    for header in ("", "Bearer", "Bearer ", "Basic a2FndXlh", "Bearer x.y.z"):
        assert is_refused(await client.request(method, path, headers={"Authorization": header}))
    assert is_refused(await client.request(method, path))


async def test_logout_ends_its_session_only(client: httpx.AsyncClient) -> None:
    here, there = await register(client), (await login(client)).json()
    response = await logout(client, there["refresh_token"])
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["cache-control"] == "no-store"
    assert is_refused(await me(client, there))
    assert (await me(client, here)).status_code == 200


async def test_new_password_ends_every_other_session(client: httpx.AsyncClient) -> None:
    here, there = await register(client), (await login(client)).json()
    stranger = await register(client, "chika@example.org")
    response = await change(client, here)
    assert (response.status_code, response.content) == (204, b"")
    assert is_refused(await me(client, there))
    assert (await refresh(client, there["refresh_token"])).status_code == 403
    assert [(await me(client, tokens)).status_code for tokens in (here, stranger)] == [200, 200]
    assert (await refresh(client, here["refresh_token"])).status_code == 200
    assert is_refused(await login(client))
    assert (await login(client, password=NEW_PASSWORD)).status_code == 200


async def test_wrong_current_password_changes_nothing(client: httpx.AsyncClient) -> None:
    here, there = await register(client), (await login(client)).json()
    assert is_refused(await change(client, here, current="another password"))
    assert (await me(client, there)).status_code == 200
    assert (await login(client)).status_code == 200


@pytest.mark.parametrize(
    ("current", "new", "field"),
    [
        (PASSWORD, "seven77", "new_password"),
        (PASSWORD, "p" * 1025, "new_password"),
        ("p" * 1025, NEW_PASSWORD, "current_password"),
    ],
)
async def test_new_password_of_wrong_length_returns_422(
    client: httpx.AsyncClient, current: str, new: str, field: str
) -> None:
    tokens = await register(client)
    assert fields_at_fault(await change(client, tokens, current, new)) == [field]
    assert (await login(client)).status_code == 200


async def test_guessing_the_current_password_is_rate_limited(client: httpx.AsyncClient) -> None:
    tokens = await register(client)
    responses = [await change(client, tokens, current=f"a wrong password {number}") for number in range(6)]
    assert [response.status_code for response in responses] == [401] * 5 + [429]
    assert int(responses[-1].headers["retry-after"]) > 0
    assert (await change(client, tokens)).status_code == 429
    assert (await login(client)).status_code == 200
