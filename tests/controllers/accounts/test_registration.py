"""Registration that is closed or by invitation: single use, expiry, and the address that an invitation is bound to."""

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.settings.mail import mail_url
from tests.accounts import EMAIL, PASSWORD, login, me
from tests.application import Applications, client_of
from tests.cli.invoke import invoked
from tests.cli.process import SECRET_KEY
from tests.databases import column, execute
from tests.jobs.working import finished, working

OTHER = "other@example.org"
CLOSED = {"code": "REGISTRATION_CLOSED", "message": "Registration is closed", "details": None}
REQUIRED = {"code": "INVITATION_REQUIRED", "message": "Registration needs an invitation", "details": None}
USERS = "SELECT email FROM users ORDER BY 1"


@pytest.fixture
def database(accountless: URL) -> URL:
    return accountless


@pytest.fixture
async def api(applications: Applications) -> AsyncIterator[httpx.AsyncClient]:
    async with applications.client_of(registration="invite", secret_key=SECRET_KEY, login_refusal_ms=0) as client:
        yield client


async def invite(folder: Path, database: URL, *email: str, **settings: str) -> str:
    """Run `kitsu invite`, and return the token of its link."""
    code, output, errors = await invoked(folder, "invite", *email, database=database, **settings)
    assert code == 0, errors
    return token_of(output.strip())


def token_of(link: str) -> str:
    (token,) = parse_qs(urlsplit(link).query)["token"]
    return token


async def attempt(client: httpx.AsyncClient, email: str = EMAIL, password: str = PASSWORD, **more: Any) -> Any:
    return await client.post("/auth/register", json={"email": email, "password": password, **more})


def is_invalid(response: httpx.Response) -> bool:
    """Check that the response is the one for every invitation that is not valid, and return True."""
    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
    assert "token" in response.json()["message"]
    return True


@pytest.mark.parametrize("more", [{}, {"invitation": "a" * 43}, {"password": "short"}])
async def test_closed_registration_creates_no_account(
    applications: Applications, database: URL, tmp_path: Path, more: dict[str, str]
) -> None:
    token = await invite(tmp_path, database, REGISTRATION="closed")
    more = {"invitation": token} if "invitation" in more else more
    async with applications.client_of(registration="closed", secret_key=SECRET_KEY) as client:
        response = await attempt(client, **more)
        assert (response.status_code, response.json()) == (403, CLOSED)
        assert response.headers["cache-control"] == "no-store"
    assert await column(database, USERS) == []


async def test_registration_without_invitation_is_refused(api: httpx.AsyncClient, database: URL) -> None:
    for response in (await attempt(api), await attempt(api, invitation=None)):
        assert (response.status_code, response.json()) == (403, REQUIRED)
    assert await column(database, USERS) == []


async def test_invitation_creates_one_account(api: httpx.AsyncClient, database: URL, tmp_path: Path) -> None:
    token = await invite(tmp_path, database)
    response = await attempt(api, invitation=token)
    assert response.status_code == 201, response.text
    assert (await login(api)).status_code == 200
    assert is_invalid(await attempt(api, OTHER, invitation=token))
    assert await column(database, USERS) == [EMAIL]


async def test_invitation_that_is_used_twice_at_once_creates_one_account(
    api: httpx.AsyncClient, database: URL, tmp_path: Path
) -> None:
    token = await invite(tmp_path, database)
    responses = await asyncio.gather(*(attempt(api, f"{n}@example.org", invitation=token) for n in range(5)))
    assert sorted(response.status_code for response in responses) == [201, 400, 400, 400, 400]
    assert len(await column(database, USERS)) == 1


async def test_failed_registration_keeps_the_invitation(api: httpx.AsyncClient, database: URL, tmp_path: Path) -> None:
    await attempt(api, invitation=await invite(tmp_path, database))
    token = await invite(tmp_path, database)
    assert (await attempt(api, OTHER, "short", invitation=token)).status_code == 422
    response = await attempt(api, EMAIL, invitation=token)
    assert response.json()["message"] == "Email already registered"
    assert (await attempt(api, OTHER, invitation=token)).status_code == 201


@pytest.mark.parametrize("invitation", ["", "x", "a" * 43, "\0", "a" * 5000, "ä"])
async def test_unknown_invitation_tells_nothing_about_the_address(
    api: httpx.AsyncClient, database: URL, tmp_path: Path, invitation: str
) -> None:
    await attempt(api, invitation=await invite(tmp_path, database))
    assert is_invalid(await attempt(api, OTHER, invitation=invitation))
    assert is_invalid(await attempt(api, EMAIL, invitation=invitation))


async def test_invitation_of_another_purpose_or_after_its_time_is_refused(
    api: httpx.AsyncClient, database: URL, tmp_path: Path
) -> None:
    token = await invite(tmp_path, database)
    await execute(database, "UPDATE account_tokens SET purpose = 'verify-email'")
    assert is_invalid(await attempt(api, invitation=token))
    await execute(database, "UPDATE account_tokens SET purpose = 'invite', expires_at = now() - interval '1 second'")
    assert is_invalid(await attempt(api, invitation=token))


async def test_bound_invitation_is_valid_for_its_address_alone(
    api: httpx.AsyncClient, database: URL, tmp_path: Path
) -> None:
    token = await invite(tmp_path, database, "Kaguya@Example.org")
    assert is_invalid(await attempt(api, OTHER, invitation=token))
    assert (await attempt(api, EMAIL.upper(), invitation=token)).status_code == 201
    assert await column(database, USERS) == [EMAIL]


async def test_open_registration_takes_a_valid_invitation_and_refuses_another(
    applications: Applications, database: URL, tmp_path: Path
) -> None:
    token = await invite(tmp_path, database)
    async with applications.client_of(secret_key=SECRET_KEY) as client:
        assert is_invalid(await attempt(client, OTHER, invitation="a" * 43))
        assert (await attempt(client, invitation=token)).status_code == 201
        assert (await attempt(client, OTHER)).status_code == 201


async def test_administrators_create_accounts_while_registration_is_closed(
    applications: Applications, database: URL, tmp_path: Path
) -> None:
    boss = ("createsuperuser", "--email", EMAIL, "--password", PASSWORD)
    assert (await invoked(tmp_path, *boss, database=database, REGISTRATION="closed"))[0] == 0
    async with applications.client_of(registration="closed", secret_key=SECRET_KEY) as client:
        headers = {"Authorization": f"Bearer {(await login(client)).json()['access_token']}"}
        response = await client.post("/users", headers=headers, json={"email": OTHER, "password": PASSWORD})
        assert response.status_code == 201


async def test_mailed_link_has_the_printed_token(api: httpx.AsyncClient, database: URL, tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    settings = {"MAIL_URL": f"file://{folder}", "FRONTEND_URL": "https://front.example"}
    code, output, errors = await invoked(tmp_path, "invite", EMAIL, database=database, **settings)
    assert code == 0, errors
    assert errors.endswith(f"The link is sent to {EMAIL} by the worker.\n")
    assert output.startswith("https://front.example/register?token=")
    values = {"mail_url": mail_url(settings["MAIL_URL"]), "frontend_url": settings["FRONTEND_URL"]}
    async with working(database, secret_key=SECRET_KEY, **values):
        await finished(database)
    (mail,) = mails_in(folder)
    assert (mail["To"], mail["Subject"]) == (EMAIL, "You are invited to Kitsu")
    assert all(output.strip() in part.get_content() for part in mail.iter_parts())
    assert (await attempt(api, invitation=token_of(output.strip()))).status_code == 201


@pytest.mark.parametrize(("is_mailed", "is_bound"), [(True, True), (True, False), (False, True)])
async def test_address_is_verified_by_an_invitation_that_came_by_mail_to_it(
    database: URL, tmp_path: Path, is_mailed: bool, is_bound: bool
) -> None:
    settings = {"MAIL_URL": f"file://{tmp_path}/mail"} if is_mailed else {}
    code, output, errors = await invoked(
        tmp_path, "invite", *([EMAIL] if is_bound else []), database=database, **settings
    )
    assert code == 0, errors
    values = {name.lower(): mail_url(text) for name, text in settings.items()}
    async with client_of(database, registration="invite", secret_key=SECRET_KEY, **values) as client:
        tokens = (await attempt(client, invitation=token_of(output.strip()))).json()
        user = (await me(client, tokens)).json()
    assert user["email_verified"] == (is_mailed and is_bound)


def mails_in(folder: Path) -> list[EmailMessage]:
    """Return the mails of a folder."""
    return [message_from_bytes(path.read_bytes(), EmailMessage, policy=default) for path in folder.iterdir()]


async def test_invitation_of_wrong_or_taken_address_is_refused(database: URL, tmp_path: Path) -> None:
    code, output, errors = await invoked(tmp_path, "invite", "no-address\nTo: x@y.org", database=database)
    assert (code, output) == (1, "")
    assert errors.startswith("Error: ")
    boss = ("createsuperuser", "--email", EMAIL, "--password", PASSWORD)
    assert (await invoked(tmp_path, *boss, database=database))[0] == 0
    code, output, errors = await invoked(tmp_path, "invite", EMAIL, database=database)
    assert (code, output, errors) == (1, "", "Error: Email already registered\n")
    assert await column(database, "SELECT id FROM account_tokens") == []


async def test_invitation_by_command_is_in_the_audit_log_without_its_address(database: URL, tmp_path: Path) -> None:
    await invite(tmp_path, database, EMAIL)
    query = "SELECT row(action, user_id, subject, details::text) FROM admin_actions"
    assert await column(database, query) == [("user invited", None, "invitation", "{}")]
