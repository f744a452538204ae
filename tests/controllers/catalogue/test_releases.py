"""GET /releases and /releases/{release_id}."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.assertions import pages
from tests.controllers.catalogue.test_anime import UTC_TIME
from tests.databases import connect
from tests.factories import add

LIST_FIELDS = {"id", "anime_id", "title", "year", "status", "episode_count"}
NOT_FOUND = {"code": "NOT_FOUND", "message": "Release not found", "details": None}
MOMENT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


async def test_list_is_an_array_of_items(reader: httpx.AsyncClient) -> None:
    response = await reader.get("/releases")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    items = response.json()
    assert len(items) == 20
    assert all(set(item) == LIST_FIELDS for item in items)
    (anime,) = (await reader.get("/anime?limit=1")).json()
    assert items[0] == {
        "id": items[0]["id"], "anime_id": anime["id"], "title": "Death Note", "year": 2006, "status": "FINISHED",
        "episode_count": 37,
    }  # fmt: skip


async def test_list_is_newest_first_with_episode_counts(reader: httpx.AsyncClient, catalogue: URL) -> None:
    connection = await connect(catalogue)
    rows = await connection.fetch("SELECT id, created_at FROM releases")
    counts = {
        str(row["release_id"]): row["count"]
        for row in await connection.fetch("SELECT release_id, count(*) FROM episodes GROUP BY release_id")
    }
    await connection.close()
    items = (await reader.get("/releases?limit=100")).json()
    rows.sort(key=lambda row: (row["created_at"], row["id"]), reverse=True)
    assert [item["id"] for item in items] == [str(row["id"]) for row in rows]
    assert {item["id"]: item["episode_count"] for item in items} == {item["id"]: 0 for item in items} | counts
    assert {item["title"]: item["episode_count"] for item in items}["Detective Conan"] == 0


async def test_total_is_returned_on_request(reader: httpx.AsyncClient) -> None:
    for query in ("", "?total=false"):
        assert "x-total-count" not in (await reader.get(f"/releases{query}")).headers


async def test_filter_returns_releases_of_the_anime(database: URL, client: httpx.AsyncClient) -> None:
    one, other, bare = await add(database, "anime", {"title": "One"}, {"title": "Other"}, {"title": "Bare"})
    ids = await add(
        database,
        "releases",
        *[{"anime_id": UUID(one), "title": "Same moment", "created_at": MOMENT} for _ in range(5)],
        {"anime_id": UUID(one), "title": "Newer", "created_at": MOMENT + timedelta(microseconds=1)},
        {"anime_id": UUID(other), "title": "Of the other", "year": 1999, "status": "x" * 64},
    )
    await add(database, "episodes", *[{"release_id": UUID(ids[5]), "number": number} for number in range(3)])

    seen = [it async for page in pages(client, "/releases", {"anime_id": one, "limit": 2}) for it in page.json()]
    assert seen[0] == {
        "id": ids[5], "anime_id": one, "title": "Newer", "year": None, "status": None, "episode_count": 3
    }  # fmt: skip
    assert sorted(item["id"] for item in seen) == sorted(ids[:6])
    assert (await client.get("/releases", params={"anime_id": other.upper()})).json() == [
        {"id": ids[6], "anime_id": other, "title": "Of the other", "year": 1999, "status": "x" * 64, "episode_count": 0}
    ]
    for query, total in (({"anime_id": one}, "6"), ({"anime_id": other}, "1"), ({"anime_id": bare}, "0"), ({}, "7")):
        response = await client.get("/releases", params={**query, "total": "true", "limit": 1})
        assert response.headers["x-total-count"] == total
        assert len(response.json()) == min(int(total), 1)
    # The newest release is the one whose time the database wrote.
    assert [item["id"] for item in (await client.get("/releases?limit=2")).json()] == [ids[6], ids[5]]


async def test_unknown_anime_returns_an_empty_list(reader: httpx.AsyncClient) -> None:
    response = await reader.get("/releases", params={"anime_id": str(uuid4()), "total": "true"})
    assert (response.status_code, response.json()) == (200, [])
    assert response.headers["x-total-count"] == "0"
    assert "link" not in response.headers


@pytest.mark.parametrize("anime_id", ["", "x", "1", "null", "\0", f"{UUID(int=1)}x"])
async def test_malformed_anime_id_returns_422(reader: httpx.AsyncClient, anime_id: str) -> None:
    response = await reader.get("/releases", params={"anime_id": anime_id})
    assert response.status_code == 422
    assert [detail["field"] for detail in response.json()["details"]] == ["anime_id"]


async def test_detail_has_all_fields(reader: httpx.AsyncClient, catalogue: URL) -> None:
    (item,) = (await reader.get("/releases?limit=1")).json()
    response = await reader.get(f"/releases/{item['id']}")
    assert response.status_code == 200
    body = response.json()
    assert UTC_TIME.fullmatch(body["created_at"])
    connection = await connect(catalogue)
    created_at = await connection.fetchval("SELECT created_at FROM releases WHERE id = $1", UUID(item["id"]))
    await connection.close()
    assert datetime.fromisoformat(body.pop("created_at")) == created_at
    assert body == item


async def test_unknown_release_returns_404(reader: httpx.AsyncClient) -> None:
    for path in (f"/releases/{uuid4()}", f"/releases/{uuid4()}/", f"/releases/{UUID(int=0)}"):
        response = await reader.get(path)
        assert (response.status_code, response.json()) == (404, NOT_FOUND)


async def test_malformed_id_returns_422(reader: httpx.AsyncClient) -> None:
    response = await reader.get("/releases/not-a-uuid")
    assert response.status_code == 422
    assert [detail["field"] for detail in response.json()["details"]] == ["release_id"]


async def test_trailing_slash_is_optional(reader: httpx.AsyncClient) -> None:
    (item,) = (await reader.get("/releases?limit=1")).json()
    for path in ("/releases", f"/releases/{item['id']}"):
        without, with_slash = await reader.get(path), await reader.get(f"{path}/")
        assert (without.status_code, with_slash.status_code) == (200, 200)
        assert without.content == with_slash.content
