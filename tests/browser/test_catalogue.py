"""The catalogue in a real browser: find, edit, add, merge, and the same anime in the API."""

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.chromium import needs_chromium

pytestmark = [pytest.mark.browser, needs_chromium]


async def from_api(page: Page, path: str) -> Any:
    return await (await page.request.get(path)).json()


async def find(page: Page, text: str, title: str) -> None:
    """Open an anime by the search of the list."""
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Anime").click()
    await page.get_by_role("searchbox").press_sequentially(text)
    await expect(page.get_by_role("row")).to_have_count(2)
    await page.get_by_role("link", name=title, exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(title)


async def test_anime_is_found_while_typing_and_corrected(signed_in: Page) -> None:
    page = signed_in
    await page.goto("/admin/anime/new")
    await page.get_by_label("Title", exact=True).fill("Volet Evergarten")
    await page.get_by_role("button", name="Add the anime").click()
    await find(page, "volet ever", "Volet Evergarten")
    anime_id = page.url.rpartition("/")[2].partition("?")[0]
    await page.get_by_label("Title", exact=True).fill("")
    await page.get_by_label("Year").fill("12")
    await page.get_by_label("Title", exact=True).fill("Violet Evergarten <b>")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_have_text("Nothing was saved: correct the marked field.")
    await expect(page.get_by_label("Title", exact=True)).to_have_value("Violet Evergarten <b>")
    await page.get_by_label("Year").fill("2018")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status")).to_contain_text("The anime was saved.")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Violet Evergarten <b>")
    anime = await from_api(page, f"/anime/{anime_id}")
    assert (anime["title"], anime["year"]) == ("Violet Evergarten <b>", 2018)
    assert [each["id"] for each in await from_api(page, "/search/anime?q=violet evergarten")] == [anime_id]
    await expect(page.get_by_role("cell", name="update anime").first).to_be_visible()


async def test_release_with_twelve_episodes_is_added(signed_in: Page) -> None:
    page = signed_in
    await page.goto("/admin/anime/new")
    await page.get_by_label("Title", exact=True).fill("Twelve")
    await page.get_by_role("button", name="Add the anime").click()
    await page.get_by_role("link", name="Add a release").click()
    await page.get_by_label("Title").fill("Season 1")
    await expect(page.get_by_label("Episodes to create")).to_have_value("12")
    await page.get_by_role("button", name="Add the release").click()
    await expect(page.get_by_role("button", name="Save episode 12")).to_be_visible()
    await page.get_by_label("Title").nth(1).fill("The first")
    await page.get_by_role("button", name="Save episode 1", exact=True).click()
    await expect(page.get_by_role("status")).to_have_text("The episode was saved.")
    release_id = page.url.rpartition("/")[2].partition("?")[0]
    episodes = await from_api(page, f"/episodes?release_id={release_id}")
    assert [episode["number"] for episode in episodes] == [*range(1, 13)]
    assert episodes[0]["title"] == "The first"


async def test_two_anime_are_merged_with_a_preview(signed_in: Page) -> None:
    page = signed_in
    ids = []
    for title in ("Mergeable copy", "Mergeable original"):
        await page.goto("/admin/anime/new")
        await page.get_by_label("Title", exact=True).fill(title)
        await page.get_by_role("button", name="Add the anime").click()
        ids.append(page.url.rpartition("/")[2].partition("?")[0])
    await page.goto(f"/admin/anime/{ids[0]}")
    await page.get_by_role("link", name="Merge …").click()
    await page.get_by_role("searchbox").fill("mergeable")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Preview").click()
    await expect(page.get_by_text("All of this moves")).to_be_visible()
    await page.get_by_role("button", name="Merge the two anime").click()
    await expect(page.get_by_role("status")).to_contain_text("The anime were merged.")
    assert (await from_api(page, f"/anime/{ids[0]}"))["id"] == ids[1]
    await page.get_by_role("link", name="Merges").click()
    await page.get_by_role("button", name="Undo").first.click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Mergeable copy")


async def test_several_anime_are_changed_at_once(signed_in: Page) -> None:
    page = signed_in
    await page.goto("/admin/anime?sort=title")
    boxes = page.get_by_role("checkbox")
    await boxes.nth(0).check()
    await boxes.nth(1).check()
    await page.get_by_text("Change the selected anime").first.click()
    await page.get_by_label("Add a genre").fill("bulk")
    await page.get_by_role("button", name="Change the selected anime").click()
    await expect(page.get_by_text("changed", exact=True)).to_have_count(2)
    assert len(await from_api(page, "/anime?genres=bulk")) == 2
