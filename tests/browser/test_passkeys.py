"""Passkeys in a real browser with Chromium's virtual authenticator: in the admin site, and in a front end."""

from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy.engine import URL

from tests.browser.conftest import EMAIL, PASSWORD
from tests.browser.front_end import front_end_running
from tests.chromium import needs_chromium
from tests.cli.process import kitsu

pytestmark = [pytest.mark.browser, needs_chromium]

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
FLOW = """
async ([api, email, password]) => {
  async function post(path, body, token) {
    const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
    const response = await fetch(api + path, { method: "POST", headers, body: JSON.stringify(body) });
    return response.json();
  }
  const parse = PublicKeyCredential;
  const { access_token } = await post("/auth/register", { email, password });
  const started = await post("/auth/second-factor/passkeys/options", { password }, access_token);
  const made = await navigator.credentials.create({ publicKey: parse.parseCreationOptionsFromJSON(started.options) });
  const added = await post(
    "/auth/second-factor/passkeys",
    { challenge: started.challenge, name: "Laptop", credential: made.toJSON() },
    access_token,
  );
  const { challenge, methods } = await post("/auth/login", { email, password });
  const { options } = await post("/auth/login/second-factor/passkey/options", { challenge });
  const used = await navigator.credentials.get({ publicKey: parse.parseRequestOptionsFromJSON(options) });
  const tokens = await post("/auth/login/second-factor/passkey", { challenge, credential: used.toJSON() });
  const me = await fetch(`${api}/users/me`, { headers: { Authorization: `Bearer ${tokens.access_token}` } });
  return { added, methods, me: await me.json() };
}
"""


@pytest.fixture(scope="module")
def front_end_origin() -> Iterator[str]:
    with front_end_running() as origin:
        yield origin


@pytest.fixture(scope="module")
def site(site_database: URL, front_end_origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a service for which passkeys work on localhost, and return its origin."""
    folder = tmp_path_factory.mktemp("site")
    with kitsu(
        folder, "serve", database=site_database, FRONTEND_URL=front_end_origin, ALLOWED_ORIGINS=front_end_origin
    ) as process:
        process.serves()
        yield f"http://localhost:{process.address.rpartition(':')[2]}"


async def plug_in(page: Page) -> None:
    """Give a page an authenticator."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})


@pytest.fixture
async def front_end(browser: Browser, front_end_origin: str) -> AsyncIterator[Page]:
    """Open an empty page of a front end."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(front_end_origin)
    yield page
    await context.close()


async def test_passkey_of_the_admin_site(signed_in: Page) -> None:
    page = signed_in
    await plug_in(page)
    await page.get_by_role("link", name="ada").click()
    await page.get_by_label("Name of the new passkey").fill("Laptop")
    await page.locator("#passkey-password").fill(PASSWORD)
    await page.get_by_role("button", name="Add a passkey").click()
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator("#recovery-codes li")).to_have_count(10)
    await page.get_by_role("link", name="Continue").click()

    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_label("E-mail").fill(EMAIL)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_role("heading", name="Start")).to_be_visible()

    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("heading", name="Start")).to_be_visible()

    await page.get_by_role("link", name="ada").click()
    await expect(page.get_by_text("last used")).to_be_visible()
    await page.locator("form", has_text="last used").get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Remove “Laptop”").click()
    await expect(page.get_by_role("status")).to_have_text("The second factor was changed.")
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert")).to_contain_text("The passkey is wrong")


async def test_cancelled_passkey_says_so(page: Page) -> None:
    await page.goto("/admin")
    await plug_in(page)  # it has no passkey
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert")).to_contain_text("The passkey was not used")


async def test_passkey_of_a_front_end(front_end: Page, site: str) -> None:
    await plug_in(front_end)
    done = await front_end.evaluate(FLOW, [site, "kaguya@example.org", PASSWORD])
    assert len(done["added"]["recovery_codes"]) == 10
    assert done["methods"] == ["passkey", "recovery_code"]
    assert done["me"]["email"] == "kaguya@example.org"
