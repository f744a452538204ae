"""GET /anime and /anime/{anime_id}: fields, pages, filters, orders."""

import re
import unicodedata
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.application import Applications
from tests.assertions import assert_error, pages
from tests.databases import connect, execute
from tests.factories import add

Row = dict[str, Any]

LIST_FIELDS = {"id", "title", "year", "status", "type", "season", "episode_count", "poster", "thumbnail", "score"}
DETAIL_FIELDS = LIST_FIELDS | {
    *("title_original", "description", "synonyms", "genres", "studios", "duration_seconds", "external_ids"),
    *("created_at", "updated_at"),
}
NOT_FOUND = {"code": "NOT_FOUND", "message": "Anime not found", "details": None}
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
MOMENT = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


@pytest.fixture
async def database(module_database: URL) -> URL:
    await execute(module_database, "DELETE FROM anime")
    return module_database


@pytest.fixture
async def client(module_applications: Applications, database: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the application on an empty catalogue."""
    async with module_applications.client_of() as client:
        yield client


async def titles(client: httpx.AsyncClient, **query: Any) -> list[str]:
    response = await client.get("/anime", params={"limit": 100, **query})
    assert response.status_code == 200, response.text[:200]
    return [item["title"] for item in response.json()]


@pytest.fixture
async def sample(catalogue: URL) -> list[Row]:
    """The sample catalogue as it is in the database."""
    connection = await connect(catalogue)
    try:
        return [dict(row) for row in await connection.fetch("SELECT * FROM anime")]
    finally:
        await connection.close()


def plain(title: str) -> str:
    letters = unicodedata.normalize("NFKD", title)
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold()


async def test_list_is_an_array_of_items(reader: httpx.AsyncClient) -> None:
    response = await reader.get("/anime")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    items = response.json()
    assert len(items) == 20
    assert all(set(item) == LIST_FIELDS for item in items)
    assert items[0] == {
        "id": items[0]["id"], "title": "Death Note", "year": 2006, "status": "FINISHED", "type": "TV",
        "season": "FALL", "episode_count": 37, "poster": None, "thumbnail": None, "score": 8.71,
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/anime", "/releases"])
@pytest.mark.parametrize(
    ("query", "count"),
    [({"limit": 1}, 1), ({"limit": 100}, 60), ({"offset": 59}, 1), ({"offset": 60}, 0), ({"offset": 2**63 - 1}, 0)],
)
async def test_limit_and_offset_select_a_page(
    reader: httpx.AsyncClient, path: str, query: dict[str, int], count: int
) -> None:
    response = await reader.get(path, params=query)
    assert response.status_code == 200
    assert len(response.json()) == count
    assert ("link" in response.headers) is (query == {"limit": 1})


async def test_offset_skips_items(reader: httpx.AsyncClient) -> None:
    every = (await reader.get("/anime?limit=100")).json()
    assert (await reader.get("/anime?limit=7&offset=13")).json() == every[13:20]


async def test_list_is_newest_first(reader: httpx.AsyncClient, sample: list[Row]) -> None:
    sample.sort(key=lambda row: (row["created_at"], row["id"]), reverse=True)
    assert len({row["created_at"] for row in sample}) == 60
    ids = [item["id"] for item in (await reader.get("/anime?limit=100")).json()]
    assert ids == [str(row["id"]) for row in sample]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/anime", {}),
        ("/anime", {"limit": "7"}),
        ("/anime", {"limit": "1", "type": "OVA"}),
        ("/anime", {"limit": "13", "sort": "-year"}),
        ("/anime", {"limit": "5", "genres": "Sci-Fi, ACTION"}),
        *(("/releases", query) for query in ({}, {"limit": "1"}, {"limit": "13"}, {"limit": "59"}, {"limit": "60"})),
    ],
)
async def test_pages_contain_every_row_once(reader: httpx.AsyncClient, path: str, query: dict[str, str]) -> None:
    query_with_total = {**query, "total": "true"}
    every = (await reader.get(path, params={**query, "limit": 100})).json()
    seen, count = [], 0
    async for page in pages(reader, path, query_with_total):
        seen += page.json()
        count += 1
        assert page.headers["x-total-count"] == str(len(every))
        if link := page.headers.get("link"):
            target = httpx.URL(link[1 : link.index(">")])
            assert (target.host, target.path) == ("", path)
            parameters = dict(target.params)
            assert parameters.pop("cursor")
            assert parameters == query_with_total
    assert seen == every
    assert len({item["id"] for item in seen}) == len(seen) >= 2
    assert count == -(-len(every) // int(query.get("limit", 20)))


async def test_order_of_equal_rows_is_the_same_on_every_page(database: URL, client: httpx.AsyncClient) -> None:
    ids = await add(database, "anime", *[{"title": "Same", "created_at": MOMENT} for _ in range(9)])
    for sort in ("", "title", "-title", "year", "-year", "score", "-score", "created_at", "-created_at"):
        query = {"limit": 2, "sort": sort} if sort else {"limit": 2}
        seen = [item["id"] async for page in pages(client, "/anime", query) for item in page.json()]
        assert sorted(seen) == sorted(ids), sort


@pytest.mark.parametrize(("limit", "more"), [(59, True), (60, False), (61, False)])
async def test_last_page_has_no_link(reader: httpx.AsyncClient, limit: int, more: bool) -> None:
    response = await reader.get("/anime", params={"limit": limit})
    assert ("link" in response.headers) is more


async def test_total_is_returned_on_request(reader: httpx.AsyncClient) -> None:
    assert (await reader.get("/anime?total=true&limit=1")).headers["x-total-count"] == "60"
    assert (await reader.get("/anime?total=true&offset=1000")).headers["x-total-count"] == "60"
    for query in ("", "?total=false"):
        assert "x-total-count" not in (await reader.get(f"/anime{query}")).headers


async def test_empty_catalogue_returns_an_empty_list(client: httpx.AsyncClient) -> None:
    response = await client.get("/anime?total=true")
    assert (response.status_code, response.json()) == (200, [])
    assert response.headers["x-total-count"] == "0"
    assert "link" not in response.headers


def passes(row: Row, query: dict[str, Any]) -> bool:
    genres = {genre.strip().lower() for genre in query.get("genres", "").split(",")} - {""}
    rest = [name for name in ("type", "status", "year", "season") if name in query]
    return genres <= set(row["genres"]) and all(str(row[name]).lower() == str(query[name]).lower() for name in rest)


@pytest.mark.parametrize(
    "query",
    [
        *({"type": it} for it in ("TV", "MOVIE", "OVA", "ONA", "SPECIAL")),
        *({"season": it} for it in ("WINTER", "SPRING", "SUMMER", "FALL")),
        *({"status": it} for it in ("ONGOING", "ongoing", "FinisheD")),
        {"year": 2011},
        *({"genres": it} for it in ("drama", "Drama, SCI-FI ,,", "slice of life,comedy,school", "comedy,comedy")),
        {"type": "TV", "status": "finished", "year": 2011, "season": "SPRING", "genres": "SCI-FI"},
        {"type": "MOVIE", "genres": "fantasy", "sort": "title"},
    ],
    ids=str,
)
async def test_filters_return_matching_anime(
    reader: httpx.AsyncClient, sample: list[Row], query: dict[str, Any]
) -> None:
    expected = {row["title"] for row in sample if passes(row, query)}
    assert 0 < len(expected) < 60
    assert set(await titles(reader, **query)) == expected


@pytest.mark.parametrize(
    "query", [{"type": "UNKNOWN"}, {"year": 1900}, {"status": "nope"}, {"status": ""}, {"genres": "drama,nope"}]
)
async def test_filters_without_match_return_an_empty_list(reader: httpx.AsyncClient, query: dict[str, Any]) -> None:
    assert await titles(reader, **query) == []


async def test_genres_match_in_any_case(database: URL, client: httpx.AsyncClient) -> None:
    await add(database, "anime", {"title": "Edited", "genres": ["Action", "Sci-Fi"]})
    assert await titles(client, genres="Action") == ["Edited"]
    assert await titles(client, genres="sci-fi,ACTION") == ["Edited"]


@pytest.mark.parametrize("field", ["created_at", "title", "year", "score"])
async def test_sort_orders_the_list(reader: httpx.AsyncClient, sample: list[Row], field: str) -> None:
    expected = [plain(row[field]) if field == "title" else row[field] for row in sample]
    by_title = {row["title"]: row[field] for row in sample}
    for sort, reverse in ((field, False), (f"-{field}", True)):
        found = [plain(title) if field == "title" else by_title[title] for title in await titles(reader, sort=sort)]
        assert found == sorted(expected, reverse=reverse)


@pytest.mark.parametrize("field", ["year", "score"])
async def test_unknown_values_are_last_in_both_directions(database: URL, client: httpx.AsyncClient, field: str) -> None:
    await add(database, "anime", *[{"title": f"{value}", field: value} for value in (3, None, 9, 1, None)])
    assert await titles(client, sort=field) == ["1", "3", "9", "None", "None"]
    assert await titles(client, sort=f"-{field}") == ["9", "3", "1", "None", "None"]


async def test_titles_are_sorted_without_case_and_accents(database: URL, client: httpx.AsyncClient) -> None:
    ordered = ["alpha", "\uff22\uff25\uff34\uff21", "eclair", "Éclair 2", "Zeta", "Ежи", "ёжик", "ЕЛЬ", "жук", "アキラ"]
    await add(database, "anime", *[{"title": title} for title in reversed(ordered)])
    assert await titles(client, sort="title") == ordered
    assert await titles(client, sort="-title") == ordered[::-1]


async def test_detail_has_all_fields(reader: httpx.AsyncClient, sample: list[Row]) -> None:
    row = next(row for row in sample if row["title"] == "Death Note")
    response = await reader.get(f"/anime/{row['id']}")
    assert response.status_code == 200
    body = response.json()
    assert set(body) == DETAIL_FIELDS
    for field in ("created_at", "updated_at"):
        assert UTC_TIME.fullmatch(body[field])
        assert datetime.fromisoformat(body.pop(field)) == row[field]
    assert body == {
        "id": str(row["id"]), "title": "Death Note", "title_original": None, "description": None, "year": 2006,
        "status": "FINISHED", "type": "TV", "season": "FALL", "episode_count": 37, "duration_seconds": 1380,
        "poster": None, "thumbnail": None, "score": 8.71, "studios": ["madhouse"],
        "synonyms": ["デスノート", "DN", "Тетрадь смерти"],
        "genres": ["mystery", "psychological", "shounen", "supernatural", "thriller"],
        "external_ids": {"anilist": "1535", "myanimelist": "1535"},
    }  # fmt: skip


async def test_anime_with_a_title_only_is_returned(database: URL, client: httpx.AsyncClient) -> None:
    (anime_id,) = await add(database, "anime", {"title": "From before", "created_at": MOMENT - timedelta(days=900)})
    (item,) = (await client.get("/anime")).json()
    nothing = dict.fromkeys(LIST_FIELDS) | {"id": anime_id, "title": "From before", "type": "UNKNOWN"}
    assert item == nothing
    body = (await client.get(f"/anime/{anime_id}")).json()
    assert UTC_TIME.fullmatch(body.pop("updated_at"))
    assert body == {
        **nothing,
        **dict.fromkeys(("title_original", "description", "duration_seconds")),
        "synonyms": [], "genres": [], "studios": [], "external_ids": {}, "created_at": "2021-11-18T07:08:09.123456Z",
    }  # fmt: skip


async def test_anime_with_extreme_values_is_returned(database: URL, client: httpx.AsyncClient) -> None:
    known = {
        "title": "T" * 255, "title_original": "原題", "description": 'Текст\n"with" \\ 😀', "status": "x" * 64,
        "year": 1, "type": "TV", "season": "WINTER", "episode_count": 2**31 - 1, "duration_seconds": 1, "score": 9.999,
        "poster": "https://a.example/p.jpg", "thumbnail": "https://a.example/t.jpg",
        "synonyms": ["b", "a"], "genres": ["y", "x"], "studios": ["s"],
    }  # fmt: skip
    (anime_id,) = await add(database, "anime", known)
    connection = await connect(database)
    await connection.executemany(
        "INSERT INTO external_ids (provider, external_id, anime_id) VALUES ($1, $2, $3)",
        [("anilist", "10", UUID(anime_id)), ("anilist", "9", UUID(anime_id)), ("kitsu", "7", UUID(anime_id))],
    )
    await connection.close()
    body = (await client.get(f"/anime/{anime_id}")).json()
    assert {name: body[name] for name in known} == known
    assert body["external_ids"] == {"anilist": "9", "kitsu": "7"}


async def test_unknown_anime_returns_404(reader: httpx.AsyncClient) -> None:
    for path in (f"/anime/{uuid4()}", f"/anime/{uuid4()}/", f"/anime/{UUID(int=0)}"):
        response = await reader.get(path)
        assert (response.status_code, response.json()) == (404, NOT_FOUND)


async def test_trailing_slash_is_optional(reader: httpx.AsyncClient) -> None:
    (item,) = (await reader.get("/anime?limit=1")).json()
    for path in ("/anime", f"/anime/{item['id']}"):
        without, with_slash = await reader.get(path), await reader.get(f"{path}/")
        assert (without.status_code, with_slash.status_code) == (200, 200)
        assert without.content == with_slash.content


async def test_external_id_finds_its_anime(reader: httpx.AsyncClient) -> None:
    query = {"source": "myanimelist", "external_id": "1535"}
    assert await titles(reader, **query) == await titles(reader, **query, type="TV", sort="title") == ["Death Note"]
    assert await titles(reader, **query, type="MOVIE") == []
    assert await titles(reader, source="myanimelist", external_id="x' OR true --") == []
    assert await titles(reader, source="simkl", external_id="1535") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(
            ("source=imdb&external_id=1", "source"),
            ("source=null&external_id=1", "source"),
            ("source=anidb", "external_id"),
        ),
        *(("external_id=1", "source"), ("source=anidb&external_id=", "external_id")),
        (f"source=anidb&external_id={'1' * 1001}", "external_id"),
    ],
)
async def test_wrong_external_id_is_refused(reader: httpx.AsyncClient, query: str, field: str) -> None:
    response = await reader.get(f"/anime?{query}")
    assert_error(response, 422)
    assert [detail["field"] for detail in response.json()["details"]] == [field]
