"""Every page fits into narrow and wide windows, in light and dark. The screenshots are for people to look at."""

import pytest
from playwright.async_api import Page

from tests.chromium import needs_chromium
from tests.conftest import ROOT

pytestmark = [pytest.mark.browser, needs_chromium]

FOLDER = ROOT / ".local" / "screenshots"
PAGES = {
    "start": "/admin/",
    "anime": "/admin/anime?type=TV&sort=title",
    "reviews": "/admin/reviews",
    "edited-fields": "/admin/reviews/edited-fields",
    "merges": "/admin/merges",
    "collections": "/admin/collections",
    "users": "/admin/users",
    "imports": "/admin/imports",
    "jobs": "/admin/jobs",
    "audit": "/admin/audit",
    "actions": "/admin/audit/actions",
    "not-found": "/admin/unknown",
    "sign-in": "/admin/sign-in",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
async def test_pages_fit(signed_in: Page, width: int, scheme: str) -> None:
    page = signed_in
    await page.set_viewport_size({"width": width, "height": 800})
    await page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    await page.goto("/admin/users?q=viewer2")
    user = await page.get_by_role("link", name="viewer2", exact=True).get_attribute("href")
    await page.goto("/admin/anime?q=fullmetal")
    one = await page.locator("#list th a").first.get_attribute("href")
    await page.goto(str(one))
    release = await page.get_by_role("link", name="Edit the release").first.get_attribute("href")
    parts = {name: f"{one}/{name}" for name in ("merge", "split", "history", "delete", "releases/new")}
    of_one = {"one-anime": one, "release": release, "user": user, "new-anime": "/admin/anime/new", **parts}
    for name, path in {**PAGES, **of_one}.items():
        await page.goto(str(path))
        await page.screenshot(path=FOLDER / f"{name.replace('/', '-')}-{width}-{scheme}.png", full_page=True)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, name
