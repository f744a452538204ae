"""Who gets into the admin site, and how sessions end."""

import time
from uuid import uuid4

import httpx
import jwt
import pytest
from sqlalchemy.engine import URL

from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.passwords import hash_password
from tests.admin.browser import PASSWORD, Browser, Page
from tests.admin.conftest import NewBrowser
from tests.application import client_of
from tests.factories import Backend, sign_in
from tests.second_factors import Clock, protect

WRONG = "The e-mail address or the password is wrong."


@pytest.mark.parametrize(
    "path", ["", "/", "/users", "/users/", "/unknown", "/users/1/2/3", "//users", "/static", "/%00"]
)
async def test_guest_is_redirected_to_sign_in(guest: Browser, path: str) -> None:
    response = await guest.client.get(f"/admin{path}")
    assert response.status_code == 303
    assert response.headers["location"].startswith("/admin/sign-in")
    assert "Sign in" in await guest.open("/sign-in")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_request_of_guest_is_redirected_whatever_its_method(guest: Browser, method: str) -> None:
    response = await guest.client.request(method, "/admin/users")
    assert (response.status_code, response.headers["location"]) == (303, "/admin/sign-in?expired=1")


async def test_sign_in_leads_to_the_wanted_page(guest: Browser, backend: Backend) -> None:
    user = await sign_in(backend.rows, "admin", hash_password(PASSWORD))
    location = (await guest.client.get("/admin/users?q=a%26b")).headers["location"]
    response = await guest.sign_in(f"{user.user_id}@example.org", page=location.removeprefix("/admin"))
    assert (response.status_code, response.headers["location"]) == (303, "/admin/users?q=a%26b")


@pytest.mark.parametrize(
    "next_", ["https://evil.example", "//evil.example", "/admin/\\evil", "/admins", "javascript:x", "/"]
)
async def test_sign_in_with_foreign_target_leads_to_the_start_page(
    guest: Browser, backend: Backend, next_: str
) -> None:
    user = await sign_in(backend.rows, "editor", hash_password(PASSWORD))
    fields = {"email": f"{user.user_id}@example.org", "password": PASSWORD, "next": next_}
    response = await guest.send("/sign-in", fields)
    assert (response.status_code, response.headers["location"]) == (303, "/admin/")


async def test_wrong_password_and_unknown_email_get_the_same_page(guest: Browser, backend: Backend) -> None:
    user = await sign_in(backend.rows, "admin", hash_password(PASSWORD))
    for email in (f"{user.user_id}@example.org", "unknown@example.org"):
        response = await guest.sign_in(email, "not the password")
        assert response.status_code == 401
        assert WRONG in response.text
        assert f'value="{email}"' in response.text
        assert "not the password" not in response.text
        assert "kitsu_admin" not in guest.client.cookies


async def test_sign_in_of_user_without_permission_is_forbidden(guest: Browser, backend: Backend) -> None:
    user = await sign_in(backend.rows, "user", hash_password(PASSWORD))
    response = await guest.sign_in(f"{user.user_id}@example.org")
    assert response.status_code == 403
    assert "has no access" in response.text
    assert "kitsu_admin" not in guest.client.cookies
    assert await backend.rows.fetchval("SELECT count(*) FROM auth_sessions WHERE user_id = $1", user.user_id) == 1


async def test_sign_in_is_rate_limited_like_the_api(database: URL) -> None:
    async with client_of(database, login_refusal_ms=0, rate_limit_login=(2, 900), admin_enabled=True) as client:
        browser = Browser(client)
        body = {"email": "a@example.org", "password": "not the password"}
        assert (await client.post("/auth/login", json=body)).status_code == 401
        assert (await browser.sign_in("a@example.org", "not the password")).status_code == 401
        response = await browser.sign_in("a@example.org", "not the password")
        assert response.status_code == 429
        assert "Try again in 15 minutes" in response.text
        assert int(response.headers["retry-after"]) > 800


