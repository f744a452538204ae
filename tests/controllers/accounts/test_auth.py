"""The paths under /auth: their responses, also after the end of a session."""

import asyncio
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.accounts import EMAIL, FORBIDDEN, PASSWORD, bearer, is_refused, login, logout, me, refresh, register
from tests.application import Applications, client_of
from tests.databases import connect, copy_of

UNAVAILABLE = {"code": "SERVICE_UNAVAILABLE", "message": "Service temporarily unavailable", "details": None}
TAKEN = {"code": "VALIDATION_ERROR", "message": "Email already registered", "details": None}


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
async def client(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application that rejects logins without a delay."""
    async with applications.client_of(login_refusal_ms=0) as client:
        yield client


@pytest.fixture(scope="module")
async def shared(server: URL, template: URL) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a database that the tests without writes share."""
    rules = {"login_refusal_ms": 0, "rate_limit_enabled": False}
    async with copy_of(template, server) as url, client_of(url, **rules) as client:
        yield client


def fields_at_fault(response: httpx.Response) -> list[str]:
    """Return the fields that a 422 names."""
    body = response.json()
    assert (response.status_code, body["code"]) == (422, "VALIDATION_ERROR")
    assert body["message"] == "Request validation failed"
    assert body.keys() == {"code", "message", "details"}
    return [detail["field"] for detail in body["details"] or []]


@pytest.mark.parametrize("way", ["register", "login", "refresh"])
async def test_registration_and_login_return_tokens(client: httpx.AsyncClient, way: str) -> None:
    tokens = await register(client)
    if way == "register":
        response = await client.post("/auth/register", json={"email": "chika@example.org", "password": PASSWORD})
    else:
        response = await (login(client) if way == "login" else refresh(client, tokens["refresh_token"]))
    body = response.json()
    assert response.status_code == (201 if way == "register" else 200)
    assert body.keys() == {"access_token", "refresh_token", "expires_in", "token_type"}
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 1800
    assert len(body["refresh_token"]) == 43  # 256 bits
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"].startswith("application/json")
    assert (await me(client, body)).status_code == 200


async def test_registration_creates_a_user(client: httpx.AsyncClient) -> None:
    user = (await me(client, await register(client))).json()
    assert UUID(user["id"])
    assert user["created_at"].endswith("Z")
    assert {"email": EMAIL, "is_active": True, "avatar": None, "role": "user"}.items() <= user.items()
    assert not [name for name in user if "password" in name or "hash" in name]


@pytest.mark.parametrize("email", [EMAIL, "KAGUYA@EXAMPLE.ORG", " Kaguya@example.ORG "])
async def test_email_in_another_case_is_the_same_account(client: httpx.AsyncClient, email: str) -> None:
    await register(client, "Kaguya@Example.org")
    response = await client.post("/auth/register", json={"email": email, "password": PASSWORD})
    assert (response.status_code, response.json()) == (400, TAKEN)
    assert (await login(client, email)).status_code == 200


@pytest.mark.parametrize(
    "address", ["ÄÖ@example.org", "tanaka@bücher.example.org", "İstanbul@example.org", "Straße@example.org"]
)
async def test_login_with_email_of_any_alphabet_succeeds(client: httpx.AsyncClient, address: str) -> None:
    await register(client, address)
    for spelling in (address, address.lower()):
        assert (await login(client, spelling)).status_code == 200


async def test_concurrent_registrations_create_one_account(client: httpx.AsyncClient) -> None:
    spellings = [EMAIL.upper() if number % 2 else EMAIL for number in range(60)]
    responses = await asyncio.gather(
        *(client.post("/auth/register", json={"email": email, "password": PASSWORD}) for email in spellings)
    )
    assert Counter(response.status_code for response in responses) == {201: 1, 400: 59}
    assert all(response.json() == TAKEN for response in responses if response.status_code == 400)


async def test_registration_with_locked_table_returns_503(database: URL) -> None:
    async with client_of(database, db_lock_timeout_ms=200) as client:
        holder = await connect(database)
        async with holder.transaction():
            await holder.execute("LOCK TABLE users IN SHARE MODE")
            response = await client.post("/auth/register", json={"email": EMAIL, "password": PASSWORD})
            assert (response.status_code, response.json()) == (503, UNAVAILABLE)
            assert int(response.headers["retry-after"]) > 0
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.get("/anime")).status_code == 200
        await holder.close()
        await register(client)


@pytest.mark.parametrize("path", ["register", "login"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": EMAIL}, None),
        ({"password": PASSWORD}, None),
        ({"email": None, "password": PASSWORD}, "email"),
        ({"email": EMAIL, "password": 12345678}, "password"),
        ({"email": "a" * 321, "password": PASSWORD}, "email"),
        ({"email": EMAIL, "password": "p" * 1025}, "password"),
        ({"email": EMAIL, "password": "é" * 513}, "password"),
        ([], None),
        ("text", None),
        (None, None),
    ],
)
async def test_malformed_body_returns_422(shared: httpx.AsyncClient, path: str, body: Any, field: str | None) -> None:
    fields = fields_at_fault(await shared.post(f"/auth/{path}", json=body))
    assert field is None or fields == [field]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"email": "a@example.org", "password": "\\ud800aaaaaaa"}'])
