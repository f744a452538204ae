"""The pages of the catalogue in a real browser; the API shows what they change."""

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.chromium import needs_chromium

pytestmark = [pytest.mark.browser, needs_chromium]


async def test_corrected_title_is_in_the_api_and_in_the_history(signed_in: Page, api: httpx.AsyncClient) -> None:
    page = signed_in
    await page.get_by_role("link", name="Anime", exact=True).click()
    await page.get_by_role("searchbox").press_sequentially("deth note")
    await page.get_by_role("link", name="Death Note", exact=True).click()
    await page.get_by_label("Title", exact=True).fill("Death Note <corrected>")
    await page.get_by_label("Year").fill("1800")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Expected `int` >= ")).to_be_visible()
    await expect(page.get_by_label("Title", exact=True)).to_have_value("Death Note <corrected>")
    await page.get_by_label("Year").fill("2006")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", name="Death Note <corrected>")).to_be_visible()
    found = (await api.get("/search/anime", params={"q": "death note corrected"})).json()
    assert found[0]["title"] == "Death Note <corrected>"
    await page.get_by_role("link", name="History").click()
    await expect(page.get_by_text("Death Note <corrected>").first).to_be_visible()


async def test_release_with_twelve_episodes_is_added(signed_in: Page, api: httpx.AsyncClient) -> None:
    page = signed_in
    anime = (await api.get("/search/anime", params={"q": "cowboy bebop"})).json()[0]
    await page.goto(f"/admin/anime/{anime['id']}")
    await page.get_by_role("link", name="Add a release").click()
    await page.get_by_label("Title").fill("Remastered")
    await page.get_by_label("Episodes to create").fill("12")
    await page.get_by_role("button", name="Add the release").click()
    await expect(page.get_by_role("status")).to_have_text("The release was added.")
    releases = (await api.get("/releases", params={"anime_id": anime["id"]})).json()
    added = next(each for each in releases if each["title"] == "Remastered")
    episodes = (await api.get("/episodes", params={"release_id": added["id"]})).json()
    assert [each["number"] for each in episodes] == list(range(1, 13))


async def test_merged_anime_is_answered_under_both_ids_until_it_is_undone(
    signed_in: Page, api: httpx.AsyncClient
) -> None:
    page = signed_in
    first, second = (await api.get("/anime", params={"limit": 2, "sort": "title"})).json()
    await page.goto(f"/admin/anime/{first['id']}")
    await page.get_by_role("link", name="Merge …").click()
    await page.get_by_role("searchbox").fill(second["title"])
    await page.get_by_role("button", name="Search").click()
    row = page.get_by_role("row").filter(has=page.locator(f"a[href$='{second['id']}']").first)
    await row.get_by_role("link", name="Preview").click()
    await page.get_by_role("button", name="Merge the two anime").click()
    await expect(page.get_by_role("status")).to_contain_text("The anime were merged.")
    assert (await api.get(f"/anime/{first['id']}")).json()["id"] == second["id"]
    await page.get_by_role("link", name="Merges").click()
    await page.get_by_role("button", name="Undo").first.click()
    await expect(page.get_by_role("status")).to_have_text("The merge was undone.")
    assert (await api.get(f"/anime/{first['id']}")).json()["id"] == first["id"]
