"""Every page fits into narrow and wide windows, in light and dark. The screenshots are for people to look at."""

import pytest
from playwright.async_api import Page

from tests.chromium import needs_chromium
from tests.conftest import ROOT

pytestmark = [pytest.mark.browser, needs_chromium]

FOLDER = ROOT / ".local" / "screenshots"
PAGES = {
    "start": "/admin/",
    "users": "/admin/users",
    "anime-list": "/admin/anime?sort=title",
    "anime-new": "/admin/anime/new",
    "merges": "/admin/merges",
    "reviews": "/admin/reviews",
    "not-found": "/admin/unknown",
    "sign-in": "/admin/sign-in",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
async def test_pages_fit(signed_in: Page, width: int, scheme: str) -> None:
    page = signed_in
    await page.set_viewport_size({"width": width, "height": 800})
    await page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    await page.goto("/admin/users?q=ada")
    user = await page.get_by_role("link", name="ada", exact=True).get_attribute("href")
    (anime, *_) = await (await page.request.get("/search/anime?q=death note")).json()
    (release, *_) = await (await page.request.get(f"/releases?anime_id={anime['id']}")).json()
    details = {
        "user": user,
        "release": f"/admin/releases/{release['id']}",
        **{
            f"anime-{name}": f"/admin/anime/{anime['id']}{path}"
            for name, path in {
                "detail": "", "history": "/history", "delete": "/delete", "split": "/split", "merge": "/merge?q=note",
            }.items()
        },
    }  # fmt: skip
    for name, path in {**PAGES, **details}.items():
        await page.goto(str(path))
        await page.screenshot(path=FOLDER / f"{name}-{width}-{scheme}.png", full_page=True)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, name
