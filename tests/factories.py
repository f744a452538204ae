"""Factories that insert rows by SQL: signed-in viewers, anime, and the rows of viewers' lists."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import httpx
from sqlalchemy.engine import URL

from kitsu.domain.accounts.access_tokens import AccessTokens
from tests.application import client_of
from tests.databases import connect, copy_of

VIEWER_TABLES = (
    "favorites",
    "watch_progress",
    "views",
    "collections",
    "collection_items",
    "library_entries",
    "tombstones",
)
"""The tables with rows of viewers, without accounts and sessions."""


class SignedIn(NamedTuple):
    """A user with a session."""

    user_id: UUID
    session_id: UUID
    refresh_token: str


async def sign_in(rows: asyncpg.Connection, role: str = "user", password_hash: str = "none") -> SignedIn:
    """Insert a user, a session and its refresh token; unlike a login, this hashes no password."""
    session_id, refresh_token = uuid4(), uuid4().hex
    user_id = await insert_user(rows, role, password_hash)
    await rows.execute(
        "INSERT INTO auth_sessions (id, user_id, expires_at) VALUES ($1, $2, now() + interval '1 day')",
        *(session_id, user_id),
    )
    await rows.execute(
        "INSERT INTO refresh_tokens (user_id, session_id, generation, token_hash, expires_at) "
        "VALUES ($1, $2, 1, $3, now() + interval '1 day')",
        *(user_id, session_id, sha256(refresh_token.encode()).hexdigest()),
    )
    return SignedIn(user_id, session_id, refresh_token)


async def insert_user(rows: asyncpg.Connection, role: str = "user", password_hash: str = "none") -> UUID:
    """Insert a user and return the id."""
    user_id = uuid4()
    await rows.execute(
        "INSERT INTO users (id, email, username, password_hash, role) VALUES ($1, $2, $3, $4, $5)",
        *(user_id, f"{user_id}@example.org", user_id.hex, password_hash, role),
    )
    return user_id


class Viewer:
    """A signed-in user, who sends requests."""

    def __init__(self, client: httpx.AsyncClient, user_id: UUID, token: str) -> None:
        self.client, self.id, self.token = client, user_id, token

    async def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request. `json` is sent with escapes, so it may contain lone surrogates."""
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        if "json" in more:
            headers["Content-Type"] = "application/json"
            more["content"] = json.dumps(more.pop("json"))
        return await self.client.request(method, path, headers=headers, **more)

    async def read(self, path: str) -> Any:
        """Send a GET request, and return the decoded body of its 200."""
        response = await self.request("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    async def write(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """Send a request, check the status, and return the decoded body, or None."""
        response = await self.request(method, path, **({} if body is None else {"json": body}))
        assert response.status_code == status, response.text
        return response.json() if response.content else None


class Backend:
    """The application with its database, and factories of rows in it."""

    def __init__(self, client: httpx.AsyncClient, rows: asyncpg.Connection, url: URL) -> None:
        self.client, self.rows, self.url = client, rows, url

    async def viewer(self, role: str = "user") -> Viewer:
        """Insert a signed-in user."""
        user_id, session_id, _ = await sign_in(self.rows, role)
        tokens = AccessTokens(secret_key="k" * 32, algorithm="HS256", minutes=5)
        return Viewer(self.client, user_id, tokens.issue(user_id, session_id))

    async def anime(self, **columns: Any) -> str:
        return await insert(self.rows, "anime", {"title": f"Anime {uuid4()}", **columns})

    async def animes(self, count: int) -> list[str]:
        return [await self.anime() for _ in range(count)]

    async def episode(self, anime_id: str, number: int = 1) -> str:
        """Insert an episode with a new release."""
        release_id = await insert(self.rows, "releases", {"anime_id": UUID(anime_id), "title": "TV"})
        return await insert(self.rows, "episodes", {"release_id": UUID(release_id), "number": number})


@asynccontextmanager
async def backend_of(server: URL, template: URL, **settings: object) -> AsyncIterator[Backend]:
    """Run the application on a copy of the template, without rate limits."""
    async with copy_of(template, server) as url, client_of(url, rate_limit_enabled=False, **settings) as client:
        rows = await connect(url)
        yield Backend(client, rows, url)
        await rows.close()


async def insert_one_of_each(
    rows: asyncpg.Connection, user_id: UUID, anime_id: str, episode_id: str
) -> tuple[UUID, UUID]:
    """Insert one row into each of VIEWER_TABLES; return the ids of the private collection and the view."""
    collection_id, view_id = uuid4(), uuid4()
    rows_of: dict[str, dict[str, Any]] = {
        "favorites": {"anime_id": UUID(anime_id)},
        "watch_progress": {"anime_id": UUID(anime_id), "episode": 1, "position_seconds": 1},
        "library_entries": {"anime_id": UUID(anime_id), "status": "watching"},
        "views": {"id": view_id, "episode_id": UUID(episode_id), "progress": 1},
        "collections": {"id": collection_id, "name": "Mine"},
        "collection_items": {"collection_id": collection_id, "anime_id": UUID(anime_id), "position": 0},
    }
    for table, columns in rows_of.items():
        await insert(rows, table, {"user_id": user_id, **columns})
    return collection_id, view_id


async def viewer_rows(rows: asyncpg.Connection, user_id: UUID) -> list[Any]:
    """Return all rows of a viewer, as text."""
    every = " UNION ALL ".join(
        f"SELECT '{table}', t::text FROM {table} t WHERE user_id = $1" for table in VIEWER_TABLES
    )
    return list(await rows.fetch(every, user_id))


async def insert(rows: asyncpg.Connection, table: str, columns: dict[str, Any]) -> str:
    """Insert a row and return its id."""
    columns = columns if table == "collection_items" else {"id": uuid4(), **columns}
    values = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await rows.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", *columns.values())
    return str(columns.get("id"))


async def add(url: URL, table: str, *rows: dict[str, Any]) -> list[str]:
    """Insert rows on a new connection and return their ids."""
    connection = await connect(url)
    try:
        return [await insert(connection, table, row) for row in rows]
    finally:
        await connection.close()
