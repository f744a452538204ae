"""Requests of accounts: register, log in, refresh and log out, with the expected error responses."""

import httpx

EMAIL = "kaguya@example.org"
PASSWORD = "a long enough password"
UNAUTHORIZED = {"code": "AUTH_ERROR", "message": "Authentication failed", "details": None}
FORBIDDEN = {"code": "PERMISSION_DENIED", "message": "Insufficient permissions", "details": None}


async def register(client: httpx.AsyncClient, email: str = EMAIL, password: str = PASSWORD) -> dict[str, str]:
    """Register and return the tokens."""
    response = await client.post("/auth/register", json={"email": email, "password": password})
    assert response.status_code == 201, response.text
    tokens: dict[str, str] = response.json()
    return tokens


async def login(client: httpx.AsyncClient, email: str = EMAIL, password: str = PASSWORD) -> httpx.Response:
    """Log in and return the response."""
    return await client.post("/auth/login", json={"email": email, "password": password})


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    """Refresh the tokens and return the response."""
    return await client.post("/auth/refresh", json={"refresh_token": token})


async def logout(client: httpx.AsyncClient, token: str) -> httpx.Response:
    """Log out and return the response."""
    return await client.post("/auth/logout", json={"refresh_token": token})


def bearer(tokens: dict[str, str]) -> dict[str, str]:
    """Return the headers that authenticate a request."""
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def me(client: httpx.AsyncClient, tokens: dict[str, str]) -> httpx.Response:
    """Get the current user and return the response."""
    return await client.get("/users/me", headers=bearer(tokens))


def is_refused(response: httpx.Response) -> bool:
    """Check that the response is the 401 of the contract, and return True."""
    assert (response.status_code, response.json()) == (401, UNAUTHORIZED)
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["cache-control"] == "no-store"
    return True
