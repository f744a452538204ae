"""Sign-in, sign-out and users in a real browser."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import EMAIL, PASSWORD
from tests.chromium import needs_chromium

pytestmark = [pytest.mark.browser, needs_chromium]


async def test_wrong_password_is_refused_and_the_right_one_leads_to_the_wanted_page(page: Page) -> None:
    await page.goto("/admin/users")
    await expect(page.get_by_label("E-mail")).to_be_focused()
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_label("Password").fill("not the password")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("The e-mail address or the password is wrong.")
    await expect(page.get_by_label("E-mail")).to_have_value(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Users")).to_be_visible()


async def test_user_is_found_while_typing_and_deactivated(signed_in: Page) -> None:
    page = signed_in
    await page.get_by_role("link", name="Users").click()
    await expect(page.get_by_role("row")).to_have_count(51)
    await page.get_by_role("searchbox").press_sequentially("VIEWER7")
    await expect(page.get_by_role("row")).to_have_count(2)
    await page.get_by_role("link", name="viewer7").click()
    await page.get_by_label("May sign in").uncheck()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status")).to_have_text("The user was changed.")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("deactivated")


async def test_site_works_by_keyboard_alone(page: Page) -> None:
    await page.goto("/admin")
    await expect(page.get_by_label("E-mail")).to_be_focused()
    await page.keyboard.type(EMAIL)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Start")).to_be_visible()
    await page.wait_for_load_state()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await tab_to(page, "Users")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/admin/users")  # the page before may have such a heading, too
    await expect(page.get_by_role("heading", name="Users", exact=True)).to_be_visible()
    await tab_to(page, "viewer50")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="viewer50")).to_be_visible()
    await tab_to(page, "Role")
    await page.keyboard.type("editor")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    await tab_to(page, "Save")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("editor deactivated")


async def test_forged_form_is_refused(signed_in: Page) -> None:
    page = signed_in
    await page.goto("/admin/users?q=viewer8")
    await page.get_by_role("link", name="viewer8").click()
    await page.evaluate("document.querySelectorAll('[name=_csrf_token]').forEach(field => field.value = 'forged')")
    await page.get_by_label("May sign in").uncheck()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="Form refused")).to_be_visible()
    await page.go_back()
    await page.reload()
    await expect(page.get_by_label("May sign in")).to_be_checked()


async def test_sign_out_ends_the_session(signed_in: Page) -> None:
    page = signed_in
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("status")).to_have_text("You are signed out.")
    await page.goto("/admin/users")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element with this text or label has the focus."""
    await page.wait_for_load_state()  # a page that still loads may take the focus back
    for _ in range(100):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(
            "[document.activeElement.textContent.trim(), document.activeElement.labels?.[0]?.textContent]"
        )
        if name in focused:
            return
    raise AssertionError(f"Tab does not lead to {name}")
