"""The second factor in the admin site: its set-up, the recovery codes, and REQUIRE_ADMIN_SECOND_FACTOR."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.admin.browser import PASSWORD, Browser
from tests.admin.conftest import NewBrowser
from tests.factories import Backend, backend_of
from tests.second_factors import Clock
from tests.values import UNKNOWN_ID

WAITS = "This needs a second factor: set it up with POST /auth/second-factor/totp"


@pytest.fixture(scope="module")
async def backend(server: URL, template: URL) -> AsyncIterator[Backend]:
    """Run an application that requires a second factor."""
    settings = {"login_refusal_ms": 0, "admin_enabled": True, "require_admin_second_factor": True}
    async with backend_of(server, template, **settings) as backend:
        yield backend


@pytest.fixture
async def browser(backend: Backend, signed_in: NewBrowser) -> Browser:
    """Return the browser of an administrator, who has no second factor yet."""
    found = await signed_in("admin")
    await backend.rows.execute("DELETE FROM rate_limits")
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def set_up(browser: Browser, clock: Clock) -> tuple[str, list[str]]:
    """Set TOTP up, and return the secret and the recovery codes."""
    shown = await browser.send("/second-factor", {"password": PASSWORD}, "/second-factor/start")
    assert shown.status_code == 200, shown.text
    found = re.search('<code id="secret">([A-Z2-7]{32})</code>', shown.text)
    assert found is not None
    done = await confirm(browser, clock.code(found[1]))
    assert done.status_code == 200, done.text
    clock.next_step()
    return found[1], re.findall("<code>([a-z2-7-]{19})</code>", done.text)


async def confirm(browser: Browser, code: str) -> httpx.Response:
    fields = {"code": code, "_csrf_token": browser.client.cookies["kitsu_admin_csrf"]}
    return await browser.client.post("/admin/second-factor/confirm", data=fields)


@pytest.mark.parametrize("path", ["/", "/users", "/anime", "/jobs", "/second-factors", "/unknown"])
async def test_site_shows_only_the_set_up_before(browser: Browser, path: str) -> None:
    response = await browser.client.get(f"/admin{path}")
    assert (response.status_code, response.headers["location"]) == (303, "/admin/second-factor")
    page = await browser.open("/second-factor")
    assert "This site requires a second factor" in page
    assert "/admin/users" not in page


async def test_change_before_the_set_up_is_refused(backend: Backend, browser: Browser) -> None:
    await browser.open("/second-factor")
    fields = {"role": "user", "is_active": "true", "_csrf_token": browser.client.cookies["kitsu_admin_csrf"]}
    response = await browser.client.post(f"/admin/users/{browser.user_id}", data=fields)
    assert response.headers["location"] == "/admin/second-factor"
    assert await backend.rows.fetchval("SELECT role FROM users WHERE id = $1", browser.user_id) == "admin"


async def test_set_up_opens_the_site(browser: Browser, clock: Clock) -> None:
    shown = await browser.send("/second-factor", {"password": PASSWORD}, "/second-factor/start")
    assert "<svg" in shown.text
    assert "style=" not in shown.text  # which the Content-Security-Policy forbids
    assert shown.headers["cache-control"] == "no-store"
    _, codes = await set_up(browser, clock)
    assert len(set(codes)) == 10
    assert "Start" in await browser.open("/")
    page = await browser.open("/second-factor")
    assert "10 recovery codes are left" in page
    assert codes[0] not in page


async def test_wrong_password_and_code_are_refused(browser: Browser) -> None:
    refused = await browser.send("/second-factor", {"password": "wrong"}, "/second-factor/start")
    assert refused.status_code == 401
    assert "The password or the code is wrong" in refused.text
    assert (await browser.send("/second-factor", {"password": PASSWORD}, "/second-factor/start")).status_code == 200
    wrong = await confirm(browser, "000000")
    assert wrong.status_code == 400
    assert "The code is wrong or was used before" in wrong.text
    assert (await browser.client.get("/admin/")).status_code == 303


async def test_new_recovery_codes_are_shown_once(browser: Browser, clock: Clock) -> None:
    secret, codes = await set_up(browser, clock)
    fields = {"password": PASSWORD, "code": clock.code(secret)}
    made = await browser.send("/second-factor", fields, "/second-factor/recovery-codes")
    new = re.findall("<code>([a-z2-7-]{19})</code>", made.text)
    assert (made.status_code, len({*new} - {*codes})) == (200, 10)
    again = await browser.send("/second-factor", fields, "/second-factor/recovery-codes")
    assert again.status_code == 401  # the code was used


async def test_turning_off_closes_the_site(browser: Browser, clock: Clock) -> None:
    await set_up(browser, clock)
    off = await browser.send("/second-factor", {"password": PASSWORD}, "/second-factor/turn-off")
    assert off.headers["location"] == "/admin/second-factor?done=second-factor-off"
    assert (await browser.client.get("/admin/")).headers["location"] == "/admin/second-factor"


async def test_user_without_permission_gets_no_set_up(signed_in: NewBrowser) -> None:
    browser = Browser((await signed_in("editor")).client)
    assert (await browser.client.get("/admin/second-factor")).status_code == 303  # to the sign-in page


@pytest.mark.parametrize(
    ("role", "path", "allowed"),
    [
        ("admin", "/users", 200),
        ("admin", f"/users/{UNKNOWN_ID}", 404),
        ("editor", "/edited-fields", 200),
        ("user", "/library", 200),
    ],
)
async def test_api_refuses_privileged_operations_until_the_set_up(
    backend: Backend, clock: Clock, role: str, path: str, allowed: int
) -> None:
    viewer = await backend.viewer(role)
    response = await viewer.request("GET", path)
    if role == "user":
        assert response.status_code == allowed
    else:
        assert (response.status_code, response.json()["message"]) == (403, WAITS)
        await backend.rows.execute("UPDATE users SET second_factor_since = now() WHERE id = $1", viewer.id)
        assert (await viewer.request("GET", path)).status_code == allowed
