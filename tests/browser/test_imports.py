"""An import in a real browser, with a real worker."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect
from sqlalchemy.engine import URL

from tests.browser.test_appearance import FOLDER
from tests.chromium import needs_chromium
from tests.cli.process import kitsu

pytestmark = [pytest.mark.browser, needs_chromium]

ENTRY = {
    "sources": ["https://anilist.co/anime/98765432"],
    "title": "Imported in the browser",
    "type": "TV",
    "episodes": 12,
    "status": "FINISHED",
    "animeSeason": {"season": "FALL", "year": 2026},
    "picture": "https://pictures.example.org/1.jpg",
    "thumbnail": "https://pictures.example.org/1t.jpg",
    "synonyms": [],
    "tags": ["drama"],
}


@pytest.fixture
def worker(site: str, site_database: URL, tmp_path: Path) -> Iterator[None]:
    """Run a worker on the database of the service."""
    with kitsu(tmp_path, "worker", database=site_database):
        yield


async def test_file_is_checked_confirmed_and_imported(
    signed_in: Page, api: httpx.AsyncClient, worker: None, tmp_path: Path
) -> None:
    page = signed_in
    file = tmp_path / "catalogue.jsonl"
    file.write_text(json.dumps(ENTRY))
    await page.get_by_role("link", name="Imports").click()
    await page.get_by_label("File of the anime-offline-database").set_input_files(file)
    await page.get_by_role("button", name="Upload and check").click()
    await expect(page.get_by_role("button", name="Import the file")).to_be_visible(timeout=30_000)
    await expect(page.get_by_role("rowheader", name="Imported in the browser")).to_be_visible()
    await page.screenshot(path=FOLDER / "one-import-1280-light.png", full_page=True)
    await page.get_by_role("button", name="Import the file").click()
    await expect(page.get_by_text("The import changed this.")).to_be_visible(timeout=30_000)
    found = (await api.get("/search/anime", params={"q": "imported in the browser"})).json()
    assert [each["title"] for each in found[:1]] == ["Imported in the browser"]
