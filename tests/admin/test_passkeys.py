"""Passkeys in the admin site: added on its page, used in the second step, and in place of the password."""

import html
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.domain.accounts.passwords import hash_password
from tests.admin.browser import PASSWORD, Browser
from tests.factories import Backend, backend_of, sign_in
from tests.passkeys import PRESENT, Authenticator

SITE = "http://kitsu.test"
FORM = r'<form [^>]*action="([^"]+)" data-passkey="(\w+)" data-options="([^"]+)".*?</form>'
WRONG = "The passkey is wrong or was made for another site"


@pytest.fixture(scope="module")
async def backend(server: URL, template: URL) -> AsyncIterator[Backend]:
    """Run an application whose passkeys are made for the admin site."""
    settings = {"login_refusal_ms": 0, "admin_enabled": True, "public_url": SITE, "passkey_domain": "kitsu.test"}
    async with backend_of(server, template, **settings) as backend:
        yield backend


@pytest.fixture
def phone() -> Authenticator:
    phone = Authenticator()
    phone.origin = SITE
    return phone


class PasskeyForm:
    """A form that a passkey completes, as the script of the page does it."""

    def __init__(self, browser: Browser, page: str) -> None:
        found = re.search(FORM, page, re.DOTALL)
        assert found is not None, page
        self.action, self.kind, options = found.groups()
        self.options: dict[str, Any] = json.loads(html.unescape(options))
        names = re.findall(r'<input type="hidden" name="(\w+)"(?: id="\w*")? value="([^"]*)"', found[0])
        self.fields = {name: html.unescape(value) for name, value in names}
        self._browser = browser

    async def send(self, phone: Authenticator, **fields: str) -> httpx.Response:
        credential = phone.create(self.options) if self.kind == "create" else phone.get(self.options)
        data = {**self.fields, "credential": json.dumps(credential), **fields}
        return await self._browser.client.post(self.action, data=data)


async def add(browser: Browser, phone: Authenticator, name: str = "Phone") -> httpx.Response:
    """Add a passkey on the page of the second factor, and return the response."""
    fields = {"password": PASSWORD, "name": name}
    shown = await browser.send("/second-factor", fields, "/second-factor/passkeys/start")
    assert (shown.status_code, shown.headers["cache-control"]) == (200, "no-store"), shown.text
    return await PasskeyForm(browser, shown.text).send(phone)


async def start_over(browser: Browser) -> PasskeyForm:
    """Sign out, and return the form that signs in with a passkey alone."""
    browser.client.cookies.clear()
    return PasskeyForm(browser, await browser.open("/sign-in"))


async def test_first_passkey_shows_recovery_codes(admin: Browser, phone: Authenticator) -> None:
    added = await add(admin, phone, 'My "phone" <b>')
    assert added.status_code == 200
    assert len(re.findall("<code>[a-z2-7-]{19}</code>", added.text)) == 10
    other = Authenticator()
    other.origin = SITE
    assert (await add(admin, other, "Key")).headers["location"] == "/admin/second-factor?done=second-factor-changed"
    page = await admin.open("/second-factor")
    assert "My &#34;phone&#34; &lt;b&gt;" in page
    assert "never used" in page


async def test_passkey_takes_the_second_step(admin: Browser, phone: Authenticator) -> None:
    await add(admin, phone)
    admin.client.cookies.clear()
    second = PasskeyForm(admin, (await admin.sign_in()).text)
    phone.flags = 0
    refused = await second.send(phone)
    assert (refused.status_code, WRONG in refused.text) == (401, True)
    phone.flags = PRESENT
    done = await PasskeyForm(admin, refused.text).send(phone)
    assert (done.status_code, done.headers["location"]) == (303, "/admin/")
    assert "last used" in await admin.open("/second-factor")


