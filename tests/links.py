"""The links in mails that a worker writes to a folder, and the requests that follow them."""

import email
import re
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests.accounts import EMAIL, PASSWORD, bearer, register
from tests.jobs.working import until

NEW_PASSWORD = "another long password"
OTHER = "chika@example.org"
INVALID = {"code": "VALIDATION_ERROR", "message": "The token is invalid or has expired", "details": None}
PATHS = {
    "verify-email": "/auth/verify",
    "reset-password": "/auth/password/reset",
    "confirm-email": "/auth/email/confirm",
    "revert-email": "/auth/email/revert",
}
"""The paths that take the tokens of links, by the path of a link."""


class Mails:
    """The mails of a worker, in a folder."""

    def __init__(self, folder: Path, rows: asyncpg.Connection) -> None:
        self._folder, self._rows = folder, rows

    async def to(self, address: str) -> list[EmailMessage]:
        """Return the mails to an address, oldest first, when no job waits."""
        await until(self._is_idle)
        found: Any = [
            email.message_from_bytes(path.read_bytes(), policy=default) for path in sorted(self._folder.glob("*.eml"))
        ]
        return [mail for mail in found if mail["To"] == address]

    async def token(self, address: str, link: str) -> str:
        """Return the token of the last link of a kind that was sent to an address."""
        texts = [str(mail.get_body(("plain",)).get_content()) for mail in await self.to(address)]  # type: ignore[union-attr] # each has one
        tokens = [found[1] for text in texts if (found := re.search(rf"/{link}\?token=(\S+)", text))]
        assert tokens, texts
        return tokens[-1]

    async def _is_idle(self) -> bool:
        return not await self._rows.fetchval("SELECT count(*) FROM pgqueuer WHERE status <> 'failed'")


async def follow(client: httpx.AsyncClient, link: str, token: str, **more: str) -> httpx.Response:
    """Send the token of a link as the front end does."""
    if link == "reset-password":
        more = {"new_password": NEW_PASSWORD} | more
    return await client.post(PATHS[link], json={"token": token, **more})


async def forgot(client: httpx.AsyncClient, address: str = EMAIL) -> httpx.Response:
    return await client.post("/auth/password/forgot", json={"email": address})


async def change_email(client: httpx.AsyncClient, tokens: dict[str, str], address: str) -> httpx.Response:
    body = {"email": address, "password": PASSWORD}
    return await client.patch("/users/me/email", json=body, headers=bearer(tokens))


async def verified(client: httpx.AsyncClient, mails: Mails) -> dict[str, str]:
    """Return the tokens of a user with a verified address."""
    tokens = await register(client)
    assert (await follow(client, "verify-email", await mails.token(EMAIL, "verify-email"))).status_code == 204
    return tokens
