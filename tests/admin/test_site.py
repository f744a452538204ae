"""What all pages have: headers, permissions, protection of forms, pages of errors, files."""

import re

import pytest
from sqlalchemy.engine import URL

from tests.admin.browser import Browser
from tests.application import ORIGIN, client_of
from tests.factories import Backend

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "


@pytest.mark.parametrize("path", ["/", "/users", "/unknown", "/sign-in", "/static/admin.css"])
async def test_responses_have_security_headers(admin: Browser, path: str) -> None:
    response = await admin.client.get(f"/admin{path}")
    assert response.headers["content-security-policy"].startswith(POLICY)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"


async def test_pages_have_no_inline_script_or_style(admin: Browser) -> None:
    for path in ("/", "/users", f"/users/{admin.user_id}", "/sign-in"):
        page = await admin.open(path)
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)|javascript:", page), path
        assert page.count("<h1") == 1, path


async def test_pages_are_not_cached_and_files_are(admin: Browser) -> None:
    response = await admin.client.get("/admin/")
    assert response.headers["cache-control"] == "no-store"
    files = re.findall(r'(?:href|src)="(/admin/static/[^"]+)"', response.text)
    assert len(set(files)) == 4
    for file in files:
        response = await admin.client.get(file)
        assert response.status_code == 200
        assert "immutable" in response.headers["cache-control"]
        assert (await admin.client.get(file.partition("?")[0])).headers["cache-control"] == "no-cache"
    assert (await admin.client.get("/admin/static/..%2Flayout.html")).status_code == 404


async def test_editor_sees_catalogue_pages_only(editor: Browser, admin: Browser) -> None:
    assert "/admin/users" not in await editor.open("/")
    for path in ("/users", f"/users/{admin.user_id}"):
        assert "No access" in await editor.open(path, 403)
    assert "/admin/users" in await admin.open("/")


async def test_unknown_path_and_method_get_pages(admin: Browser) -> None:
    assert "Not found" in await admin.open("/unknown", 404)
    assert "User not found" in await admin.open("/users/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b", 404)
    response = await admin.client.delete("/admin/users")
    assert response.status_code == 405
    assert "Not possible" in response.text


@pytest.mark.parametrize("token", [None, "", "forged", "0" * 128])
async def test_forged_form_is_refused(admin: Browser, backend: Backend, token: str | None) -> None:
    await admin.open("/")
    path = f"/users/{admin.user_id}"
    fields = {"role": "user", "is_active": "false"} | ({} if token is None else {"_csrf_token": token})
    response = await admin.client.post(f"/admin{path}", data=fields)
    assert response.status_code == 403
    assert "Form refused" in response.text
    assert await backend.rows.fetchval("SELECT is_active FROM users WHERE id = $1", admin.user_id)
    assert (await admin.send(path, {"role": "admin"})).status_code == 303, "the next form works"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_form_of_a_page_on_another_origin_is_refused(admin: Browser, backend: Backend, site: str) -> None:
    path = f"/users/{admin.user_id}"
    response = await admin.send(path, {"role": "user"}, headers={"Sec-Fetch-Site": site})
    assert response.status_code == 403
    assert "Form refused" in response.text
    assert await backend.rows.fetchval("SELECT role FROM users WHERE id = $1", admin.user_id) == "admin"


@pytest.mark.parametrize("path", ["/admin/users", "//admin//users", "/admin"])
async def test_pages_of_allowed_origins_can_not_read_the_site(admin: Browser, path: str) -> None:
    url = f"http://kitsu.test{path}"
    response = await admin.client.get(url, headers={"Origin": ORIGIN})
    assert "content-security-policy" in response.headers
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    for answer in (response, await admin.client.options(url, headers=preflight)):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_form_of_earlier_session_is_refused(admin: Browser, backend: Backend) -> None:
    page = await admin.open("/")
    token = re.search('name="_csrf_token" value="([^"]+)"', page)
    assert token
    await admin.send("/", action="/sign-out")
    await admin.sign_in()
    await admin.open("/")
    response = await admin.client.post("/admin/sign-out", data={"_csrf_token": token[1]})
    assert response.status_code == 403
    assert "Start" in await admin.open("/")


async def test_form_without_session_changes_nothing(admin: Browser, backend: Backend) -> None:
    await backend.rows.execute("UPDATE auth_sessions SET revoked_at = now() WHERE user_id = $1", admin.user_id)
    response = await admin.client.post(f"/admin/users/{admin.user_id}", data={"role": "user", "is_active": "true"})
    assert (response.status_code, response.headers["location"]) == (303, "/admin/sign-in?expired=1")
    assert await backend.rows.fetchval("SELECT role FROM users WHERE id = $1", admin.user_id) == "admin"


async def test_site_can_be_switched_off(database: URL) -> None:
    async with client_of(database, admin_enabled=False) as client:
        response = await client.get("/admin/sign-in")
    assert response.status_code == 404
    assert response.json()["code"] == "NOT_FOUND"


async def test_page_without_database_is_unavailable(backend: Backend, admin: Browser) -> None:
    await backend.rows.execute("ALTER TABLE auth_sessions RENAME TO away")
    try:
        response = await admin.client.get("/admin/")
    finally:
        await backend.rows.execute("ALTER TABLE away RENAME TO auth_sessions")
    assert response.status_code == 500
    assert "Internal error" in response.text
    assert response.headers["content-type"].startswith("text/html")