async def test_passkey_that_verifies_its_user_replaces_the_password(admin: Browser, phone: Authenticator) -> None:
    await add(admin, phone)
    alone = await start_over(admin)
    assert alone.options["userVerification"] == "required"
    assert "allowCredentials" not in alone.options or alone.options["allowCredentials"] == []
    credential = json.dumps(phone.get(alone.options))
    done = await alone.send(phone, credential=credential, next="/admin/users?q=a")
    assert (done.status_code, done.headers["location"]) == (303, "/admin/users?q=a")
    # An observer sends it once more.
    again = await (await start_over(admin)).send(phone, credential=credential, challenge=alone.fields["challenge"])
    assert (again.status_code, "The time for this step is over" in again.text) == (401, True)


async def test_passkey_without_verification_replaces_no_password(admin: Browser, phone: Authenticator) -> None:
    await add(admin, phone)
    phone.flags = PRESENT
    refused = await (await start_over(admin)).send(phone)
    assert (refused.status_code, WRONG in refused.text) == (401, True)
    assert 'name="password"' in refused.text


async def test_unknown_passkey_does_not_sign_in(guest: Browser, phone: Authenticator) -> None:
    refused = await PasskeyForm(guest, await guest.open("/sign-in")).send(phone)
    assert (refused.status_code, WRONG in refused.text) == (401, True)


@pytest.mark.parametrize(("change", "status"), [("role = 'user'", 403), ("is_active = false", 401)])
async def test_passkey_of_user_without_access_does_not_sign_in(
    backend: Backend, admin: Browser, phone: Authenticator, change: str, status: int
) -> None:
    await add(admin, phone)
    await backend.rows.execute(f"UPDATE users SET {change} WHERE id = $1", admin.user_id)
    refused = await (await start_over(admin)).send(phone)
    assert refused.status_code == status
    assert "kitsu_admin" not in admin.client.cookies


async def test_challenge_of_another_step_is_refused(admin: Browser, phone: Authenticator) -> None:
    await add(admin, phone)
    alone = await start_over(admin)
    second = PasskeyForm(admin, (await admin.sign_in()).text)
    assert (await second.send(phone, step="passkey")).status_code == 401
    assert (await alone.send(phone, step="second")).status_code == 401


async def test_removed_passkey_does_not_sign_in(admin: Browser, phone: Authenticator) -> None:
    await add(admin, phone)
    [path] = re.findall("/second-factor/passkeys/[0-9a-f-]{36}/remove", await admin.open("/second-factor"))
    refused = await admin.send("/second-factor", {"password": "wrong"}, path)
    assert refused.status_code == 401
    removed = await admin.send("/second-factor", {"password": PASSWORD}, path)
    assert removed.headers["location"] == "/admin/second-factor?done=second-factor-changed"
    assert (await (await start_over(admin)).send(phone)).status_code == 401
    assert (await admin.sign_in()).headers["location"] == "/admin/"


@pytest.mark.parametrize("credential", ["", "{", "[]", '{"id": 1}'])
async def test_field_that_the_script_did_not_fill_is_refused(admin: Browser, credential: str) -> None:
    refused = await add_with(admin, credential)
    assert (refused.status_code, "The passkey can&#39;t be read" in refused.text) == (422, True)


async def add_with(browser: Browser, credential: str) -> httpx.Response:
    fields = {"password": PASSWORD, "name": "Phone"}
    shown = await browser.send("/second-factor", fields, "/second-factor/passkeys/start")
    form = PasskeyForm(browser, shown.text)
    return await browser.client.post(form.action, data={**form.fields, "credential": credential})


async def test_page_at_another_address_offers_no_passkeys(backend: Backend) -> None:
    user = await sign_in(backend.rows, "admin", hash_password(PASSWORD))
    browser = Browser(backend.client, user.user_id)
    browser.client.base_url = httpx.URL("http://127.0.0.1:8000")
    assert "data-passkey" not in await browser.open("/sign-in")
    await browser.sign_in()
    assert "Passkeys don't work at this address" in await browser.open("/second-factor")
