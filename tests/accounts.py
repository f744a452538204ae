"""Accounts through the API: register, log in, refresh and log out, and the responses that refuse."""

import httpx

EMAIL = "kaguya@example.org"
PASSWORD = "a long enough password"
UNAUTHORIZED = {"code": "AUTH_ERROR", "message": "Authentication failed", "details": None}
FORBIDDEN = {"code": "PERMISSION_DENIED", "message": "Insufficient permissions", "details": None}


async def register(client: httpx.AsyncClient, email: str = EMAIL, password: str = PASSWORD) -> dict[str, str]:
    """The tokens of a new account."""
    answer = await client.post("/auth/register", json={"email": email, "password": password})
    assert answer.status_code == 201, answer.text
    tokens: dict[str, str] = answer.json()
    return tokens


async def login(client: httpx.AsyncClient, email: str = EMAIL, password: str = PASSWORD) -> httpx.Response:
    """The answer to a login."""
    return await client.post("/auth/login", json={"email": email, "password": password})


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    """The answer to a refresh."""
    return await client.post("/auth/refresh", json={"refresh_token": token})


async def logout(client: httpx.AsyncClient, token: str) -> httpx.Response:
    """The answer to a logout."""
    return await client.post("/auth/logout", json={"refresh_token": token})


def bearer(tokens: dict[str, str]) -> dict[str, str]:
    """The headers of somebody who is signed in."""
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def me(client: httpx.AsyncClient, tokens: dict[str, str]) -> httpx.Response:
    """What an access token opens."""
    return await client.get("/users/me", headers=bearer(tokens))


def is_refused(answer: httpx.Response) -> bool:
    """Whether it is the 401 of the contract, entirely."""
    assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["cache-control"] == "no-store"
    return True