async def test_cookie_is_for_the_site_alone(signed_in: NewBrowser, backend: Backend) -> None:
    browser = await signed_in("admin")
    await browser.client.get("/admin/")
    token = browser.client.cookies["kitsu_admin"]
    response = await backend.client.get("/users/me", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401
    claims = jwt.decode(token, options={"verify_signature": False})
    access = AccessTokens(secret_key="k" * 32, algorithm="HS256", minutes=5)
    api_token = access.issue(claims["sub"], claims["sid"])
    response = await backend.client.get("/users/me", headers={"Authorization": f"Bearer {api_token}"})
    assert response.status_code == 200
    other = Browser(backend.client)
    other.client.cookies.set("kitsu_admin", api_token, path="/admin")
    assert (await other.client.get("/admin/")).status_code == 303


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cookies_are_strict_and_secure_behind_https(backend: Backend, scheme: str) -> None:
    user = await sign_in(backend.rows, "admin", hash_password(PASSWORD))
    browser = Browser(backend.client)
    browser.client.base_url = httpx.URL(f"{scheme}://kitsu.test")
    page = await browser.client.get("/admin/sign-in")
    response = await browser.sign_in(f"{user.user_id}@example.org")
    set_ = [page.headers["set-cookie"], response.headers.get_list("set-cookie")[0]]
    for cookie, name in zip(set_, ["kitsu_admin_csrf=", "kitsu_admin="], strict=True):
        assert cookie.startswith(name)
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=strict", "path=/admin"} <= parts
        assert ("secure" in parts) == (scheme == "https")


async def test_sign_out_ends_the_session_for_copies_of_the_cookie(editor: Browser, backend: Backend) -> None:
    copy = Browser(backend.client)
    copy.client.cookies.set("kitsu_admin", editor.client.cookies["kitsu_admin"], path="/admin")
    assert "Start" in await copy.open("/")
    response = await editor.send("/", action="/sign-out")
    assert response.headers["location"] == "/admin/sign-in?done=signed-out"
    assert "kitsu_admin" not in editor.client.cookies
    assert (await copy.client.get("/admin/")).status_code == 303
    assert "You are signed out." in await editor.open("/sign-in?done=signed-out")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET is_active = false WHERE id = $1",
        "UPDATE auth_sessions SET revoked_at = now() WHERE user_id = $1",
        "UPDATE auth_sessions SET expires_at = now() WHERE user_id = $1",
        "DELETE FROM users WHERE id = $1",
    ],
)
async def test_session_that_ended_is_redirected(editor: Browser, backend: Backend, change: str) -> None:
    await backend.rows.execute(change, editor.user_id)
    response = await editor.client.get("/admin/")
    assert (response.status_code, response.headers["location"]) == (303, "/admin/sign-in?expired=1")
    assert "Your session has ended" in await editor.open("/sign-in?expired=1")


async def test_demoted_editor_is_forbidden_at_once(editor: Browser, backend: Backend) -> None:
    await backend.rows.execute("UPDATE users SET role = 'user' WHERE id = $1", editor.user_id)
    assert "No access" in await editor.open("/", 403)
    assert "No access" in await editor.open("/unknown", 403)


async def test_request_prolongs_a_session_and_polling_does_not(
    editor: Browser, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = editor.client.cookies["kitsu_admin"]
    await editor.open("/")
    assert editor.client.cookies["kitsu_admin"] == first
    old = time.time() - 25 * 60
    claims = jwt.decode(first, options={"verify_signature": False})
    claims |= {"iat": int(old), "exp": int(old + 30 * 60), "jti": uuid4().hex}
    editor.client.cookies.set("kitsu_admin", jwt.encode(claims, "k" * 32, "HS256"), domain="kitsu.test", path="/admin")
    soon = "UPDATE auth_sessions SET expires_at = now() + interval '5 minutes' WHERE id = $1 RETURNING expires_at"
    expires_at = await backend.rows.fetchval(soon, claims["sid"])
    await editor.open("/imports/progress", 404)
    query = "SELECT expires_at FROM auth_sessions WHERE id = $1"
    assert await backend.rows.fetchval(query, claims["sid"]) == expires_at
    response = await editor.client.get("/admin/")
    assert response.headers["set-cookie"].startswith("kitsu_admin=")
    assert (await backend.rows.fetchval(query, claims["sid"]) - expires_at).total_seconds() > 24 * 60


async def test_idle_session_ends_after_30_minutes(editor: Browser) -> None:
    claims = jwt.decode(editor.client.cookies["kitsu_admin"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 30 * 60
    old = {**claims, "iat": claims["iat"] - 1860, "exp": claims["exp"] - 1860}
    editor.client.cookies.set("kitsu_admin", jwt.encode(old, "k" * 32, "HS256"), domain="kitsu.test", path="/admin")
    assert (await editor.client.get("/admin/")).status_code == 303


async def test_expired_session_of_htmx_request_loads_the_sign_in_page(guest: Browser) -> None:
    response = await guest.client.get("/admin/users?q=a", headers={"HX-Request": "true"})
    assert (response.status_code, response.headers["hx-redirect"]) == (401, "/admin/sign-in?expired=1")


async def test_second_factor_is_asked_in_a_second_step(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    user = await protect(backend.client, clock, "second@example.org")
    await backend.rows.execute("UPDATE users SET role = 'editor' WHERE email = 'second@example.org'")
    browser = Browser(backend.client)
    page = await browser.sign_in("second@example.org")
    assert (page.status_code, "location" in page.headers) == (200, False)
    fields = Page(page.text).forms["/admin/sign-in"]

    async def answer(code: str, **more: str) -> httpx.Response:
        form = {name: values[-1] for name, values in fields.items()} | {"code": code, **more}
        return await browser.client.post("/admin/sign-in", data=form)

    wrong = await answer("000000")
    assert wrong.status_code == 401
    assert "The code is wrong or was used before" in wrong.text
    over = await answer(clock.code(user.secret), challenge="x")
    assert "The time for this step is over" in over.text
    assert (await answer(clock.code(user.secret))).headers["location"] == "/admin/"
    assert (await browser.client.get("/admin/")).status_code == 200
