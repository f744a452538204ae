"""The second factor in a real browser: set it up under the site's policy, and sign in with it."""

import time
from collections.abc import Iterator

import pyotp
import pytest
from playwright.async_api import Page, expect
from sqlalchemy.engine import URL

from tests.browser.conftest import EMAIL, PASSWORD
from tests.chromium import needs_chromium
from tests.cli.process import kitsu

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def site(site_database: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a service that requires a second factor, and return its origin."""
    folder = tmp_path_factory.mktemp("site")
    with kitsu(folder, "serve", database=site_database, REQUIRE_ADMIN_SECOND_FACTOR="true") as process:
        process.serves()
        yield f"http://{process.address}"


async def sign_in(page: Page) -> None:
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def test_totp_is_set_up_and_signs_in(page: Page) -> None:
    await page.goto("/admin")
    await sign_in(page)
    await expect(page.get_by_role("status")).to_have_text("This site requires a second factor. Set it up to continue.")
    await expect(page.get_by_role("navigation")).to_have_count(0)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Set up").click()
    picture = await page.locator("svg.segno").bounding_box()
    assert picture is not None
    assert picture["width"] == picture["height"] > 150
    app = pyotp.TOTP(await page.locator("#secret").inner_text())
    now = time.time()
    await page.get_by_label("Code").fill(app.at(int(now)))
    await page.get_by_role("button", name="Turn on").click()
    await expect(page.locator("#recovery-codes li")).to_have_count(10)
    recovery_code = await page.locator("#recovery-codes li").first.inner_text()
    await page.get_by_role("link", name="Continue").click()
    await expect(page.get_by_role("heading", name="Start")).to_be_visible()
    for code in (app.at(int(now) + app.interval), recovery_code):
        await page.get_by_role("button", name="Sign out").click()
        await sign_in(page)
        await page.get_by_label("Code").fill(code)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="Start")).to_be_visible()
