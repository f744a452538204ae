"""Notices by mail: which requests enqueue one, and what it says."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.settings.mail import MailURL
from tests.accounts import EMAIL, PASSWORD, bearer, register
from tests.admin.browser import Browser
from tests.application import Applications
from tests.databases import column, execute

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SERVER = MailURL("smtp", host="mail.example.org", port=25)
PROXIED = {"trusted_proxies": ("127.0.0.0/8",)}


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@asynccontextmanager
async def service(applications: Applications, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    values = {"mail_url": SERVER, "login_refusal_ms": 0, **PROXIED, **settings}
    async with applications.client_of(**values) as client:
        client.headers["User-Agent"] = FIREFOX
        yield client


async def mails(database: URL) -> list[dict[str, Any]]:
    """Return the notices in the queue."""
    query = "SELECT convert_from(payload, 'UTF8') FROM pgqueuer WHERE entrypoint = 'send-mail' ORDER BY id"
    found = [json.loads(payload) for payload in await column(database, query)]
    return [mail for mail in found if mail["template"].startswith("notice-")]


async def login(
    client: httpx.AsyncClient, *, password: str = PASSWORD, agent: str = FIREFOX, ip: str = "203.0.113.7"
) -> None:
    headers = {"User-Agent": agent, "X-Forwarded-For": ip}
    response = await client.post("/auth/login", json={"email": EMAIL, "password": password}, headers=headers)
    assert response.status_code == (200 if password == PASSWORD else 401)


async def test_login_on_new_device_sends_a_notice(applications: Applications, database: URL) -> None:
    async with service(applications) as client:
        tokens = await register(client)
        await client.patch("/users/me", json={"timezone": "Asia/Tokyo"}, headers=bearer(tokens))
        await login(client)
    (mail,) = await mails(database)
    assert (mail["template"], mail["to"], mail["token_id"]) == ("notice-new-device", EMAIL, None)
    values = mail["values"]
    assert (values["device"], values["ip"], values["username"]) == (FIREFOX, "203.0.113.7", "kaguya")
    assert values["time"].endswith(" (Asia/Tokyo)")


@pytest.mark.parametrize(
    ("agent", "ip", "is_new"),
    [
        (FIREFOX, "203.0.113.7", False),
        (FIREFOX.replace("140", "141"), "203.0.113.7", False),
        (FIREFOX.replace("X11; Linux x86_64", "Macintosh"), "203.0.113.7", True),
        (FIREFOX, "203.0.113.8", True),
        (FIREFOX, "2001:db8::1", True),
    ],
)
async def test_device_is_known_by_browser_and_network(
    applications: Applications, database: URL, agent: str, ip: str, *, is_new: bool
) -> None:
    async with service(applications) as client:
        await register(client)
        await login(client)
        await login(client, agent=agent, ip=ip)
        assert len(await mails(database)) == 1 + is_new
        await login(client, agent=agent, ip=ip)
        assert len(await mails(database)) == 1 + is_new


async def test_other_addresses_of_an_ipv6_network_are_known(applications: Applications, database: URL) -> None:
    async with service(applications) as client:
        await register(client)
        for ip in ("2001:db8::1", "2001:db8::2:1"):
            await login(client, ip=ip)
    assert len(await mails(database)) == 1


@pytest.mark.parametrize(("age", "is_sent"), [("29 days", False), ("31 days", True)])
async def test_first_login_of_a_new_account_sends_no_notice_and_after_purged_sessions_one(
    applications: Applications, database: URL, age: str, *, is_sent: bool
) -> None:
    async with service(applications) as client:
        await register(client)
        await execute(database, "DELETE FROM auth_sessions", f"UPDATE users SET created_at = now() - interval '{age}'")
        await login(client)
    assert len(await mails(database)) == is_sent


async def test_email_that_an_administrator_changes_sends_a_notice_to_the_old_one(
    applications: Applications, database: URL
) -> None:
    async with service(applications) as client:
        tokens = await register(client)
        await execute(database, "UPDATE users SET role = 'admin'")
        (user_id,) = await column(database, "SELECT id FROM users")
        for email in ("new@example.org", "NEW@example.org"):
            body = {"email": email}
            response = await client.patch(f"/users/{user_id}", json=body, headers=bearer(tokens))
            assert response.status_code == 200
    (mail,) = await mails(database)
    assert (mail["template"], mail["to"]) == ("notice-email-changed", EMAIL)


async def test_registration_and_wrong_password_send_no_notice(applications: Applications, database: URL) -> None:
    async with service(applications) as client:
        await register(client)
        await login(client, password="wrong password", agent="curl/8")
    assert await mails(database) == []


async def test_line_breaks_and_length_of_device_are_bounded(applications: Applications, database: URL) -> None:
    async with service(applications) as client:
        await register(client)
        await login(client, agent=f"a\t{'b' * 4000}")
    (mail,) = await mails(database)
    assert mail["values"]["device"] == f"a {'b' * 148}"


async def change_password(client: httpx.AsyncClient, tokens: dict[str, str], current: str) -> int:
    body = {"current_password": current, "new_password": "another long password"}
    return (await client.post("/auth/password", json=body, headers=bearer(tokens))).status_code


async def test_changed_password_sends_a_notice_and_refused_change_none(
    applications: Applications, database: URL
) -> None:
    async with service(applications) as client:
        tokens = await register(client)
        assert await change_password(client, tokens, "wrong password") == 401
        assert await mails(database) == []
        assert await change_password(client, tokens, PASSWORD) == 204
    (mail,) = await mails(database)
    assert (mail["template"], mail["to"]) == ("notice-password-changed", EMAIL)


@pytest.mark.parametrize(
    ("settings", "is_sent"),
    [
        ({"mail_url": MailURL("console")}, False),
        ({"mail_url": MailURL("console"), "notify_security_events": True}, True),
        ({"notify_security_events": False}, False),
    ],
)
async def test_setting_decides_about_notices(
    applications: Applications, database: URL, settings: dict[str, Any], *, is_sent: bool
) -> None:
    async with service(applications, **settings) as client:
        tokens = await register(client)
        await login(client)
        await change_password(client, tokens, PASSWORD)
    assert len(await mails(database)) == 2 * is_sent


async def test_sign_in_to_admin_site_on_new_device_sends_a_notice(applications: Applications, database: URL) -> None:
    async with service(applications, admin_enabled=True) as client:
        await register(client)
        await execute(database, "UPDATE users SET role = 'editor'")
        browser = Browser(client)
        await browser.sign_in(EMAIL)
    (mail,) = await mails(database)
    assert mail["template"] == "notice-new-device"
    assert mail["values"]["ip"] == "127.0.0.1"
