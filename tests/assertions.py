"""Assertions that several test modules share."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import httpx
from sqlalchemy import event
from sqlalchemy.engine import Engine

from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.access_tokens import AccessTokens
from tests.factories import Backend, Viewer

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


def assert_error(response: httpx.Response, status: int, message: str | None = None) -> None:
    """Check that the response is an error of the contract."""
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["code", "message", "details"]
    assert body["code"] == CODES[status]
    if status == 422:
        assert body["message"] == "Request validation failed"
    else:
        assert body["details"] is None
    assert message in {None, body["message"]}


async def check_bodies_refused(
    viewer: Viewer, method: str, path: str, bodies: Sequence[Any], headers: dict[str, str] | None = None
) -> None:
    """Check that each of the bodies gets 422."""
    for body in bodies:
        response = await viewer.request(method, path, json=body, headers=headers or {})
        assert response.status_code == 422, f"{body!r:.80}: {response.text}"
        assert_error(response, 422)


def without_each(body: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    """Return copies of a body, each without one of the fields."""
    return [{name: value for name, value in body.items() if name != missing} for missing in names]


async def check_token_is_required(client: httpx.AsyncClient, method: str, path: str, body: Any = None) -> None:
    """Check that a missing, malformed, forged or unknown token gets 401, whatever the body is."""
    forged = AccessTokens(secret_key="s" * 32, algorithm="HS256", minutes=5).issue(uuid4(), uuid4())
    unknown_user = AccessTokens(secret_key="k" * 32, algorithm="HS256", minutes=5).issue(uuid4(), uuid4())
    for slash in ("", "/"):
        for authorization in (
            None,
            "",
            "Bearer",
            "Bearer x",
            "Basic eDp5",
            f"Bearer {forged}",
            f"Bearer {unknown_user}",
        ):
            headers = {} if authorization is None else {"Authorization": authorization}
            response = await client.request(method, path + slash, json=body, headers=headers)
            assert_error(response, 401, "Authentication failed")
            assert response.headers["www-authenticate"] == "Bearer"


async def pages(client: httpx.AsyncClient, path: str, query: dict[str, Any]) -> AsyncIterator[httpx.Response]:
    """Yield the pages of a list, following its Link headers."""
    response = await client.get(path, params=query)
    yield response
    while link := response.headers.get("link"):
        match = re.fullmatch(r'<([^<>]+)>; rel="next"', link)
        assert match, link
        response = await client.get(match[1])
        yield response


async def read_pages(viewer: Viewer, target: str) -> list[httpx.Response]:
    """Return the pages of a viewer's list, following its Link headers."""
    pages: list[httpx.Response] = []
    while target:
        pages.append(await viewer.request("GET", target))
        assert pages[-1].status_code == 200, pages[-1].text
        assert len(pages) < 200
        link = pages[-1].headers.get("link", "")
        match = re.fullmatch(r'<([^<>]+)>; rel="next"', link)
        assert match or not link
        target = match[1] if match else ""
    return pages


async def check_list(viewer: Viewer, path: str, ids: Sequence[str], key: str = "id") -> None:
    """Check order, pages and total of a list of at least four items, and that invalid queries get 422."""

    def keys(items: list[dict[str, Any]]) -> list[Any]:
        return [item[key] for item in items]

    for slash in ("", "/"):
        response = await viewer.request("GET", path + slash)
        assert keys(response.json()) == list(ids)
        assert not {"link", "x-total-count"} & response.headers.keys()
    part = await viewer.request("GET", f"{path}?limit=2&offset=1&total=true")
    assert (keys(part.json()), part.headers["x-total-count"]) == (list(ids[1:3]), str(len(ids)))
    pages = await read_pages(viewer, f"{path}?limit=2&total=true")
    assert [item for page in pages for item in keys(page.json())] == list(ids)
    assert {page.headers["x-total-count"] for page in pages} == {str(len(ids))}
    assert await viewer.read(f"{path}?offset={2**63 - 1}") == []
    for query in ("limit=0", "limit=101", "limit=x", "limit=1.5", "offset=-1", f"offset={2**63}", "total=2"):
        assert_error(await viewer.request("GET", f"{path}?{query}"), 422)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Record the statements that are sent to the database."""
    recorded: list[str] = []

    def record(_: object, __: object, statement: str, *___: object) -> None:
        recorded.append(statement)

    fetch = StatementRunner._fetch  # noqa: SLF001 - all single statements that return rows pass it

    async def recorded_fetch(runner: StatementRunner, statement: Any, parameters: Any) -> Any:
        recorded.append(str(statement))
        return await fetch(runner, statement, parameters)

    event.listen(Engine, "before_cursor_execute", record)
    try:
        with patch.object(StatementRunner, "_fetch", recorded_fetch):
            yield recorded
    finally:
        event.remove(Engine, "before_cursor_execute", record)


async def check_anime_by_one_query(viewer: Viewer, path: str, backend: Backend) -> None:
    """Check that a list of any length takes two statements, and that its items contain their anime."""
    with statements() as recorded:
        items = await viewer.read(path)
    assert len(recorded) == 2, recorded
    assert len(items) >= 4
    listed = {item["id"]: item for item in (await backend.client.get("/anime?limit=100")).json()}
    for item in items:
        assert item["anime"] == listed[item["anime_id"]]
