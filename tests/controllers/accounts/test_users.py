"""/users and /users/me: the current user, and all accounts for administrators."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.application import client_of
from tests.databases import column, connect

PASSWORD = "a long enough password"
UNKNOWN_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
FIELDS = {
    "id",
    "email",
    "email_verified",
    "has_second_factor",
    "username",
    "role",
    "is_active",
    "avatar",
    "avatar_url",
    "timezone",
    "is_public",
    "created_at",
    "deletion_at",
}
LAST = {"code": "VALIDATION_ERROR", "message": "The last administrator can't be removed or demoted", "details": None}


@pytest.fixture(scope="module")
async def application(module_database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the application, which fails if a response contains a hash."""

    async def look(response: httpx.Response) -> None:
        text = (await response.aread()).decode()
        assert "$argon2" not in text
        assert "password_hash" not in text

    async with client_of(module_database, login_refusal_ms=0) as client:
        client.event_hooks["response"].append(look)
        yield client


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
def api(application: httpx.AsyncClient, database: URL) -> httpx.AsyncClient:
    return application


class Person:
    """A signed-in user."""

    def __init__(self, client: httpx.AsyncClient, tokens: dict[str, str], user: dict[str, Any]) -> None:
        self.client, self.tokens, self.user = client, tokens, user
        self.id: str = user["id"]

    async def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}"}
        return await self.client.request(method, path, headers=headers, **more)