@pytest.mark.parametrize("path", ["register", "login", "refresh", "logout"])
async def test_body_of_invalid_json_returns_422(shared: httpx.AsyncClient, path: str, content: bytes) -> None:
    response = await shared.post(f"/auth/{path}", content=content, headers={"Content-Type": "application/json"})
    fields_at_fault(response)
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "email", ["", "kaguya", "@example.org", "a b@example.org", "a\0@example.org", "a@b@example.org"]
)
async def test_invalid_email_is_refused(shared: httpx.AsyncClient, email: str) -> None:
    response = await shared.post("/auth/register", json={"email": email, "password": PASSWORD})
    assert fields_at_fault(response) == ["email"]
    assert (await login(shared, email)).status_code in {401, 422}


@pytest.mark.parametrize("password", ["", "seven77", "ééé", "пять", "🦊" * 7, "e\u0301" * 7])
async def test_short_password_returns_422(shared: httpx.AsyncClient, password: str) -> None:
    response = await shared.post("/auth/register", json={"email": EMAIL, "password": password})
    assert fields_at_fault(response) == ["password"]


@pytest.mark.parametrize(
    "password",
    [
        "8 bytes!",
        "        ",
        "\0\0\0\0\0\0\0\0",
        "pass\0word",
        " a password ",
        "🦊" * 8,
        "p" * 1024,
        "é" * 512,
        "\n\r\t\x7f\x1b\"'\\",
    ],
    ids=["eight", "spaces", "nul", "inner nul", "outer spaces", "emoji", "longest", "longest of two bytes", "controls"],
)
async def test_password_is_not_trimmed(client: httpx.AsyncClient, password: str) -> None:
    await register(client, password=password)
    assert (await login(client, password=password)).status_code == 200
    for other in (password[:-1], password[:-1] + "~", password.strip() + "~", password.replace("\0", "") + "~"):
        if len(other.encode()) <= 1024:
            assert is_refused(await login(client, password=other))


@pytest.mark.parametrize("first", ["NFC", "NFD"])
async def test_password_is_the_same_composed_and_decomposed(client: httpx.AsyncClient, first: str) -> None:
    forms = {form: unicodedata.normalize(form, "café-münchen-å") for form in ("NFC", "NFD")}
    tokens = await register(client, password=forms.pop(first))
    (other,) = forms.values()
    assert (await login(client, password=other)).status_code == 200
    new = {"current_password": other, "new_password": "another long password"}
    assert (await client.post("/auth/password", json=new, headers=bearer(tokens))).status_code == 204


async def test_wrong_password_and_unknown_email_return_the_same(client: httpx.AsyncClient) -> None:
    await register(client)
    wrong, unknown = await login(client, password="another password"), await login(client, "chika@example.org")
    assert is_refused(wrong)
    assert wrong.content == unknown.content
    assert {*wrong.headers} == {*unknown.headers}
    assert is_refused(await login(client, password=""))


@pytest.mark.parametrize("path", ["register", "login"])
async def test_extra_fields_have_no_effect(client: httpx.AsyncClient, database: URL, path: str) -> None:
    user_id = (await me(client, await register(client))).json()["id"]
    extra = {"role": "admin", "id": str(uuid4()), "is_active": False, "user_id": str(uuid4()), "username": "root"}
    email = EMAIL if path == "login" else "chika@example.org"
    response = await client.post(f"/auth/{path}", json={"email": email, "password": PASSWORD, **extra})
    user = (await me(client, response.json())).json()
    assert (user["role"], user["is_active"]) == ("user", True)
    assert user["username"] != "root"
    assert user["id"] != extra["id"]
    assert (user["id"] == user_id) == (path == "login")


async def test_login_of_inactive_user_is_refused(client: httpx.AsyncClient, database: URL) -> None:
    await register(client)
    connection = await connect(database)
    await connection.execute("UPDATE users SET is_active = false")
    await connection.close()
    assert is_refused(await login(client))


async def test_refresh_returns_401_for_unknown_and_403_for_revoked_token(client: httpx.AsyncClient) -> None:
    tokens = await register(client)
    assert is_refused(await refresh(client, "unknown"))
    assert (await logout(client, tokens["refresh_token"])).status_code == 204
    response = await refresh(client, tokens["refresh_token"])
    assert (response.status_code, response.json()) == (403, FORBIDDEN)
    assert is_refused(await me(client, tokens))


@pytest.mark.parametrize("path", ["refresh", "logout"])
@pytest.mark.parametrize("body", [{}, {"refresh_token": None}, {"refresh_token": 1}, []])
async def test_missing_refresh_token_returns_422(shared: httpx.AsyncClient, path: str, body: Any) -> None:
    fields_at_fault(await shared.post(f"/auth/{path}", json=body))
