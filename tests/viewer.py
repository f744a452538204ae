"""Somebody who is signed in, the shelf of anime that they look at, and what holds for every list of theirs."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import asyncpg
import httpx
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine

from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.access_tokens import AccessTokens
from tests.conftest import client_of, connect, copy_of

UNKNOWN_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
BAD_IDS = ("x", "1", "null", UNKNOWN_ID + "0", UNKNOWN_ID[:-1], UNKNOWN_ID.replace("-", "_"), "%00", "%F0%9F%A6%8A")
MAX_INTEGER = 2**31 - 1
CODES = {
    400: "VALIDATION_ERROR",
    401: "AUTH_ERROR",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT_ERROR",
    412: "PRECONDITION_FAILED",
    422: "VALIDATION_ERROR",
}
NOT_INTEGERS: tuple[Any, ...] = (True, False, 1.5, "x", [], {}, 2**31, -(2**31) - 1, 2**63, 10**400)
NOT_TEXTS: tuple[Any, ...] = (1, True, [], {}, "a\0b", "\ud800", "a\udc00b")
KEPT = ("favorites", "watch_progress", "views", "collections", "collection_items", "library_entries", "tombstones")
EXTRA: dict[str, Any] = {
    "id": UNKNOWN_ID,
    "user_id": UNKNOWN_ID,
    "role": "admin",
    "is_active": False,
    "version": 99,
    "created_at": "x",
}
"""Fields that no body here takes."""


class Viewer:
    """Somebody who is signed in."""

    def __init__(self, client: httpx.AsyncClient, user_id: UUID, token: str) -> None:
        self.client, self.id, self.token = client, user_id, token

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask for something. What stands in `json` is sent with escapes, so that it may hold a lone surrogate."""
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        if "json" in more:
            headers["Content-Type"] = "application/json"
            more["content"] = json.dumps(more.pop("json"))
        return await self.client.request(method, path, headers=headers, **more)

    async def read(self, path: str) -> Any:
        response = await self.ask("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    async def write(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """What is answered; None where that is nothing."""
        response = await self.ask(method, path, **({} if body is None else {"json": body}))
        assert response.status_code == status, response.text
        return response.json() if response.content else None


class Shelf:
    """The application on a database of its own, and the database from outside."""

    def __init__(self, client: httpx.AsyncClient, rows: asyncpg.Connection, url: URL) -> None:
        self.client, self.rows, self.url = client, rows, url

    async def viewer(self) -> Viewer:
        """Somebody new, without the time that a password takes."""
        user_id, session_id = uuid4(), uuid4()
        await self.rows.execute(
            "INSERT INTO users (id, email, username, password_hash) VALUES ($1, $2, $3, 'none')",
            *(user_id, f"{user_id}@example.org", user_id.hex),
        )
        await self.rows.execute(
            "INSERT INTO auth_sessions (id, user_id, expires_at) VALUES ($1, $2, now() + interval '1 day')",
            *(session_id, user_id),
        )
        tokens = AccessTokens(secret_key="k" * 32, algorithm="HS256", minutes=5)
        return Viewer(self.client, user_id, tokens.issue(user_id, session_id))

    async def anime(self, **columns: Any) -> str:
        return await insert(self.rows, "anime", {"title": f"A work {uuid4()}", **columns})

    async def animes(self, count: int) -> list[str]:
        return [await self.anime() for _ in range(count)]

    async def episode(self, anime_id: str, number: int = 1) -> str:
        """An episode of a release of its own."""
        release_id = await insert(self.rows, "releases", {"anime_id": UUID(anime_id), "title": "TV"})
        return await insert(self.rows, "episodes", {"release_id": UUID(release_id), "number": number})


@asynccontextmanager
async def shelf_of(server: URL, template: URL, **settings: object) -> AsyncIterator[Shelf]:
    """A database that tests share: each makes viewers of its own."""
    async with copy_of(template, server) as url, client_of(url, rate_limit_enabled=False, **settings) as client:
        rows = await connect(url)
        yield Shelf(client, rows, url)
        await rows.close()


async def belongings(rows: asyncpg.Connection, user_id: UUID, anime_id: str, episode_id: str) -> tuple[UUID, UUID]:
    """One of all that a viewer keeps; returns the ids of the collection, which is private, and of the view."""
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
        await insert(rows, table, columns if table == "collection_items" else {"user_id": user_id, **columns})
    return collection_id, view_id


async def kept(rows: asyncpg.Connection, user_id: UUID) -> list[Any]:
    """Return all rows that a viewer keeps, as PostgreSQL writes them."""
    own = "(SELECT id FROM collections WHERE user_id = $1)"
    where = {table: f"collection_id IN {own}" if table == "collection_items" else "user_id = $1" for table in KEPT}
    every = " UNION ALL ".join(f"SELECT '{table}', t::text FROM {table} t WHERE {where[table]}" for table in KEPT)
    return list(await rows.fetch(every, user_id))


async def insert(rows: asyncpg.Connection, table: str, columns: dict[str, Any]) -> str:
    """A new row by plain SQL; returns its id."""
    columns = columns if table == "collection_items" else {"id": uuid4(), **columns}
    values = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await rows.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", *columns.values())
    return str(columns.get("id"))


def refused(response: httpx.Response, status: int, message: str | None = None) -> None:
    """The answer is an error as the contract has it."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["code", "message", "details"]
    assert body["code"] == CODES[status]
    if status == 422:
        assert body["message"] == "Request validation failed"
    else:
        assert body["details"] is None
    assert message in {None, body["message"]}


async def check_needs_a_token(client: httpx.AsyncClient, method: str, path: str, body: Any = None) -> None:
    """Whoever has none, or a bad one, is refused before anything else is looked at."""
    stranger = AccessTokens(secret_key="s" * 32, algorithm="HS256", minutes=5).issue(uuid4(), uuid4())
    nobody = AccessTokens(secret_key="k" * 32, algorithm="HS256", minutes=5).issue(uuid4(), uuid4())
    for slash in ("", "/"):
        for authorization in (None, "", "Bearer", "Bearer x", "Basic eDp5", f"Bearer {stranger}", f"Bearer {nobody}"):
            headers = {} if authorization is None else {"Authorization": authorization}
            response = await client.request(method, path + slash, json=body, headers=headers)
            refused(response, 401, "Authentication failed")
            assert response.headers["www-authenticate"] == "Bearer"


async def walk(viewer: Viewer, target: str) -> list[httpx.Response]:
    """A list's pages, by its Link headers until there is none."""
    pages: list[httpx.Response] = []
    while target:
        pages.append(await viewer.ask("GET", target))
        assert pages[-1].status_code == 200, pages[-1].text
        assert len(pages) < 200
        link = pages[-1].headers.get("link", "")
        match = re.fullmatch(r'<([^<>]+)>; rel="next"', link)
        assert match or not link
        target = match[1] if match else ""
    return pages


async def check_list(viewer: Viewer, path: str, ids: Sequence[str], key: str = "id") -> None:
    """A list of at least four: its order, its parts, its length; and queries that make no sense."""

    def keys(items: list[dict[str, Any]]) -> list[Any]:
        return [item[key] for item in items]

    for slash in ("", "/"):
        response = await viewer.ask("GET", path + slash)
        assert keys(response.json()) == list(ids)
        assert not {"link", "x-total-count"} & response.headers.keys()
    part = await viewer.ask("GET", f"{path}?limit=2&offset=1&total=true")
    assert (keys(part.json()), part.headers["x-total-count"]) == (list(ids[1:3]), str(len(ids)))
    pages = await walk(viewer, f"{path}?limit=2&total=true")
    assert [item for page in pages for item in keys(page.json())] == list(ids)
    assert {page.headers["x-total-count"] for page in pages} == {str(len(ids))}
    assert await viewer.read(f"{path}?offset={2**63 - 1}") == []
    for query in ("limit=0", "limit=101", "limit=x", "limit=1.5", "offset=-1", f"offset={2**63}", "total=2"):
        refused(await viewer.ask("GET", f"{path}?{query}"), 422)


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    seen: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        seen.append(statement)

    fetch = StatementRunner._fetch  # noqa: SLF001 - where all single statements that answer with rows pass

    async def fetch_noted(direct: StatementRunner, statement: Any, parameters: Any) -> Any:
        seen.append(str(statement))
        return await fetch(direct, statement, parameters)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with patch.object(StatementRunner, "_fetch", fetch_noted):
            yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def check_anime_by_one_query(viewer: Viewer, path: str, shelf: Shelf) -> None:
    """Every item has its `anime` as the catalogue lists it, and a list costs who asks and itself, however long."""
    with statements() as seen:
        items = await viewer.read(path)
    assert len(seen) == 2, seen
    assert len(items) >= 4
    listed = {item["id"]: item for item in (await shelf.client.get("/anime?limit=100")).json()}
    for item in items:
        assert item["anime"] == listed[item["anime_id"]]
