"""GET /episodes."""

from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.factories import add

NOT_FOUND = {"code": "NOT_FOUND", "message": "Release not found", "details": None}


async def release_of(client: httpx.AsyncClient, title: str) -> str:
    releases = (await client.get("/releases?limit=100")).json()
    return next(str(item["id"]) for item in releases if item["title"] == title)


async def test_episodes_are_listed_by_number(reader: httpx.AsyncClient) -> None:
    for title, count in (("Death Note", 37), ("One Piece", 1100)):
        release_id = await release_of(reader, title)
        response = await reader.get("/episodes", params={"release_id": release_id})
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        items = response.json()
        assert all(set(item) == {"id", "number", "title", "airs_at"} for item in items)
        assert [item["number"] for item in items] == list(range(1, count + 1))
        assert len({item["id"] for item in items}) == count


async def test_release_without_episodes_returns_an_empty_list(reader: httpx.AsyncClient) -> None:
    release_id = await release_of(reader, "Detective Conan")
    response = await reader.get("/episodes", params={"release_id": release_id})
    assert (response.status_code, response.json()) == (200, [])


async def test_order_does_not_depend_on_the_rows(database: URL, client: httpx.AsyncClient) -> None:
    (anime,) = await add(database, "anime", {"title": "Any"})
    mine, other = await add(
        database, "releases", *[{"anime_id": UUID(anime), "title": title} for title in ("Mine", "Other")]
    )
    numbers = [10, 2, -1, 2**31 - 1, 0, 9]
    rows = [{"release_id": UUID(mine), "number": number, "title": f"№ {number}"} for number in numbers]
    ids = await add(database, "episodes", *rows)
    await add(database, "episodes", {"release_id": UUID(mine), "number": 5})
    await add(database, "episodes", {"release_id": UUID(other), "number": 3})

    items = (await client.get("/episodes", params={"release_id": mine})).json()
    assert [item["number"] for item in items] == sorted([*numbers, 5])
    titled = [item for item in items if item["title"] is not None]
    assert titled == [
        {"id": episode, "number": number, "title": f"№ {number}", "airs_at": None}
        for number, episode in sorted(zip(numbers, ids, strict=True))
    ]


async def test_unknown_release_returns_404(reader: httpx.AsyncClient) -> None:
    for release_id in (uuid4(), UUID(int=0)):
        response = await reader.get("/episodes", params={"release_id": str(release_id)})
        assert (response.status_code, response.json()) == (404, NOT_FOUND)


@pytest.mark.parametrize("query", ["", "?release_id=", "?release_id=x", "?release_id=null", "?release_id=1"])
async def test_missing_or_malformed_release_id_returns_422(reader: httpx.AsyncClient, query: str) -> None:
    for path in ("/episodes", "/episodes/"):
        response = await reader.get(f"{path}{query}")
        assert response.status_code == 422
        body = response.json()
        assert (body["code"], body["message"]) == ("VALIDATION_ERROR", "Request validation failed")
        (detail,) = body["details"]
        assert detail["field"] == "release_id"
        assert detail["message"]


async def test_trailing_slash_is_optional(reader: httpx.AsyncClient) -> None:
    query = {"release_id": await release_of(reader, "FLCL")}
    without, with_slash = await reader.get("/episodes", params=query), await reader.get("/episodes/", params=query)
    assert (without.status_code, with_slash.status_code) == (200, 200)
    assert without.content == with_slash.content
    assert len(without.json()) == 6