async def person(client: httpx.AsyncClient, name: str) -> Person:
    response = await client.post("/auth/register", json={"email": f"{name}@example.org", "password": PASSWORD})
    assert response.status_code == 201
    tokens = response.json()
    user = await client.get("/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    return Person(client, tokens, user.json())


async def administrator(client: httpx.AsyncClient, database: URL, name: str) -> Person:
    member = await person(client, name)
    connection = await connect(database)
    await connection.execute("UPDATE users SET role = 'admin' WHERE id = $1", member.id)
    await connection.close()
    return member


def refused(response: httpx.Response, status: int, message: str | None = None) -> None:
    body = response.json()
    assert (response.status_code, list(body)) == (status, ["code", "message", "details"])
    assert message in {None, body["message"]}


async def test_current_user_is_returned(api: httpx.AsyncClient) -> None:
    member = await person(api, "Kaguya.Ōtsutsuki")
    response = await member.request("GET", "/users/me")
    body = response.json()
    assert (response.status_code, set(body)) == (200, FIELDS)
    assert body["email"] == "kaguya.ōtsutsuki@example.org"
    assert (body["role"], body["is_active"], body["avatar"], body["avatar_url"]) == ("user", True, None, None)
    assert body["username"] == "kaguyatsutsuki"
    assert body["created_at"].endswith("Z")
    assert (await member.request("GET", f"/users/{member.id}")).json() == body


FORMS: dict[str, Any] = {
    "json": lambda field, value: {"json": {field: value}},
    "urlencoded": lambda field, value: {"data": {field: value}},
    "multipart": lambda field, value: {"files": {field: (None, value)}},
}


@pytest.mark.parametrize("form", FORMS)
async def test_username_is_changed_if_valid_and_free(api: httpx.AsyncClient, form: str) -> None:
    member, other = await person(api, "member"), await person(api, "other")
    for name in ("abc", "Ab_9-", "x" * 32, "MEMBER", "Member"):
        response = await member.request("PATCH", "/users/me", **FORMS[form]("username", name))
        assert (response.status_code, response.json()) == (200, member.user | {"username": name})
    for name in ("", "ab", "x" * 33, "a b", "имя", "a.b", "abc\n", " abc", "a/b", "abc\t", "admin", "API", "_Support-"):
        refused(await member.request("PATCH", "/users/me", **FORMS[form]("username", name)), 422)
    for name in ("other", "OTHER", "oTher"):
        response = await member.request("PATCH", "/users/me", **FORMS[form]("username", name))
        refused(response, 400, "Username already taken")
    assert (await member.request("GET", "/users/me")).json()["username"] == "Member"
    assert (await other.request("GET", "/users/me")).json() == other.user


@pytest.mark.parametrize("form", FORMS)
async def test_timezone_is_changed_if_valid(api: httpx.AsyncClient, form: str) -> None:
    member = await person(api, "member")
    assert member.user["timezone"] == "UTC"
    for name in ("Asia/Tokyo", "America/Argentina/Buenos_Aires", "UTC"):
        response = await member.request("PATCH", "/users/me", **FORMS[form]("timezone", name))
        assert (response.status_code, response.json()) == (200, member.user | {"timezone": name})
    for name in ("", "asia/tokyo", "Mars/Olympus", "+09:00", "EST5EDT4", "../etc/passwd", "Asia/Tokyo "):
        refused(await member.request("PATCH", "/users/me", **FORMS[form]("timezone", name)), 422)
    assert (await member.request("GET", "/users/me")).json() == member.user


@pytest.mark.parametrize("form", FORMS)
async def test_profile_is_private_until_it_is_made_public(api: httpx.AsyncClient, form: str) -> None:
    member = await person(api, "member")
    assert member.user["is_public"] is False
    for value in (True, False, True):
        sent = value if form == "json" else str(value).lower()
        response = await member.request("PATCH", "/users/me", **FORMS[form]("is_public", sent))
        assert (response.status_code, response.json()) == (200, member.user | {"is_public": value})
    wrong: tuple[Any, ...] = (None, "true", 1, [True]) if form == "json" else ("", "yes", "null", "2")
    for each in wrong:
        response = await member.request("PATCH", "/users/me", **FORMS[form]("is_public", each))
        refused(response, 422)
        assert [it["field"] for it in response.json()["details"]] == ["is_public"]
    assert (await member.request("GET", "/users/me")).json()["is_public"] is True


async def test_registration_gives_no_reserved_name(api: httpx.AsyncClient) -> None:
    name = (await person(api, "support")).user["username"]
    assert name.startswith("support-")


async def test_update_without_fields_changes_nothing(api: httpx.AsyncClient) -> None:
    member = await person(api, "member")
    forms: tuple[dict[str, Any], ...] = ({}, {"json": {}}, {"data": {"x": "y"}}, {"files": {"x": (None, "y")}})
    for more in forms:
        response = await member.request("PATCH", "/users/me", **more)
        assert (response.status_code, response.json()) == (200, member.user)


async def test_unknown_fields_have_no_effect(api: httpx.AsyncClient, database: URL) -> None:
    member, other = await person(api, "member"), await person(api, "other")
    extra: dict[str, Any] = {"id": other.id, "user_id": other.id, "role": "admin", "is_active": False}
    extra |= {
        "email": "x@example.org",
        "avatar": "x",
        "password_hash": "x",
        "password": "x",
        "created_at": "2000-01-01",
    }
    expected = member.user | {"username": "abcd"}
    assert (await member.request("PATCH", "/users/me", json={**extra, "username": "abcd"})).json() == expected
    text = {name: str(value) for name, value in extra.items()}
    assert (await member.request("PATCH", "/users/me", data=text)).json() == expected
    assert (await other.request("GET", "/users/me")).json() == other.user

    given = {"email": "new@example.org", "password": PASSWORD}
    response = await api.post("/auth/register", json={**extra, **given})
    new = await api.get("/users/me", headers={"Authorization": f"Bearer {response.json()['access_token']}"})
    assert (new.json()["role"], new.json()["is_active"], new.json()["email"]) == ("user", True, "new@example.org")
    assert new.json()["id"] != other.id

    boss = await administrator(api, database, "boss")
    for name in ("id", "user_id", "username", "avatar", "created_at"):
        refused(await boss.request("POST", "/users", json={**given, name: "x"}), 422)
        refused(await boss.request("PATCH", f"/users/{other.id}", json={name: "x", "is_active": False}), 422)
    assert (await other.request("GET", "/users/me")).json() == other.user


async def test_user_deletes_the_account_with_the_password(api: httpx.AsyncClient, database: URL) -> None:
    member, other = await person(api, "member"), await person(api, "other")
    wrong = await member.request("DELETE", "/users/me", json={"password": "a wrong password"})
    refused(wrong, 401, "Authentication failed")
    bodies: tuple[Any, ...] = ({}, {"password": None}, {"password": "x" * 1025}, [])
    for body in bodies:
        refused(await member.request("DELETE", "/users/me", json=body), 422)
    assert (await member.request("GET", "/users/me")).status_code == 200

    response = await member.request("DELETE", "/users/me", json={"password": PASSWORD})
    assert (response.status_code, response.content) == (204, b"")
    refused(await member.request("GET", "/users/me"), 401)
    refused(await api.post("/auth/refresh", json={"refresh_token": member.tokens["refresh_token"]}), 401)
    refused(await api.post("/auth/login", json={"email": "member@example.org", "password": PASSWORD}), 401)
    assert [str(it) for it in await column(database, "SELECT user_id FROM auth_sessions")] == [other.id]
    assert [str(it) for it in await column(database, "SELECT id FROM users")] == [other.id]
    assert (await person(api, "member")).id != member.id


async def test_users_are_listed_newest_first(api: httpx.AsyncClient, database: URL) -> None:
    boss = await administrator(api, database, "boss")
    people = [boss.id, *[(await person(api, f"person-{number}")).id for number in range(4)]][::-1]
    response = await boss.request("GET", "/users")
    assert [user["id"] for user in response.json()] == people
    assert all(set(user) == FIELDS for user in response.json())
    assert not {"link", "x-total-count"} & response.headers.keys()
    response = await boss.request("GET", "/users/?limit=2&offset=1&total=true")
    assert [user["id"] for user in response.json()] == people[1:3]
    assert response.headers["x-total-count"] == "5"
    seen, target = [], "/users?limit=2"
    while target:
        response = await boss.request("GET", target)
        seen += [user["id"] for user in response.json()]
        target = response.headers.get("link", "").partition(">")[0].removeprefix("<")
    assert seen == people
    assert (await boss.request("GET", f"/users?offset={2**63 - 1}")).json() == []
    for query in ("limit=0", "limit=101", "limit=x", "offset=-1", f"offset={2**63}", "total=2"):
        refused(await boss.request("GET", f"/users?{query}"), 422)


async def test_administrator_creates_users(api: httpx.AsyncClient, database: URL) -> None:
    boss = await administrator(api, database, "boss")
    given: dict[str, Any] = {"email": "New.Person@Example.ORG", "password": PASSWORD}
    response = await boss.request("POST", "/users", json=given)
    body = response.json()
    assert (response.status_code, set(body)) == (201, FIELDS)
    assert (body["email"], body["role"], body["is_active"]) == ("new.person@example.org", "user", True)
    login = await api.post("/auth/login", json={"email": "new.person@example.org", "password": PASSWORD})
    assert login.status_code == 200
    refused(await boss.request("POST", "/users", json=given), 400, "Email already registered")
    same_name = await boss.request("POST", "/users", json={**given, "email": "newperson@example.com", "role": "admin"})
    assert same_name.json()["role"] == "admin"
    assert same_name.json()["username"].lower() != body["username"].lower()
    for wrong in ({"role": "guest"}, {"role": None}, {"role": "ADMIN"}, {"email": "x"}, {"password": "short"}):
        refused(await boss.request("POST", "/users", json={**given, "email": "z@example.org", **wrong}), 422)
    assert len(await column(database, "SELECT id FROM users")) == 3


async def test_unknown_or_malformed_user_id_is_refused(api: httpx.AsyncClient, database: URL) -> None:
    boss, member = await administrator(api, database, "boss"), await person(api, "member")
    for method, body in (("GET", None), ("PATCH", {"role": "admin"}), ("PATCH", {}), ("DELETE", None)):
        refused(await boss.request(method, f"/users/{UNKNOWN_ID}", json=body), 404, "User not found")
        refused(await boss.request(method, "/users/x", json=body), 422)
        refused(await member.request(method, f"/users/{UNKNOWN_ID}", json=body), 403, "Insufficient permissions")
        refused(await member.request(method, f"/users/{boss.id}", json=body), 403)
        refused(await api.request(method, f"/users/{boss.id}", json=body), 401)
    changes: tuple[Any, ...] = (
        {"role": "root"},
        {"role": None},
        {"is_active": "no"},
        {"is_active": None},
        {"email": "x"},
        [],
    )
    for change in changes:
        refused(await boss.request("PATCH", f"/users/{member.id}", json=change), 422)
    for email in (None, "x", "a@b@c", "a\0@x.org", "a" * 250 + "@x.org"):
        refused(await boss.request("PATCH", f"/users/{member.id}", json={"email": email}), 422)
    assert (await member.request("GET", "/users/me")).json() == member.user


async def test_administrator_changes_an_email(api: httpx.AsyncClient, database: URL) -> None:
    boss, member = await administrator(api, database, "boss"), await person(api, "member")
    response = await boss.request("PATCH", f"/users/{member.id}", json={"email": "Else@Example.org"})
    assert response.json() == member.user | {"email": "else@example.org"}
    again = await boss.request("PATCH", f"/users/{member.id}", json={"email": "BOSS@example.org"})
    refused(again, 400, "Email already registered")
    for email, status in (("member@example.org", 401), ("else@example.org", 200)):
        assert (await api.post("/auth/login", json={"email": email, "password": PASSWORD})).status_code == status


async def test_change_of_role_or_activity_takes_effect_at_once(api: httpx.AsyncClient, database: URL) -> None:
    boss, member = await administrator(api, database, "boss"), await person(api, "member")
    path = f"/users/{member.id}"
    refused(await member.request("GET", "/users"), 403)
    assert (await boss.request("PATCH", path, json={"role": "admin"})).json()["role"] == "admin"
    assert (await member.request("GET", "/users")).status_code == 200
    assert (await boss.request("PATCH", path, json={"role": "user"})).json()["role"] == "user"
    refused(await member.request("GET", "/users"), 403)
    assert (await boss.request("PATCH", path, json={"is_active": False})).json()["is_active"] is False
    refused(await member.request("GET", "/users/me"), 401)
    refused(await api.post("/auth/refresh", json={"refresh_token": member.tokens["refresh_token"]}), 403)
    login = {"email": "member@example.org", "password": PASSWORD}
    refused(await api.post("/auth/login", json=login), 401)
    assert (await boss.request("PATCH", path, json={"is_active": True})).status_code == 200
    refused(await member.request("GET", "/users/me"), 401)  # the old session stays over
    member.tokens = (await api.post("/auth/login", json=login)).json()
    assert (await member.request("GET", "/users/me")).status_code == 200
    assert (await boss.request("DELETE", path)).status_code == 204
    refused(await member.request("GET", "/users/me"), 401)
    refused(await boss.request("GET", path), 404)


async def test_last_administrator_is_not_removed(api: httpx.AsyncClient, database: URL) -> None:
    boss = await administrator(api, database, "boss")
    sleeper = await administrator(api, database, "sleeper")
    path = f"/users/{boss.id}"
    assert (await boss.request("PATCH", f"/users/{sleeper.id}", json={"is_active": False})).status_code == 200
    for method, target, body in (
        ("PATCH", path, {"role": "user"}),
        ("PATCH", path, {"is_active": False}),
        ("PATCH", path, {"role": "user", "is_active": True, "email": "x@example.org"}),
        ("DELETE", path, None),
        ("DELETE", "/users/me", {"password": PASSWORD}),
    ):
        response = await boss.request(method, target, json=body)
        assert (response.status_code, response.json()) == (400, LAST), (method, target, body)
    assert (await boss.request("GET", "/users/me")).json() == boss.user | {"role": "admin"}
    assert (await boss.request("PATCH", path, json={"role": "admin", "is_active": True})).status_code == 200
    assert (await boss.request("DELETE", f"/users/{sleeper.id}")).status_code == 204


@pytest.mark.parametrize(
    ("method", "body"), [("PATCH", {"role": "user"}), ("PATCH", {"is_active": False}), ("DELETE", None)]
)
async def test_administrators_that_remove_each_other_leave_one(
    api: httpx.AsyncClient, database: URL, method: str, body: dict[str, Any] | None
) -> None:
    one, two = [await administrator(api, database, f"boss-{uuid4().hex[:8]}") for _ in range(2)]
    for _ in range(8):
        responses = await asyncio.gather(
            one.request(method, f"/users/{two.id}", json=body), two.request(method, f"/users/{one.id}", json=body)
        )
        assert {response.status_code for response in responses} <= {200, 204, 400, 401, 403, 404}
        living = await column(database, "SELECT id FROM users WHERE role = 'admin' AND is_active")
        assert len(living) == 1
        stays = one if str(living[0]) == one.id else two
        one, two = stays, await administrator(api, database, f"boss-{uuid4().hex[:8]}")
