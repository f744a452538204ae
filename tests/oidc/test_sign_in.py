"""Sign-in with a provider: the whole flow, and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy.engine import URL

from kitsu.settings.oidc import OIDCProvider
from tests.accounts import EMAIL, PASSWORD, bearer, is_refused, login, logout, me, register
from tests.application import client_of
from tests.oidc.provider import CLIENT_ID, CLIENT_SECRET, TestProvider, provider_running

PUBLIC_URL = "https://kitsu.test"
FRONT_END = "https://front.kitsu.test"
INVALID = {"code": "VALIDATION_ERROR", "message": "The sign-in is invalid or has expired: begin again", "details": None}


@pytest.fixture
def provider() -> Iterator[TestProvider]:
    with provider_running() as provider:
        provider.redirect_uri = f"{PUBLIC_URL}/auth/oidc/test/callback"
        provider.sign_in_as("subject", EMAIL)
        yield provider


@asynccontextmanager
async def service_with(provider: TestProvider, database: URL, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    names = ("other", "test")
    providers = tuple(OIDCProvider(name, provider.issuer, CLIENT_ID, CLIENT_SECRET, label="Test") for name in names)
    settings = {"public_url": PUBLIC_URL, "frontend_url": FRONT_END, "oidc_providers": providers, **settings}
    async with client_of(database, **settings) as client:
        client.base_url = httpx.URL(PUBLIC_URL)  # the cookie is Secure
        yield client


@pytest.fixture
async def service(provider: TestProvider, database: URL) -> AsyncIterator[httpx.AsyncClient]:
    async with service_with(provider, database) as client:
        yield client


async def to_provider(url: str) -> str:
    """Open the provider's address as a browser, and return the path of the callback with its query."""
    async with httpx.AsyncClient() as browser:
        response = await browser.get(url)
    assert response.status_code == 302, response.text
    return response.headers["location"].removeprefix(PUBLIC_URL)


async def begin(client: httpx.AsyncClient, redirect_to: str = "/welcome") -> str:
    response = await client.get("/auth/oidc/test/start", params={"redirect_to": redirect_to})
    assert response.status_code == 303, response.text
    return await to_provider(response.headers["location"])


def result(response: httpx.Response) -> dict[str, str]:
    """Return the query with which the browser comes back to the front end."""
    assert response.status_code == 303, response.text
    address = response.headers["location"]
    assert address.startswith(f"{FRONT_END}/")
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


async def code_of(client: httpx.AsyncClient) -> str:
    return result(await client.get(await begin(client)))["code"]


async def exchange(client: httpx.AsyncClient, code: str) -> httpx.Response:
    return await client.post("/auth/oidc/token", json={"code": code})


async def sign_in(client: httpx.AsyncClient) -> httpx.Response:
    return await exchange(client, await code_of(client))


async def begin_link(client: httpx.AsyncClient, tokens: dict[str, str]) -> str:
    """Return the path of the callback with its query."""
    response = await client.post("/auth/oidc/test/link", headers=bearer(tokens))
    assert response.status_code == 200, response.text
    return await to_provider(response.json()["url"])


async def link(client: httpx.AsyncClient, tokens: dict[str, str]) -> dict[str, str]:
    return result(await client.get(await begin_link(client, tokens)))


