"""A provider of another site with a form of its own, in a browser, which has the rules for cookies between sites."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy.engine import URL

from tests.accounts import EMAIL, PASSWORD
from tests.browser.front_end import front_end_running
from tests.chromium import needs_chromium
from tests.cli.process import free_port, kitsu
from tests.oidc.provider import CLIENT_ID, CLIENT_SECRET, TestProvider, provider_running

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def provider() -> Iterator[TestProvider]:
    """Run a provider that shows a form. For a browser 127.0.0.1 is not the site localhost."""
    with provider_running() as provider:
        provider.has_form = True
        yield provider


@pytest.fixture(scope="module")
def front_end(module_database: URL, provider: TestProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the front end and the service, and return the address of the front end."""
    with front_end_running() as origin:
        port = str(free_port())
        site = f"http://localhost:{port}"
        provider.redirect_uri = f"{site}/auth/oidc/test/callback"
        settings: dict[str, Any] = {
            "PORT": port,
            "PUBLIC_URL": site,
            "FRONTEND_URL": origin,
            "ALLOWED_ORIGINS": origin,
            "OIDC_TEST_ISSUER": provider.issuer,
            "OIDC_TEST_CLIENT_ID": CLIENT_ID,
            "OIDC_TEST_CLIENT_SECRET": CLIENT_SECRET,
        }
        folder = tmp_path_factory.mktemp("site")
        with kitsu(folder, "serve", database=module_database, **settings) as process:
            process.serves()
            yield f"{origin}/?api={site}"


@pytest.fixture
async def page(browser: Browser, front_end: str, accountless: URL) -> AsyncIterator[Page]:
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(10_000)
    await page.goto(front_end)
    yield page
    await context.close()


async def sign_in(page: Page, answer: str) -> None:
    await page.get_by_role("button", name="Sign in with the provider").click()
    await page.get_by_role("button", name=answer).click()


async def test_user_signs_in_with_the_form_of_the_provider(page: Page, provider: TestProvider) -> None:
    provider.sign_in_as("subject", EMAIL)
    await sign_in(page, "Allow")
    await expect(page.get_by_role("alert")).to_have_text("POST /auth/oidc/token 200 ")
    await expect(page.get_by_role("status")).to_have_text(f"{EMAIL} verified")


async def test_user_who_declines_comes_back_without_a_session(page: Page, provider: TestProvider) -> None:
    provider.sign_in_as("subject", EMAIL)
    await sign_in(page, "Cancel")
    await expect(page.get_by_role("alert")).to_have_text("error=sign_in_failed")
    await expect(page.get_by_role("status")).to_have_text("signed out")
    await sign_in(page, "Allow")
    await expect(page.get_by_role("status")).to_have_text(f"{EMAIL} verified")


async def test_signed_in_user_links_the_provider(page: Page, provider: TestProvider) -> None:
    provider.sign_in_as("subject", "other@example.org")
    form = page.locator("form[data-action=register]")
    await form.get_by_label("E-mail").fill(EMAIL)
    await form.get_by_label("Password").fill(PASSWORD)
    await form.get_by_role("button").click()
    await expect(page.get_by_role("status")).to_have_text(f"{EMAIL} unverified")
    await page.get_by_role("button", name="Link the provider").click()
    await page.get_by_role("button", name="Allow").click()
    await expect(page.get_by_role("alert")).to_have_text("linked=test")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("status")).to_have_text("signed out")
    await sign_in(page, "Allow")
    await expect(page.get_by_role("status")).to_have_text(f"{EMAIL} unverified")
