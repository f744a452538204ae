"""Fixtures of the admin site: a browser without a session, and browsers of an editor and an administrator."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy.engine import URL

from kitsu.domain.accounts.passwords import hash_password
from tests.admin.browser import PASSWORD, Browser
from tests.factories import Backend, backend_of, sign_in

NewBrowser = Callable[[str], Awaitable[Browser]]


@pytest.fixture(scope="module")
async def backend(server: URL, template: URL) -> AsyncIterator[Backend]:
    """Run the application on a database that the tests of a module share."""
    async with backend_of(server, template, login_refusal_ms=0, admin_enabled=True) as backend:
        yield backend


@pytest.fixture
async def signed_in(backend: Backend) -> AsyncIterator[NewBrowser]:
    """Return a function that returns a browser in which a new user of a role is signed in."""
    opened: list[Browser] = []

    async def open_browser(role: str) -> Browser:
        user = await sign_in(backend.rows, role, hash_password(PASSWORD))
        browser = Browser(backend.client, user.user_id)
        opened.append(browser)
        assert (await browser.sign_in()).headers["location"] == "/admin/"
        return browser

    yield open_browser
    for browser in opened:
        await browser.close()


@pytest.fixture
async def admin(signed_in: NewBrowser) -> Browser:
    return await signed_in("admin")


@pytest.fixture
async def editor(signed_in: NewBrowser) -> Browser:
    return await signed_in("editor")


@pytest.fixture
async def guest(backend: Backend) -> AsyncIterator[Browser]:
    browser = Browser(backend.client)
    yield browser
    await browser.close()