async def links(client: httpx.AsyncClient, tokens: dict[str, str]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = (await client.get("/users/me/links", headers=bearer(tokens))).json()
    return found


def is_invalid(response: httpx.Response) -> bool:
    assert (response.status_code, response.json()) == (400, INVALID)
    return True


async def test_the_first_sign_in_creates_an_account_and_the_second_finds_it(service: httpx.AsyncClient) -> None:
    first = await sign_in(service)
    assert first.status_code == 200, first.text
    user = (await me(service, first.json())).json()
    assert user["email"] == EMAIL
    second = await sign_in(service)
    assert (await me(service, second.json())).json()["id"] == user["id"]
    assert is_refused(await login(service, EMAIL, "!"))


async def test_the_buttons_are_listed(service: httpx.AsyncClient) -> None:
    expected = [{"name": "other", "label": "Test"}, {"name": "test", "label": "Test"}]
    assert (await service.get("/auth/providers")).json() == expected


async def test_the_cookie_is_kept_from_scripts_and_other_paths(service: httpx.AsyncClient) -> None:
    response = await service.get("/auth/oidc/test/start")
    cookie = response.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=lax", "secure", "path=/auth/oidc", "max-age=600"))


OTHER_PATHS = [
    *("https://evil.example", "//evil.example", "/\\evil.example", "@evil", "", "/a\nb"),
    *("/../x", "/..", "/a/../../x", "/./..", "/.", "/a/..?b", "/a%3f/../x"),
    *("/..%2fx", "/%2e%2e/x", "/%2E./x", "/.%2e/x", "/a%5C..%5c", "/%252e%252e/x", "/%25252e./x"),
]
FRONT_END_PATHS = ["/", "/..a/b../.c", "/a?next=/../b", "/100%/x", "/caf%C3%A9", "/%FF", "/a%2Fb"]


async def test_only_paths_of_the_front_end_are_redirected_to(service: httpx.AsyncClient) -> None:
    for path in OTHER_PATHS:
        response = await service.get("/auth/oidc/test/start", params={"redirect_to": path})
        assert response.status_code == 422, path
    for path in FRONT_END_PATHS:
        response = await service.get(await begin(service, path))
        assert response.headers["location"].startswith(f"{FRONT_END}{path}{'&' if '?' in path else '?'}code=")


async def test_a_stolen_state_a_lost_cookie_and_a_replay_are_refused(service: httpx.AsyncClient) -> None:
    callback = await begin(service)
    cookies = dict(service.cookies)
    service.cookies.clear()
    assert is_invalid(await service.get(callback))
    assert is_invalid(await service.get(callback, headers={"Cookie": "kitsu_oidc=another"}))
    right = {"Cookie": f"kitsu_oidc={cookies['kitsu_oidc']}"}
    assert is_invalid(await service.get(callback.replace("/test/", "/other/"), headers=right))
    code = result(await service.get(callback, headers=right))["code"]
    assert is_invalid(await service.get(callback, headers=right))
    assert is_invalid(await exchange(service, code))
    spent = await service.post("/auth/oidc/token", json={"code": code}, headers=right)
    assert spent.status_code == 200
    assert is_invalid(await service.post("/auth/oidc/token", json={"code": code}, headers=right))


async def test_a_code_is_exchanged_once_at_the_same_time(service: httpx.AsyncClient) -> None:
    code = await code_of(service)
    responses = await asyncio.gather(*(exchange(service, code) for _ in range(5)))
    assert sorted(each.status_code for each in responses) == [200, 400, 400, 400, 400]


@pytest.mark.parametrize("where", ["callback", "code"])
async def test_an_expired_flow_is_refused(service: httpx.AsyncClient, rows: asyncpg.Connection, where: str) -> None:
    callback = await begin(service)
    code = "" if where == "callback" else result(await service.get(callback))["code"]
    await rows.execute("UPDATE oidc_flows SET expires_at = now()")
    assert is_invalid(await (service.get(callback) if where == "callback" else exchange(service, code)))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": [CLIENT_ID, "another"]},
        {"aud": [CLIENT_ID, "another"], "azp": "another"},
        {"azp": "another"},
        {"exp": 1},
        {"exp": None},
        {"iat": 1},
        {"iat": 9_999_999_999},
        {"iat": None},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
    ],
    ids=str,
)
async def test_a_wrong_claim_is_refused(
    service: httpx.AsyncClient, provider: TestProvider, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    assert is_invalid(await service.get(await begin(service)))


async def test_a_signature_of_another_key_or_a_symmetric_one_is_refused(
    service: httpx.AsyncClient, provider: TestProvider
) -> None:
    provider.signing_key = RSAKey.generate_key(2048)
    assert is_invalid(await service.get(await begin(service)))
    provider.signing_key, provider.header = OctKey.generate_key(256, {"kid": "first"}), {"alg": "HS256"}
    assert is_invalid(await service.get(await begin(service)))


async def test_keys_are_fetched_again_for_an_unknown_id_once_a_minute(
    service: httpx.AsyncClient, provider: TestProvider
) -> None:
    assert (await sign_in(service)).status_code == 200
    provider.header = {"kid": "unknown"}
    for _ in range(3):
        assert is_invalid(await service.get(await begin(service)))
    assert provider.key_fetches == 1


async def test_a_refusal_of_the_provider_reaches_the_front_end(
    service: httpx.AsyncClient, provider: TestProvider
) -> None:
    provider.error = "access_denied"
    assert result(await service.get(await begin(service))) == {"error": "sign_in_failed"}


@pytest.mark.parametrize("error", ["access_denied", ""])
async def test_a_code_beside_an_error_is_refused(
    service: httpx.AsyncClient, provider: TestProvider, error: str
) -> None:
    callback = await begin(service)
    assert result(await service.get(f"{callback}&error={error}")) == {"error": "sign_in_failed"}
    assert provider.forms == []


async def test_a_provider_that_is_away_is_a_503(service: httpx.AsyncClient, provider: TestProvider) -> None:
    callback = await begin(service)
    provider.status = 500
    for path in ("/auth/oidc/other/start", callback):
        response = await service.get(path)
        assert (response.status_code, response.json()["code"]) == (503, "SERVICE_UNAVAILABLE")


@pytest.mark.parametrize("has_account", [True, False])
async def test_an_unverified_address_creates_and_links_nothing(
    service: httpx.AsyncClient, provider: TestProvider, rows: asyncpg.Connection, has_account: bool
) -> None:
    if has_account:
        await register(service)
        await rows.execute("UPDATE users SET email_verified_at = now()")
    provider.sign_in_as("subject", EMAIL, verified=False)
    response = await sign_in(service)
    assert response.status_code == 400
    assert response.json()["message"].startswith("The provider has not verified this e-mail address")
    assert await rows.fetchval("SELECT count(*) FROM external_identities") == 0


async def test_an_account_is_linked_only_if_it_verified_its_address(
    service: httpx.AsyncClient, rows: asyncpg.Connection
) -> None:
    tokens = await register(service)
    response = await sign_in(service)
    assert (response.status_code, "has not verified it" in response.json()["message"]) == (400, True)
    await rows.execute("UPDATE users SET email_verified_at = now()")
    assert (await sign_in(service)).status_code == 200
    assert [each["email"] for each in await links(service, tokens)] == [EMAIL]


async def test_a_signed_in_user_links_and_unlinks_a_provider(
    service: httpx.AsyncClient, provider: TestProvider
) -> None:
    tokens = await register(service)
    provider.sign_in_as("subject", "other@example.org", verified=False)
    assert await link(service, tokens) == {"linked": "test"}
    assert await link(service, tokens) == {"linked": "test"}
    (found,) = await links(service, tokens)
    assert (await me(service, (await sign_in(service)).json())).json()["email"] == EMAIL
    other = await register(service, "third@example.org")
    assert await link(service, other) == {"error": "already_linked"}
    path = f"/users/me/links/{found['id']}"
    assert (await service.delete(path, headers=bearer(other))).status_code == 404
    assert (await service.delete(path, headers=bearer(tokens))).status_code == 204
    assert await links(service, tokens) == []


async def end_by_logout(client: httpx.AsyncClient, _: asyncpg.Connection, tokens: dict[str, str]) -> None:
    assert (await logout(client, tokens["refresh_token"])).status_code == 204


async def end_by_new_password(client: httpx.AsyncClient, _: asyncpg.Connection, tokens: dict[str, str]) -> None:
    """As a user does who finds that the session of another device is stolen."""
    other = (await login(client)).json()
    body = {"current_password": PASSWORD, "new_password": "another long password"}
    assert (await client.post("/auth/password", json=body, headers=bearer(other))).status_code == 204
    assert (await me(client, tokens)).status_code == 401


async def end_by_expiry(_client: httpx.AsyncClient, rows: asyncpg.Connection, _tokens: dict[str, str]) -> None:
    await rows.execute("UPDATE auth_sessions SET expires_at = now()")


async def end_by_deactivation(_client: httpx.AsyncClient, rows: asyncpg.Connection, _tokens: dict[str, str]) -> None:
    await rows.execute("UPDATE users SET is_active = false")


async def end_by_upgrade(_client: httpx.AsyncClient, rows: asyncpg.Connection, _tokens: dict[str, str]) -> None:
    """A flow that an older version began has no session."""
    await rows.execute("UPDATE oidc_flows SET session_id = NULL")


@pytest.mark.parametrize(
    "end", [end_by_logout, end_by_new_password, end_by_expiry, end_by_deactivation, end_by_upgrade]
)
async def test_a_link_whose_session_has_ended_is_refused(
    service: httpx.AsyncClient, rows: asyncpg.Connection, end: Callable[..., Any]
) -> None:
    tokens = await register(service)
    callback = await begin_link(service, tokens)
    await end(service, rows, tokens)
    assert result(await service.get(callback)) == {"error": "session_ended"}
    assert await rows.fetchval("SELECT count(*) FROM external_identities") == 0


async def test_a_link_is_refused_when_its_session_ends_while_the_provider_answers(
    service: httpx.AsyncClient, provider: TestProvider, rows: asyncpg.Connection
) -> None:
    tokens = await register(service)
    callback = await begin_link(service, tokens)
    provider.gate.clear()
    provider.asked.clear()
    linking = asyncio.create_task(service.get(callback))
    await asyncio.to_thread(provider.asked.wait)
    await end_by_logout(service, rows, tokens)
    provider.gate.set()
    assert result(await linking) == {"error": "session_ended"}
    assert await rows.fetchval("SELECT count(*) FROM external_identities") == 0


async def test_a_link_of_an_account_that_is_deleted_meanwhile_is_refused(
    service: httpx.AsyncClient, provider: TestProvider, rows: asyncpg.Connection
) -> None:
    tokens = await register(service)
    provider.gate.clear()
    beginning = asyncio.create_task(service.post("/auth/oidc/test/link", headers=bearer(tokens)))
    await asyncio.to_thread(provider.asked.wait)
    await rows.execute("DELETE FROM users")
    provider.gate.set()
    assert is_refused(await beginning)


async def test_one_of_two_deletions_of_the_last_links_is_refused(
    service: httpx.AsyncClient, provider: TestProvider
) -> None:
    tokens = (await sign_in(service)).json()
    provider.sign_in_as("second", "second@example.org")
    assert await link(service, tokens) == {"linked": "test"}
    paths = [f"/users/me/links/{each['id']}" for each in await links(service, tokens)]
    responses = await asyncio.gather(*(service.delete(path, headers=bearer(tokens)) for path in paths))
    assert sorted(each.status_code for each in responses) == [204, 400]


async def test_closed_registration_creates_no_account(provider: TestProvider, database: URL) -> None:
    async with service_with(provider, database, registration="closed") as client:
        response = await sign_in(client)
        assert (response.status_code, response.json()["code"]) == (403, "REGISTRATION_CLOSED")


async def test_a_deactivated_user_is_refused(service: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    assert (await sign_in(service)).status_code == 200
    await rows.execute("UPDATE users SET is_active = false")
    assert is_refused(await sign_in(service))
    assert is_refused(await login(service, EMAIL, PASSWORD))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/users/me", {}),
        ("POST", "/users/me/deactivate", {}),
        ("PATCH", "/users/me/email", {"email": "new@example.org"}),
        ("POST", "/auth/second-factor/totp", {}),
        ("POST", "/auth/password", {"new_password": PASSWORD}),
    ],
)
async def test_an_account_without_a_password_is_told_to_set_one(
    service: httpx.AsyncClient, rows: asyncpg.Connection, method: str, path: str, body: dict[str, str]
) -> None:
    tokens = (await sign_in(service)).json()
    proof = "current_password" if path == "/auth/password" else "password"
    for _ in range(6):  # more than RATE_LIMIT_LOGIN, since there is nothing to guess
        response = await service.request(method, path, json={**body, proof: PASSWORD}, headers=bearer(tokens))
        assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
        assert response.json()["message"].startswith("Set a password first: ")
    assert await rows.fetchval("SELECT count(*) FROM users") == 1
    # A stranger is not told.
    assert is_refused(await login(service, EMAIL, PASSWORD))


