"""Fixtures: a real service with the sample catalogue and an administrator, and a page of Chromium in front of it."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright
from sqlalchemy.engine import URL

from kitsu.domain.accounts.passwords import hash_password
from tests.chromium import OPTIONS, chromium
from tests.cli.process import kitsu
from tests.databases import connect, copy_of
from tests.factories import insert

EMAIL = "ada@example.org"
PASSWORD = "a long enough password"
EXPECTED_ERROR = "Failed to load resource: the server responded with a status of 4"
ACTIVITY = """
    INSERT INTO daily_numbers
    SELECT current_date - n, 40 + n * 7 % 31, 300 + n * 113 % 211 FROM generate_series(1, 29) n;
    INSERT INTO missed_searches
    SELECT current_date - n % 29, 'an unknown anime ' || n % 12, n FROM generate_series(1, 40) n;
    UPDATE users SET created_at = now() - random() * interval '29 days';
    INSERT INTO collections (id, user_id, name, description, is_public)
    SELECT gen_random_uuid(), id, 'Rainy days of ' || username, 'Best with tea', true FROM users LIMIT 60;
    INSERT INTO admin_actions (user_id, action, subject, subject_user_id, details)
    SELECT a.id, 'user changed', u.username, u.id, '{"role": {"before": "user", "after": "editor"}}'
    FROM users a, users u WHERE a.username = 'ada' AND u.username LIKE 'viewer2%'
"""


@pytest.fixture(scope="module")
async def site_database(server: URL, catalogue_template: URL) -> AsyncIterator[URL]:
    """Create a database with the sample catalogue and users, which the tests of a module share."""
    async with copy_of(catalogue_template, server) as url:
        rows = await connect(url)
        people = {"ada": "admin", "edith": "editor", **{f"viewer{number}": "user" for number in range(60)}}
        for name, role in people.items():
            user = {"email": f"{name}@example.org", "username": name, "role": role}
            await insert(rows, "users", {**user, "password_hash": hash_password(PASSWORD)})
        await rows.execute(ACTIVITY)
        await rows.close()
        yield url


@pytest.fixture(scope="module")
def site(site_database: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the service, and return its origin."""
    with kitsu(tmp_path_factory.mktemp("site"), "serve", database=site_database) as process:
        process.serves()
        yield f"http://{process.address}"


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Start Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(OPTIONS))
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Browser, site: str) -> AsyncIterator[Page]:
    """Open an empty page. Fails for errors in its console (violated policies), and for requests to other hosts."""
    context = await browser.new_context(base_url=site, viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    page.set_default_timeout(10_000)
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(EXPECTED_ERROR):
            problems.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(site) else problems.append(request.url))
    yield page
    await context.close()
    assert problems == []


@pytest.fixture
async def signed_in(page: Page) -> Page:
    """Return a page on which the administrator is signed in."""
    await page.goto("/admin")
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_role("heading", name="Start").wait_for()
    return page


@pytest.fixture
async def api(site: str) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the API of the same service."""
    async with httpx.AsyncClient(base_url=site, trust_env=False) as client:
        yield client
