"""GET /genres, /studios and /seasons: the values that exist, with counts."""

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.factories import add

ROWS = [
    {"title": "A", "genres": ["Drama", "comedy", "drama"], "studios": ["Madhouse"], "year": 2001, "season": "FALL"},
    {"title": "B", "genres": ["drama"], "studios": ["madhouse", "bones"], "year": 2001, "season": "WINTER"},
    {"title": "C", "genres": ["action"], "year": 2003, "season": "SPRING"},
    {"title": "D", "year": 2001, "season": "FALL"},
    {"title": "E", "year": 2002},
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/genres", [("drama", 2), ("action", 1), ("comedy", 1)]),
        ("/studios", [("madhouse", 2), ("bones", 1)]),
        ("/seasons", [(2003, "SPRING", 1), (2001, "FALL", 2), (2001, "WINTER", 1)]),
    ],
)
async def test_values_are_counted(
    database: URL, client: httpx.AsyncClient, path: str, expected: list[tuple[object, ...]]
) -> None:
    assert (await client.get(path)).json() == []
    await add(database, "anime", *ROWS)
    response = await client.get(f"{path}/")
    assert [tuple(each.values()) for each in response.json()] == expected
    assert list(response.json()[0]) == (["year", "season", "count"] if path == "/seasons" else ["name", "count"])


async def test_counts_equal_those_of_the_filters(reader: httpx.AsyncClient) -> None:
    for genre in (await reader.get("/genres")).json():
        filtered = await reader.get("/anime", params={"genres": genre["name"], "total": "true", "limit": 1})
        assert filtered.headers["x-total-count"] == str(genre["count"])
    for season in (await reader.get("/seasons")).json():
        query = {"year": season["year"], "season": season["season"], "total": "true", "limit": 1}
        assert (await reader.get("/anime", params=query)).headers["x-total-count"] == str(season["count"])
