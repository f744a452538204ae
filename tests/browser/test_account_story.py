"""The whole story of an account, played in a browser with a mail server and an OpenID provider on loopback."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from email.message import EmailMessage
from typing import Any

import pyotp
import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy.engine import URL

from tests.browser.conftest import PASSWORD
from tests.browser.front_end import front_end_running
from tests.chromium import needs_chromium
from tests.cli.process import free_port, kitsu
from tests.mail.server import Inbox, running, text_of
from tests.oidc.provider import CLIENT_ID, CLIENT_SECRET, TestProvider, provider_running

pytestmark = [pytest.mark.browser, needs_chromium]

OLD, NEW = "kaguya@example.org", "shinomiya@example.org"
NEW_PASSWORD = "another long password"


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    with running(Inbox()) as inbox:
        yield inbox


@pytest.fixture(scope="module")
def provider() -> Iterator[TestProvider]:
    with provider_running() as provider:
        yield provider


@pytest.fixture(scope="module")
def front_end(
    site_database: URL, inbox: Inbox, provider: TestProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Start the front end, the service with two workers and the worker of jobs. Return the address of the front end."""
    with ExitStack() as stack:
        origin = stack.enter_context(front_end_running())
        port = str(free_port())
        site = f"http://localhost:{port}"
        provider.redirect_uri = f"{site}/auth/oidc/test/callback"
        settings: dict[str, Any] = {
            "MAIL_URL": inbox.url,
            "MAIL_FROM": "Kitsu <noreply@example.org>",
            "FRONTEND_URL": origin,
            "ALLOWED_ORIGINS": origin,
            "PUBLIC_URL": site,
            "OIDC_TEST_ISSUER": provider.issuer,
            "OIDC_TEST_CLIENT_ID": CLIENT_ID,
            "OIDC_TEST_CLIENT_SECRET": CLIENT_SECRET,
        }
        folder = tmp_path_factory.mktemp("site")
        stack.enter_context(kitsu(folder, "worker", database=site_database, **settings))
        service = kitsu(folder, "serve", database=site_database, PORT=port, WORKERS="2", **settings)
        stack.enter_context(service).serves()
        yield f"{origin}/?api={site}"


@pytest.fixture
async def page(browser: Browser, front_end: str) -> AsyncIterator[Page]:
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(10_000)
    await page.goto(front_end)
    yield page
    await context.close()


class Viewer:
    """A viewer in front of the page, who reads the mails, too."""

    def __init__(self, page: Page, inbox: Inbox) -> None:
        self._page, self._inbox = page, inbox

    async def sends(self, action: str, result: str, **fields: str) -> None:
        """Fill in a form, send it, and wait for the result of its request."""
        form = self._page.locator(f"form[data-action={action}]")
        for name, value in fields.items():
            await form.locator(f"input[name={name}]").fill(value)
        await form.locator("button").click()
        await self.sees(result)

    async def sees(self, result: str) -> None:
        await expect(self._page.locator("#result")).to_have_text(re.compile(f"{re.escape(result)} ?$"))

    async def is_signed_in(self, state: str) -> None:
        await expect(self._page.locator("#state")).to_have_text(state)

    async def follows(self, address: str, path: str) -> None:
        """Follow the link to a path in a mail to an address."""
        await self._page.goto(await self._link(address, path))

    async def has_mail(self, address: str, subject: str) -> None:
        await self._arrives(lambda mail: mail["To"] == address and subject in mail["Subject"], subject)

    async def _link(self, address: str, path: str) -> str:
        pattern = re.compile(rf"http://localhost:\d+{path}\?token=[\w-]+")
        mail = await self._arrives(lambda mail: mail["To"] == address and pattern.search(text_of(mail)), path)
        found = pattern.search(text_of(mail))
        assert found is not None
        assert found[0] in text_of(mail, "html")
        return found[0]

    async def _arrives(self, is_right: Callable[[EmailMessage], object], what: str) -> EmailMessage:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for mail in self._inbox.mails:
                if is_right(mail):
                    return mail
            await asyncio.sleep(0.1)
        pytest.fail(f"no mail: {what}; {[(mail['To'], mail['Subject']) for mail in self._inbox.mails]}")


async def test_story_of_an_account(page: Page, inbox: Inbox, provider: TestProvider) -> None:
    viewer = Viewer(page, inbox)
    await viewer.sends("register", "POST /auth/register 201", email=OLD, password=PASSWORD)
    await viewer.is_signed_in(f"{OLD} unverified")

    await viewer.follows(OLD, "/verify-email")
    await viewer.sees("POST /auth/verify 204")
    await viewer.is_signed_in(f"{OLD} verified")

    await viewer.sends("logout", "POST /auth/logout 204")
    await viewer.sends("forgot", "POST /auth/password/forgot 202", email=OLD)
    await viewer.follows(OLD, "/reset-password")
    await viewer.sends("reset", "POST /auth/password/reset 204", new_password=NEW_PASSWORD)
    await viewer.sends("reset", "POST /auth/password/reset 400 VALIDATION_ERROR", new_password=NEW_PASSWORD)
    await viewer.has_mail(OLD, "password was changed")
    await viewer.sends("login", "POST /auth/login 401 AUTH_ERROR", email=OLD, password=PASSWORD)
    await viewer.sends("login", "POST /auth/login 200", email=OLD, password=NEW_PASSWORD)
    await viewer.is_signed_in(f"{OLD} verified")

    await viewer.sends("change", "PATCH /users/me/email 202", email=NEW, password=NEW_PASSWORD)
    await viewer.is_signed_in(f"{OLD} verified")
    await viewer.follows(NEW, "/confirm-email")
    await viewer.sees("POST /auth/email/confirm 204")
    await viewer.is_signed_in(f"{NEW} verified")
    await viewer.follows(OLD, "/revert-email")  # the owner of the old address did not want it
    await viewer.sees("POST /auth/email/revert 204")
    await viewer.is_signed_in("signed out")

    await viewer.sends("login", "POST /auth/login 200", email=OLD, password=NEW_PASSWORD)
    await viewer.sends("totp", "POST /auth/second-factor/totp 201", password=NEW_PASSWORD)
    app = pyotp.TOTP(await page.evaluate("sessionStorage.secret"))
    now = int(time.time())
    await viewer.sends("confirm", "POST /auth/second-factor/totp/confirm 200", code=app.at(now))
    await viewer.has_mail(OLD, "second factor")
    await viewer.sends("logout", "POST /auth/logout 204")
    await viewer.sends("login", "POST /auth/login 401 SECOND_FACTOR_REQUIRED", email=OLD, password=NEW_PASSWORD)
    await viewer.is_signed_in("signed out")
    await viewer.sends("code", "POST /auth/login/second-factor 401 AUTH_ERROR", code=app.at(now))  # used
    await viewer.sends("code", "POST /auth/login/second-factor 200", code=app.at(now + app.interval))
    await viewer.is_signed_in(f"{OLD} verified")
    await viewer.sends("logout", "POST /auth/logout 204")

    provider.sign_in_as("42", OLD)
    await viewer.sends("provider", "POST /auth/oidc/token 401 SECOND_FACTOR_REQUIRED")
    recovery_code = await page.evaluate("sessionStorage.recovery_code")
    await viewer.sends("code", "POST /auth/login/second-factor 200", code=recovery_code)
    await viewer.is_signed_in(f"{OLD} verified")
    await viewer.has_mail(OLD, "way to sign in")
