"""The calls of the front end's pages in a browser, in their order, with the headers and the reading of its client."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx

from tests.application import ORIGIN
from tests.factories import Backend, insert


class Page:
    """The tab of a browser: axios, with the token of the storage on every call, public ones too."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.tokens: dict[str, str] = {}

    async def call(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        headers = {"Origin": ORIGIN, "Accept": "application/json, text/plain, */*"}
        if self.tokens:
            headers["Authorization"] = f"Bearer {self.tokens['access_token']}"
        response = await self.client.request(method, path, headers=headers, **more)
        assert response.status_code == status, (method, path, response.text)
        assert response.headers["access-control-allow-origin"] == ORIGIN
        return response.json() if response.content else None

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.call("GET", path, status)


async def test_pages_of_a_visitor_and_a_member(backend: Backend) -> None:
    word = uuid4().hex
    anime_id = await backend.anime(
        title=f"Series {word}", status="FINISHED", episode_count=3, thumbnail="https://e.org/t"
    )
    release_id = UUID(await insert(backend.rows, "releases", {"anime_id": UUID(anime_id), "title": "TV"}))
    airs_at = datetime.fromisoformat("2034-05-06T12:00Z")
    episodes = [
        await insert(
            backend.rows, "episodes", {"release_id": release_id, "number": n, "airs_at": airs_at + timedelta(n)}
        )
        for n in (1, 2, 3)
    ]
    number = uuid4().int % 10**8
    await backend.rows.execute(
        "INSERT INTO external_ids (anime_id, provider, external_id) VALUES ($1, 'myanimelist', $2)",
        *(UUID(anime_id), str(number)),
    )
    page = Page(backend.client)

    # Home, with the schedule of each day of the week: it asks for the day after the tab.
    home = await page.get("/anime?limit=20&offset=0")
    assert {"id", "title", "status", "type"} <= home[0].keys()
    found = []
    for day in range(7):
        date = airs_at.date() + timedelta(day)
        answer = await page.get(f"/api/schedule?date={date.month}/{date.day}/{date.year}")
        found += answer["data"]["scheduledAnimes"]
    assert [(row["name"], row["episode"]) for row in found if row["id"] == anime_id] == [
        (f"Series {word}", number) for number in (1, 2, 3)
    ]

    # The search page, opened by the filter button, and what a visitor types.
    assert len(await page.get('/search/anime?q=""&limit=20&offset=0')) > 0
    assert [row["id"] for row in await page.get(f'/search/anime?q="{word}"&limit=20&offset=0')] == [anime_id]

    # The anime, and watching it.
    assert (await page.get(f"/anime/{anime_id}"))["title"] == f"Series {word}"
    releases = [row for row in await page.get("/releases?limit=100&offset=0") if row["anime_id"] == anime_id]
    listed = await page.get(f"/episodes?release_id={releases[0]['id']}")
    assert [row["id"] for row in listed] == episodes
    for wanted in (episodes[0], anime_id):
        servers = (await page.get(f"/api/episode/servers?animeEpisodeId={wanted}"))["data"]
        assert (servers["sub"], servers["dub"], servers["raw"]) == ([], [], [])
        query = f"animeEpisodeId={servers['episodeId']}&server=1&category=sub"
        sources = (await page.get(f"/api/episode/sources?{query}"))["data"]
        assert (sources["sources"], sources["malID"]) == ([], number)

    # A member: registers, marks favourites by both ids, refreshes, and imports a list.
    credentials = {"email": f"{uuid4()}@example.org", "password": "a long password"}
    await page.call("POST", "/auth/register", 201, json=credentials)
    page.tokens = await page.call("POST", "/auth/login", json=credentials)
    user = await page.get("/users/me")
    assert user["email"] == credentials["email"]
    for key in ("id", "anime_id"):
        favorite = await page.call("POST", "/favorites", 201, json={"anime_id": anime_id})
        assert [row["anime_id"] for row in await page.get("/favorites?limit=20&offset=0")] == [anime_id]
        await page.call("DELETE", f"/favorites/{favorite[key]}", 204)
        assert await page.get("/favorites?limit=20&offset=0") == []
    page.tokens = await page.call("POST", "/auth/refresh", json={"refresh_token": page.tokens["refresh_token"]})
    entry = {"media": {"id": 1, "idMal": number, "bannerImage": None, "title": {"english": None}}}
    lists = [{"name": "Completed", "status": "COMPLETED", "entries": [entry | {"status": "COMPLETED"}]}]
    imported = (await page.call("POST", "/api/import/anilist", json={"animes": lists}))["animes"]
    assert imported == [
        {"id": anime_id, "title": f"Series {word}", "thumbnail": "https://e.org/t", "status": "completed"}
    ]
    for row in imported:
        await page.call("POST", "/favorites", 201, json={"anime_id": row["id"]})
    assert [(row["anime_id"], row["status"]) for row in await page.get("/library")] == [(anime_id, "completed")]
    assert await page.get("/watch/continue") == []

    # With a token that has ended the public calls still answer.
    page.tokens["access_token"] = "x"
    for path in ("/api/schedule", f"/api/episode/servers?animeEpisodeId={anime_id}", "/anime", f"/anime/{anime_id}"):
        await page.get(path)
    await page.call("POST", "/api/import/anilist", json={"animes": lists})
    await page.get("/users/me", 401)
