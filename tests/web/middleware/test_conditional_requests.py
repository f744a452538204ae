"""ETag, Cache-Control and 304 of catalogue responses."""

import re
from uuid import UUID

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.databases import execute
from tests.factories import add

STRONG = re.compile(r'"[\x21\x23-\x7e]+"')
UNKNOWN_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"


@pytest.fixture
async def paths(reader: httpx.AsyncClient) -> list[str]:
    """Return a path of each read of the catalogue."""
    (anime,) = (await reader.get("/anime?limit=1")).json()
    (release,) = (await reader.get("/releases?limit=1")).json()
    return [
        *(
            "/anime",
            f"/anime/{anime['id']}",
            "/anime?type=OVA&total=true",
            "/search/anime?q=note",
            "/anime?offset=1000",
        ),
        *("/releases", f"/releases/{release['id']}", f"/episodes?release_id={release['id']}"),
    ]


async def test_unchanged_response_keeps_its_etag(reader: httpx.AsyncClient, paths: list[str]) -> None:
    tags = {}
    for path in paths:
        first, second = await reader.get(path), await reader.get(path)
        assert STRONG.fullmatch(first.headers["etag"])
        assert first.headers["etag"] == second.headers["etag"]
        assert first.headers["cache-control"] == "public, no-cache"
        tags[first.headers["etag"]] = path
    assert len(tags) == len(paths)


async def test_matching_if_none_match_gets_304(reader: httpx.AsyncClient, paths: list[str]) -> None:
    for path in paths:
        full = await reader.get(path)
        etag = full.headers["etag"]
        for known in (etag, f"W/{etag}", "*", f'"x", {etag}', f'{etag},"x"', f'W/"x" , W/{etag} ,"y"', f'"a,b",{etag}'):
            response = await reader.get(path, headers={"If-None-Match": known})
            assert response.status_code == 304, (path, known)
            assert response.content == b""
            assert response.headers["etag"] == etag
            assert response.headers["cache-control"] == full.headers["cache-control"]
            assert "content-type" not in response.headers
            assert response.headers.get("content-length", "0") == "0"
            assert "origin" in response.headers["vary"].lower()


async def test_other_if_none_match_gets_200(reader: httpx.AsyncClient, paths: list[str]) -> None:
    for path in paths:
        full = await reader.get(path)
        etag = full.headers["etag"]
        other = (await reader.get("/anime?limit=3")).headers["etag"]
        for known in (
            "",
            '"x"',
            'W/"x"',
            '"*"',
            other,
            etag.strip('"'),
            f"w/{etag}",
            etag[:-1],
            f"{etag}x",
            f"x{etag}",
        ):
            response = await reader.get(path, headers={"If-None-Match": known})
            assert response.status_code == 200, (path, known)
            assert response.content == full.content
            assert response.headers["etag"] == etag


async def test_second_if_none_match_header_is_read(reader: httpx.AsyncClient) -> None:
    etag = (await reader.get("/anime")).headers["etag"]
    response = await reader.get("/anime", headers=[("If-None-Match", '"x"'), ("If-None-Match", etag)])
    assert response.status_code == 304


async def test_trailing_slash_keeps_the_etag(reader: httpx.AsyncClient) -> None:
    etag = (await reader.get("/anime")).headers["etag"]
    assert (await reader.get("/anime/", headers={"If-None-Match": etag})).status_code == 304


async def test_changed_row_changes_the_etags_that_show_it(database: URL, client: httpx.AsyncClient) -> None:
    (anime,) = await add(database, "anime", {"title": "Before"})
    (release,) = await add(database, "releases", {"anime_id": UUID(anime), "title": "Before"})
    await add(database, "episodes", {"release_id": UUID(release), "number": 1})
    paths = [
        *("/anime", f"/anime/{anime}", "/search/anime?q=before", "/releases", f"/releases/{release}"),
        f"/episodes?release_id={release}",
    ]
    tags = {path: (await client.get(path)).headers["etag"] for path in paths}

    async def changed() -> set[str]:
        """Return the paths whose ETag has changed."""
        responses = {path: await client.get(path, headers={"If-None-Match": tags[path]}) for path in paths}
        assert all(
            (response.status_code == 200) is (response.headers["etag"] != tags[path])
            for path, response in responses.items()
        )
        tags.update({path: response.headers["etag"] for path, response in responses.items()})
        return {path for path, response in responses.items() if response.status_code == 200}

    assert await changed() == set()
    await execute(database, "UPDATE anime SET score = 5")
    assert await changed() == set(paths[:3])
    await execute(database, "UPDATE anime SET description = 'only the detail has it'")
    assert await changed() == {paths[1]}
    await execute(database, f"INSERT INTO external_ids VALUES ('anilist', '1', '{anime}')")
    assert await changed() == {paths[1]}
    await execute(database, "UPDATE releases SET year = 2000")
    assert await changed() == set(paths[3:5])
    await execute(database, "UPDATE episodes SET title = 'One'")
    assert await changed() == {paths[5]}
    await execute(database, "DELETE FROM episodes")
    assert await changed() == set(paths[3:])
    await execute(database, "UPDATE anime SET title = title")
    assert await changed() == set()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((f"/anime/{UNKNOWN_ID}", 404), (f"/releases/{UNKNOWN_ID}", 404), ("/nope", 404), ("/anime/x", 422)),
        *((f"/episodes?release_id={UNKNOWN_ID}", 404), ("/episodes", 422), ("/search/anime", 400)),
        *(("/anime?limit=0", 422), ("/releases/x", 422)),
    ],
)
async def test_error_has_no_etag(reader: httpx.AsyncClient, path: str, status: int) -> None:
    for known in ("*", '"x"'):
        response = await reader.get(path, headers={"If-None-Match": known})
        assert response.status_code == status
        assert response.json()["details"] is None or status == 422
        assert "etag" not in response.headers
        assert "public" not in response.headers.get("cache-control", "")


async def test_health_is_not_stored(reader: httpx.AsyncClient) -> None:
    for path in ("/health", "/health/live", "/health/ready"):
        response = await reader.get(path, headers={"If-None-Match": "*"})
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers
