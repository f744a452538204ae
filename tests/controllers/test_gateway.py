"""The paths under /api, and what the front end needs of other paths."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.application import client_of
from tests.assertions import assert_error
from tests.factories import Backend, Viewer, insert
from tests.values import BAD_IDS, UNKNOWN_ID

NOTHING: dict[str, Any] = {"data": {"scheduledAnimes": []}}


@pytest.fixture
async def guest(backend: Backend) -> httpx.AsyncClient:
    return backend.client


async def read(client: httpx.AsyncClient, path: str, **headers: str) -> Any:
    response = await client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


async def airing(backend: Backend, title: str, *times: str, **columns: Any) -> str:
    """Insert an anime whose episodes from 1 air at these times."""
    anime_id = await backend.anime(title=title, **columns)
    release_id = UUID(await insert(backend.rows, "releases", {"anime_id": UUID(anime_id), "title": "TV"}))
    for number, at in enumerate(times, 1):
        row = {"release_id": release_id, "number": number, "airs_at": datetime.fromisoformat(at)}
        await insert(backend.rows, "episodes", row)
    return anime_id


async def test_schedule_has_the_day_before_its_date(backend: Backend, guest: httpx.AsyncClient) -> None:
    times = [f"2031-03-01T{hour}Z" for hour in ("23:59:59.999", "12:00", "00:00")]
    first = await airing(backend, "B", "2031-02-28T23:59:59Z", *times, "2031-03-02T00:00Z", title_original="ビー")
    others = [await airing(backend, title, "2031-03-01T12:30Z") for title in ("c", "D")]
    for date in ("2031-03-02", "3/2/2031", "03/02/2031"):
        path = f"/api/schedule?date={date}"
        rows = (await read(guest, path, Authorization="Bearer x"))["data"]["scheduledAnimes"]
        assert [row["id"] for row in rows] == [first, *others]
        at = datetime(2031, 3, 1, tzinfo=UTC)
        assert rows[0] == {
            "id": first, "name": "B", "jname": "ビー", "time": "00:00", "episode": 4,
            "airingTimestamp": at.timestamp() * 1000, "secondsUntilAiring": rows[0]["secondsUntilAiring"],
        }  # fmt: skip
        assert abs(rows[0]["secondsUntilAiring"] - (at - datetime.now(UTC)).total_seconds()) < 60
        assert rows[1]["jname"] == "c"


async def test_schedule_is_that_of_a_time_zone(backend: Backend, guest: httpx.AsyncClient) -> None:
    await airing(backend, "A", "2032-03-01T20:00Z")
    for query, time in (("", "20:00"), ("&tz=Asia/Tokyo", None), ("&tz=America/Sao_Paulo", "17:00")):
        rows = (await read(guest, f"/api/schedule?date=2032-03-02{query}"))["data"]["scheduledAnimes"]
        assert [row["time"] for row in rows] == ([time] if time else [])
    assert len((await read(guest, "/api/schedule?date=2032-03-03&tz=Asia/Tokyo"))["data"]["scheduledAnimes"]) == 1
    async with client_of(backend.url, schedule_timezone="Asia/Tokyo") as client:
        assert len((await read(client, "/api/schedule?date=2032-03-03"))["data"]["scheduledAnimes"]) == 1


async def test_schedule_without_a_date_is_that_of_today(backend: Backend, guest: httpx.AsyncClient) -> None:
    assert await read(guest, "/api/schedule") == NOTHING
    await airing(backend, "A", datetime.now(UTC).isoformat())
    assert len((await read(guest, "/api/schedule"))["data"]["scheduledAnimes"]) == 1
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
    assert (await read(guest, f"/api/schedule?date={tomorrow}"))["data"]["scheduledAnimes"]


async def test_schedule_keeps_its_tag_while_time_passes(backend: Backend, guest: httpx.AsyncClient) -> None:
    anime_id = await airing(backend, "A", "2033-01-01T00:00Z")
    path = "/api/schedule?date=2033-01-02"
    first = await guest.get(path)
    assert first.headers["cache-control"] == "public, max-age=60"
    await asyncio.sleep(1)
    again = await guest.get(path)
    assert again.json() != first.json()
    assert again.headers["etag"] == first.headers["etag"]
    tag = {"If-None-Match": first.headers["etag"]}
    assert (await guest.get(path, headers=tag)).status_code == 304
    await backend.rows.execute("UPDATE anime SET title = 'C' WHERE id = $1", UUID(anime_id))
    assert (await guest.get(path, headers=tag)).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "date=x",
        "date=",
        "date=2031-02-30",
        "date=13/1/2031",
        "date=1/1/31x",
        "tz=Mars",
        "tz=",
        "date=0001-01-01",
        "date=0001-01-02&tz=Asia/Tokyo",
    ],
)
async def test_bad_day_is_422(guest: httpx.AsyncClient, query: str) -> None:
    assert_error(await guest.get(f"/api/schedule?{query}"), 422)


async def test_episode_has_neither_servers_nor_sources(backend: Backend, guest: httpx.AsyncClient) -> None:
    anime_id = await known(backend, "A", myanimelist="1535")
    episodes = [await backend.episode(anime_id, number) for number in (1, 3, 2)]
    for wanted, number in ((episodes[0], 0), (episodes[1], 1), (anime_id, 1)):
        for token in ({}, {"Authorization": "Bearer x"}):
            servers = await read(guest, f"/api/episode/servers?animeEpisodeId={wanted}", **token)
            expected = {"episodeId": episodes[number], "episodeNo": "13"[number], "sub": [], "dub": [], "raw": []}
            assert servers == {"data": expected}
            path = f"/api/episode/sources?animeEpisodeId={wanted}&server=hd-1&category=dub"
            assert await read(guest, path, **token) == {
                "data": {
                    "headers": {"Referer": ""}, "tracks": [], "intro": {"start": 0, "end": 0},
                    "outro": {"start": 0, "end": 0}, "sources": [], "anilistID": 0, "malID": 1535,
                }
            }  # fmt: skip
    response = await guest.get(f"/api/episode/servers?animeEpisodeId={anime_id}")
    assert response.headers["cache-control"] == "public, no-cache"
    tag = {"If-None-Match": response.headers["etag"]}
    assert (await guest.get(f"/api/episode/servers?animeEpisodeId={anime_id}", headers=tag)).status_code == 304


async def test_ids_that_are_no_numbers_are_0(backend: Backend, guest: httpx.AsyncClient) -> None:
    anime_id = await known(backend, "A", anilist="x-1", myanimelist="²")
    episode = await backend.episode(anime_id)
    data = (await read(guest, f"/api/episode/sources?animeEpisodeId={episode}"))["data"]
    assert (data["anilistID"], data["malID"]) == (0, 0)


async def test_merged_anime_has_the_last_episode_of_the_other(backend: Backend, guest: httpx.AsyncClient) -> None:
    editor = await backend.viewer("editor")
    old, new = await backend.animes(2)
    episode = await backend.episode(new, 7)
    await editor.write("POST", f"/anime/{old}/merge", {"into": new})
    servers = await read(guest, f"/api/episode/servers?animeEpisodeId={old}")
    assert (servers["data"]["episodeId"], servers["data"]["episodeNo"]) == (episode, "7")


@pytest.mark.parametrize("path", ["/api/episode/servers", "/api/episode/sources"])
async def test_unknown_episode_is_404(backend: Backend, guest: httpx.AsyncClient, path: str) -> None:
    for unknown in (UNKNOWN_ID, await backend.anime()):
        assert_error(await guest.get(f"{path}?animeEpisodeId={unknown}"), 404, "Episode not found")
    for bad in BAD_IDS:
        assert_error(await guest.get(f"{path}?animeEpisodeId={bad}"), 422)
    assert_error(await guest.get(path), 422)
    assert_error(await guest.get(f"/api/episode/sources?animeEpisodeId={UNKNOWN_ID}&category=x"), 422)


def media(title: str | None = None, **ids: int) -> dict[str, Any]:
    return {"media": {**ids, "bannerImage": None, "title": {"english": title}}}


async def known(backend: Backend, title: str, **ids: str) -> str:
    anime_id = await backend.anime(title=title, thumbnail=f"https://example.org/{title}")
    for provider, value in ids.items():
        await backend.rows.execute(
            "INSERT INTO external_ids (anime_id, provider, external_id) VALUES ($1, $2, $3)",
            *(UUID(anime_id), provider, value),
        )
    return anime_id


async def test_anilist_import_finds_anime(backend: Backend, guest: httpx.AsyncClient) -> None:
    number = uuid4().int % 10**8
    by_mal = await known(backend, "By MAL", myanimelist=str(number))
    by_anilist = await known(backend, "By AniList", anilist=str(number))
    word = uuid4().hex
    by_title = await known(backend, f"The {word}")
    for _ in range(2):
        await known(backend, f"Two {word}")
    lists = [
        {"name": "Watching", "status": "REPEATING", "entries": [media(idMal=number, id=number, x=1), None, {}]},
        {"status": "PLANNING", "entries": [media(id=number), media(f"THE {word}!"), media(idMal=number)]},
        {"name": "Own", "status": None, "entries": [media(f"Two {word}"), media("?"), {"media": None}]},
        {"name": None, "entries": None},
    ]
    response = await guest.post("/api/import/anilist", json={"animes": lists}, headers={"Authorization": "Bearer x"})
    assert response.status_code == 200
    assert [(each["id"], each["status"]) for each in response.json()["animes"]] == [
        (by_mal, "watching"),
        (by_anilist, "plan to watch"),
        (by_title, "plan to watch"),
    ]
    assert response.json()["animes"][0]["thumbnail"] == "https://example.org/By MAL"


async def test_status_is_that_of_the_first_list_with_one(backend: Backend, guest: httpx.AsyncClient) -> None:
    numbers = [uuid4().int % 10**8 for _ in range(2)]
    first, second = [await known(backend, f"Anime {each}", myanimelist=str(each)) for each in numbers]
    own = {"name": "Own", "status": None, "entries": [media(idMal=numbers[0])]}
    others = [
        {"status": status, "entries": [media(idMal=each) for each in numbers[::-1]]}
        for status in ("COMPLETED", "CURRENT")
    ]
    response = await guest.post("/api/import/anilist", json={"animes": [own, *others]})
    found = [(each["id"], each["status"]) for each in response.json()["animes"]]
    assert found == [(first, "completed"), (second, "completed")]


async def test_anilist_import_of_a_viewer_fills_the_library(backend: Backend, viewer: Viewer) -> None:
    numbers = [uuid4().int % 10**8 for _ in range(3)]
    new, kept, _ = [await known(backend, f"Anime {each}", myanimelist=str(each)) for each in numbers]
    await viewer.write("PUT", f"/library/{kept}", {"status": "dropped"})
    lists = [{"status": "CURRENT", "entries": [{**media(idMal=each), "status": "CURRENT"} for each in numbers[:2]]}]
    answer = await viewer.write("POST", "/api/import/anilist", {"animes": lists})
    assert [each["id"] for each in answer["animes"]] == [new, kept]
    entries = {each["anime_id"]: each["status"] for each in await viewer.read("/library")}
    assert entries == {new: "watching", kept: "dropped"}


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer x", "Basic eDp5", "Bearer \xff"])
async def test_anilist_import_takes_a_bad_token_for_none(
    backend: Backend, guest: httpx.AsyncClient, authorization: str
) -> None:
    number = uuid4().int % 10**8
    anime_id = await known(backend, "A", myanimelist=str(number))
    body = {"animes": [{"status": "PAUSED", "entries": [media(idMal=number)]}]}
    headers = {b"Authorization": authorization.encode("latin-1")}
    response = await guest.post("/api/import/anilist", json=body, headers=headers)
    assert response.status_code == 200, response.text
    assert [(each["id"], each["status"]) for each in response.json()["animes"]] == [(anime_id, "on hold")]


@pytest.mark.slow
async def test_list_with_more_entries_than_any_is_413(viewer: Viewer) -> None:
    entry = {"media": {"idMal": 1}}
    body = {"animes": [{"status": "CURRENT", "entries": [entry] * 100_001}]}
    response = await viewer.request("POST", "/api/import/anilist", json=body)
    assert (response.status_code, response.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert await viewer.read("/library") == []


async def test_bad_import_is_refused(backend: Backend, guest: httpx.AsyncClient) -> None:
    path = "/api/import/anilist"
    nothing = [{"entries": [media("No such anime", idMal=2**31 - 1)]}]
    assert (await guest.post(path, json={"animes": nothing})).json() == {"animes": None}
    assert_error(await guest.post(path, json={"animes": []}), 400)
    assert_error(await guest.post("/api/import/x", json={"animes": nothing}), 404)
    bodies: list[Any] = [{}, [], {"animes": None}, {"animes": 1}, {"animes": [1]}, {"animes": [{"entries": 1}]}]
    for body in bodies:
        assert_error(await guest.post(path, json=body), 422)
    assert (await guest.post(path, content=b"[" + b"1," * 2_700_000 + b"1]")).status_code == 413


async def test_quotation_marks_around_nothing_find_all(backend: Backend, guest: httpx.AsyncClient) -> None:
    status = uuid4().hex
    for score in (2, 9, 5):
        await backend.anime(score=score, status=status)
    for marks in ('""', '"', "“”", "„“", "«»", ' " " '):
        assert [row["score"] for row in await search(guest, q=marks, status=status)] == [9, 5, 2]
        assert [row["score"] for row in await search(guest, q=marks, status=status, sort="score")] == [2, 5, 9]
    response = await guest.get("/search/anime", params={"q": '""', "limit": "2", "total": "true"})
    assert int(response.headers["x-total-count"]) >= 3
    assert len(response.json()) == 2
    assert 'rel="next"' in response.headers["link"]


async def test_quoted_title_is_found(backend: Backend, guest: httpx.AsyncClient) -> None:
    word = uuid4().hex
    anime_id = await backend.anime(title=f"Rainy {word}")
    for quoted in (f'"rainy {word}"', f"“Rainy {word}”", f'"{word}', f' "{word}" '):
        assert [row["id"] for row in await search(guest, q=quoted)] == [anime_id]
    for short in ('"a"', "a", "", " "):
        assert_error(await guest.get("/search/anime", params={"q": short}), 400)


async def search(client: httpx.AsyncClient, **query: str) -> Any:
    response = await client.get("/search/anime", params=query)
    assert response.status_code == 200, response.text
    return response.json()