async def test_starts_are_limited(provider: TestProvider, database: URL) -> None:
    async with service_with(provider, database, rate_limit_oidc=(1, 60)) as client:
        await begin(client)
        assert (await client.get("/auth/oidc/test/start")).status_code == 429


async def test_a_second_factor_is_asked_for(service: httpx.AsyncClient, rows: asyncpg.Connection) -> None:
    assert (await sign_in(service)).status_code == 200
    await rows.execute("UPDATE users SET second_factor_since = now()")
    response = await sign_in(service)
    assert (response.status_code, response.json()["code"]) == (401, "SECOND_FACTOR_REQUIRED")


async def test_the_export_shows_links(service: httpx.AsyncClient, provider: TestProvider) -> None:
    tokens = (await sign_in(service)).json()
    (found,) = (await service.get("/users/me/export", headers=bearer(tokens))).json()["sign_in_links"]
    assert (found["issuer"], found["subject"], found["email"]) == (provider.issuer, "subject", EMAIL)


async def test_users_are_told_of_a_new_link(provider: TestProvider, database: URL, rows: asyncpg.Connection) -> None:
    async with service_with(provider, database, notify_security_events=True) as client:
        assert await link(client, await register(client)) == {"linked": "test"}
    payloads = await rows.fetch("SELECT payload FROM pgqueuer WHERE entrypoint = 'send-mail'")
    assert any(b"notice-sign-in-link-changed" in each["payload"] for each in payloads)


async def test_a_slow_provider_holds_no_connection_and_no_slot(provider: TestProvider, database: URL) -> None:
    provider.gate.clear()
    async with service_with(provider, database, db_pool_size=1, db_max_overflow=1) as client:
        slow = [asyncio.create_task(client.get("/auth/oidc/test/start")) for _ in range(3)]
        await asyncio.to_thread(provider.asked.wait)
        assert (await client.get("/genres")).status_code == 200
        assert not any(task.done() for task in slow)
        provider.gate.set()
        assert [(await task).status_code for task in slow] == [303] * 3


async def test_an_address_that_the_id_token_lacks_is_asked_for(
    service: httpx.AsyncClient, provider: TestProvider
) -> None:
    provider.sign_in_as("subject")
    provider.info = {"sub": "another", "email": EMAIL, "email_verified": True}
    assert is_invalid(await service.get(await begin(service)))
    provider.info["sub"] = "subject"
    assert (await me(service, (await sign_in(service)).json())).json()["email"] == EMAIL
