"""Users with a second factor: TOTP codes at any time, and the requests that set it up and finish a login."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx
import pyotp
import pytest

from kitsu.domain.accounts import totp
from tests.accounts import EMAIL, PASSWORD, bearer, login, register


class Clock:
    """The clock by which the service checks codes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_800_000_000
        monkeypatch.setattr("kitsu.domain.accounts.totp.time", SimpleNamespace(time=lambda: self.now))

    def code(self, secret: str, steps: int = 0) -> str:
        """Return the code that a device shows whose clock differs by some steps."""
        return pyotp.TOTP(secret).at(self.now + steps * totp.STEP_SECONDS)

    def next_step(self) -> None:
        self.now += totp.STEP_SECONDS


class Protected(NamedTuple):
    """A user with TOTP."""

    tokens: dict[str, str]
    secret: str
    recovery_codes: list[str]


async def send(client: httpx.AsyncClient, tokens: dict[str, str], method: str, path: str = "", **body: Any) -> Any:
    """Send a request below /auth/second-factor and return the response."""
    path = f"/auth/second-factor{path}"
    return await client.request(method, path, headers=bearer(tokens), json=body or None)


async def protect(client: httpx.AsyncClient, clock: Clock, email: str = EMAIL) -> Protected:
    """Register a user with TOTP. The next code is that of the next step."""
    tokens = await register(client, email)
    started = (await send(client, tokens, "POST", "/totp", password=PASSWORD)).json()
    confirmed = await send(client, tokens, "POST", "/totp/confirm", code=clock.code(started["secret"]))
    assert confirmed.status_code == 200, confirmed.text
    clock.next_step()
    return Protected(tokens, started["secret"], confirmed.json()["recovery_codes"])


async def challenge_of(client: httpx.AsyncClient, email: str = EMAIL, password: str = PASSWORD) -> str:
    """Pass the first step of a login and return the challenge."""
    response = await login(client, email, password)
    assert response.status_code == 401, response.text
    challenge: str = response.json()["challenge"]
    return challenge


async def answer(client: httpx.AsyncClient, challenge: str, code: str) -> httpx.Response:
    """Send the second step of a login and return the response."""
    return await client.post("/auth/login/second-factor", json={"challenge": challenge, "code": code})
