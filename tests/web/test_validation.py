"""Requests with several errors, and with names that the service does not know."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.assertions import assert_error
from tests.factories import Backend, Viewer
from tests.values import UNKNOWN_ID


def fields(response: httpx.Response) -> set[str]:
    assert_error(response, 422)
    details = response.json()["details"]
    names = {detail["field"] for detail in details}
    assert len(names) == len(details), details
    return names


@pytest.mark.parametrize("path", ["/anime?mal_id=1535", "/search/anime?q=death&kind=TV", "/releases?anime=x"])
async def test_unknown_filter_is_422_with_its_name(reader: httpx.AsyncClient, path: str) -> None:
    unknown = path.rpartition("?")[2].rpartition("&")[2].partition("=")[0]
    assert unknown in fields(await reader.get(path))
    assert fields(await reader.get(f"{path}&limit=20&_=3")) >= {unknown}


async def test_unknown_filter_of_the_library_is_422(viewer: Viewer) -> None:
    assert fields(await viewer.request("GET", "/library?state=watching")) == {"state"}


async def test_unknown_parameter_with_underscore_or_without_filters_is_ignored(viewer: Viewer) -> None:
    for path in ("/anime?_=1&_mal_id=2", "/library?_=1", "/favorites?page=2", "/watch/continue?page=2"):
        assert (await viewer.request("GET", path)).status_code == 200, path
    # The episodes of a release are all in one response, whatever page a client asks for.
    assert_error(await viewer.request("GET", f"/episodes?limit=100&release_id={UNKNOWN_ID}"), 404)


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("limit=0&type=tv7&source=x&external_id=1", {"limit", "type", "source"}),
        ("type=null&season=null&limit=0", {"type", "season", "limit"}),
        ("mal_id=1&limit=0&year=x", {"mal_id", "limit", "year"}),
    ],
)
async def test_all_wrong_parameters_are_named(reader: httpx.AsyncClient, query: str, wrong: set[str]) -> None:
    assert fields(await reader.get(f"/anime?{query}")) == wrong


async def test_missing_parameter_is_named(reader: httpx.AsyncClient) -> None:
    assert fields(await reader.get("/releases?anime_id=x&limit=0")) == {"anime_id", "limit"}
    assert fields(await reader.get("/episodes?limit=100")) == {"release_id"}


BODIES: list[tuple[str, str, Any, set[str]]] = [
    ("PUT", "/library/{id}", {"status": "seen", "score": 11, "notes": 3}, {"status", "score", "notes"}),
    ("PUT", "/library/{id}", {"score": 8, "scores": 8}, {"status", "scores"}),
    ("PUT", "/library/x", {"status": "seen"}, {"anime_id", "status"}),
    ("POST", "/watch/progress", {"episode": "x", "position_seconds": "y"}, {"anime_id", "episode", "position_seconds"}),
    ("POST", "/views", {"progress": -1, "id": 1}, {"episode_id", "progress", "id"}),
    ("POST", "/collections", {"title": "Mine"}, {"name", "title"}),
    ("POST", "/auth/password", {"password": "x"}, {"current_password", "new_password", "password"}),
    ("DELETE", "/users/me", {"pass": "x"}, {"password", "pass"}),
    ("POST", "/auth/register", {"email": 1}, {"email", "password"}),
    ("POST", "/auth/register", {"email": "no address", "password": "short"}, {"email", "password"}),
]


@pytest.mark.parametrize(("method", "path", "body", "wrong"), BODIES)
async def test_all_wrong_fields_of_a_body_are_named(
    viewer: Viewer, method: str, path: str, body: Any, wrong: set[str]
) -> None:
    assert fields(await viewer.request(method, path.format(id=uuid4()), json=body)) == wrong


async def test_unknown_field_with_underscore_is_ignored(viewer: Viewer) -> None:
    response = await viewer.request("POST", "/collections", json={"name": "Mine", "_csrf": "x", "_": None})
    assert response.status_code == 201


async def test_paths_of_the_first_contract_ignore_unknown_fields(viewer: Viewer, backend: Backend) -> None:
    body = {"anime_id": await backend.anime(), "title": "x"}
    assert (await viewer.request("POST", "/favorites", json=body)).status_code == 201
    progress = {**body, "episode": 1, "position_seconds": 1}
    assert (await viewer.request("POST", "/watch/progress", json=progress)).status_code == 200
    assert (await viewer.request("PATCH", "/users/me", json={"theme": "dark"})).status_code == 200


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("type=tv&season=Fall", "type=TV&season=FALL"),
        ("sort=-SCORE&status=finished", "sort=-score&status=FINISHED"),
        ("genres=Mystery", "genres=mystery"),
        ("source=MyAnimeList&external_id=1535", "source=myanimelist&external_id=1535"),
    ],
)
async def test_filters_take_any_case(reader: httpx.AsyncClient, query: str, same: str) -> None:
    first, second = await reader.get(f"/anime?{query}"), await reader.get(f"/anime?{same}")
    assert first.status_code == 200
    assert first.json() == second.json() != []


async def test_library_status_takes_any_case(backend: Backend, viewer: Viewer) -> None:
    entry = await viewer.write("PUT", f"/library/{await backend.anime()}", {"status": "on_hold"})
    assert await viewer.read("/library?status=On_Hold&_=ü%26") == [entry]
    assert await viewer.read("/library?status=DROPPED") == []
