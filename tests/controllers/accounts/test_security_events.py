"""Log lines of logins and accounts: user, address and request, but no e-mail, token or password."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import structlog
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from kitsu.observability.logs import with_request
from tests.accounts import EMAIL, PASSWORD, bearer, login, logout, me, refresh, register
from tests.application import client_of
from tests.databases import execute


class Log:
    """The latest log lines, without those of requests."""

    def __init__(self, lines: list[Any]) -> None:
        self.lines = lines
        self.seen = 0

    def new(self, response: httpx.Response | None = None) -> list[tuple[str, str, str | None]]:
        """Return event, level and user id of each new line; check address and request id."""
        lines = [line for line in self.lines[self.seen :] if line["event"] != "request finished"]
        self.seen = len(self.lines)
        assert all(line["ip"] == "127.0.0.1" and line["request_id"] for line in lines)
        if response is not None:
            assert {line["request_id"] for line in lines} == {response.headers["x-request-id"]}
        return [(line["event"], line["log_level"], line["user_id"]) for line in lines]


@contextmanager
def watched(secrets: list[str]) -> Iterator[Log]:
    with capture_logs([with_request, structlog.processors.add_log_level]) as lines:
        yield Log(lines)
    written = repr(lines)
    assert not [secret for secret in secrets if secret in written]
    assert "@" not in written


async def test_registration_login_and_logout_are_logged(database: URL) -> None:
    secrets = [PASSWORD, EMAIL, "a wrong password", "another long password"]
    async with client_of(database, login_refusal_ms=0, refresh_leeway_seconds=0, refresh_retry="refuse") as client:
        with watched(secrets) as log:
            tokens = await register(client)
            user_id = (await me(client, tokens)).json()["id"]
            assert log.new() == [("user registered", "info", user_id)]

            response = await login(client)
            secrets += [each[name] for each in (tokens, response.json()) for name in ("access_token", "refresh_token")]
            assert log.new(response) == [("login succeeded", "info", user_id)]

            await logout(client, response.json()["refresh_token"])
            assert log.new() == [("session ended", "info", user_id)]

            body = {"current_password": PASSWORD, "new_password": "another long password"}
            response = await client.post("/auth/password", json=body, headers=bearer(tokens))
            assert log.new(response) == [("password changed", "info", user_id)]

            await refresh(client, tokens["refresh_token"])
            response = await refresh(client, tokens["refresh_token"])
            assert log.new(response) == [("refresh token reused", "warning", user_id)]

            for _ in range(5):
                response = await login(client, password="a wrong password")
                assert log.new(response) == [("login failed", "warning", user_id)]
            response = await login(client, password="a wrong password")
            assert log.new(response) == [("login locked", "warning", user_id)]

            response = await login(client, "unknown@example.org", "a wrong password")
            assert log.new(response) == [("login failed", "warning", None)]


async def test_actions_of_administrators_are_logged(database: URL) -> None:
    async with client_of(database, login_refusal_ms=0) as client:
        admin = await register(client)
        await execute(database, "UPDATE users SET role = 'admin'")
        admin_id = (await me(client, admin)).json()["id"]
        user_id = (await me(client, await register(client, "chika@example.org"))).json()["id"]
        with watched(["chika@example.org", EMAIL, PASSWORD, admin["access_token"]]) as log:
            for change, event in (
                ({"role": "admin"}, "role changed"),
                ({"is_active": False}, "user deactivated"),
                ({"is_active": True}, "user activated"),
            ):
                response = await client.patch(f"/users/{user_id}", json=change, headers=bearer(admin))
                assert log.new(response) == [(event, "info", user_id)]
            response = await client.delete(f"/users/{user_id}", headers=bearer(admin))
            assert log.new(response) == [("user deleted", "info", user_id)]
            new = {"email": "chika@example.org", "password": PASSWORD}
            response = await client.post("/users", json=new, headers=bearer(admin))
            assert log.new(response) == [("user created", "info", response.json()["id"])]
        done_by = {line["by"] for line in log.lines if line["event"] != "request finished"}
    assert done_by == {admin_id}
