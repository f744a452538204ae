"""A crowded database for the tests of cursors: its rows, its readers, and the walk over a list."""

from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx

from tests.assertions import read_pages
from tests.factories import Backend, Viewer, insert

EPISODE_NUMBERS = count(1)  # a release has each number once
LIMITS = (1, 2, 3, 7)
SORTS = ("", "created_at", "-created_at", "title", "-title", "year", "-year", "score", "-score")
MOMENTS = [datetime(2024, 5, 6, 7, 8, 9, microsecond, tzinfo=UTC) for microsecond in (0, 123456, 123457)]
EARLIEST, FAR_AHEAD = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
SHAPES = {
    "time": (
        *("/anime", "/releases", "/favorites", "/watch/progress", "/watch/continue", "/views", "/library"),
        *("/collections", "/users"),
    ),
    "text": ("/anime?sort=title", "/anime?sort=-title", "/search/anime?q=ec&sort=title"),
    "year": ("/anime?sort=year", "/anime?sort=-year", "/anime?sort=year&type=TV"),
    "score": ("/anime?sort=score", "/anime?sort=-score", "/search/anime?q=eclair&sort=score"),
    "rank": ("/search/anime?q=ec", "/search/anime?q=eclair"),
    "position": ("/collections/{collection_id}/anime",),
}
EACH = [(shape, path) for shape, paths in SHAPES.items() for path in paths]


class Guest(Viewer):
    """A client without a token."""

    async def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.client.request(method, path, **more)


class Crowd(NamedTuple):
    """A database with many equal sort values, and its clients."""

    backend: Backend
    viewer: Viewer
    """An administrator with rows in every list."""
    guest: Guest
    names: dict[str, str]
    """The values of the path parameters."""

    def reader(self, path: str) -> Viewer:
        """Return the client that reads a list: the guest for public ones."""
        return self.guest if path.startswith(("/anime", "/releases", "/search")) else self.viewer


async def crowd_of(backend: Backend) -> Crowd:
    viewer = await backend.viewer()
    await backend.rows.execute("UPDATE users SET role = 'admin' WHERE id = $1", viewer.id)
    anime_id = await backend.anime(title="With releases", year=1980)
    release_id = await insert(backend.rows, "releases", {"anime_id": UUID(anime_id), "title": "With episodes"})
    own = {"user_id": viewer.id, "name": "With anime", "is_public": True, "created_at": EARLIEST}
    collection_id = await insert(backend.rows, "collections", own)
    names = {"anime_id": anime_id, "release_id": release_id, "collection_id": collection_id}
    return Crowd(backend, viewer, Guest(backend.client, viewer.id, ""), names)


async def add_one_of_all(crowd: Crowd, chosen: Random) -> None:
    """Add a row to each table, with values that many rows have."""
    rows = crowd.backend.rows

    def moment() -> datetime:
        return chosen.choice(MOMENTS)

    kind = chosen.choice(("TV", "TV", "MOVIE", "OVA"))
    is_known = kind != "OVA"
    anime_id = UUID(
        await insert(
            *(rows, "anime"),
            {
                "title": chosen.choice(("Éclair", "eclair", "ECLAIR [a]", "eclair_a", "Ho eclairs", "EC", "Жук", "🦊")),
                "synonyms": chosen.choice(([], [], ["The éclair"])),
                "type": kind,
                "status": chosen.choice(("FINISHED", "FINISHED", "ONGOING", None)),
                "season": chosen.choice(("FALL", "FALL", "SPRING", None)),
                "genres": chosen.choice((["drama", "comedy"], ["drama"], ["Comedy", "Drama"], [])),
                "year": chosen.choice((None, None, 1999, 2000, 2001)) if is_known else None,
                "score": chosen.choice((None, None, 8.1, 7 / 3, 9.0)) if is_known else None,
                "created_at": moment(),
            },
        )
    )
    of = UUID(crowd.names["anime_id"]) if chosen.random() < 0.5 else anime_id
    await insert(rows, "releases", {"anime_id": of, "title": "TV", "created_at": moment()})
    release_id = UUID(crowd.names["release_id"])
    episode_id = await insert(rows, "episodes", {"release_id": release_id, "number": next(EPISODE_NUMBERS)})
    user_id, name = uuid4(), uuid4().hex
    await insert(
        *(rows, "users"),
        {"id": user_id, "email": name, "username": name, "password_hash": "none", "created_at": moment()},
    )
    own: dict[str, Any] = {"user_id": crowd.viewer.id}
    await insert(rows, "favorites", own | {"anime_id": anime_id, "created_at": moment()})
    hidden = chosen.random() < 0.3
    progress = {"anime_id": anime_id, "episode": 1, "last_watched_at": moment(), "hidden": hidden}
    await insert(rows, "watch_progress", own | progress)
    status = chosen.choice(("watching", "watching", "on_hold", "completed"))
    await insert(rows, "library_entries", own | {"anime_id": anime_id, "status": status, "updated_at": moment()})
    await insert(rows, "views", own | {"episode_id": UUID(episode_id), "progress": 1, "last_viewed_at": moment()})
    for owner in (crowd.viewer.id, user_id):
        collection = {"name": "x", "is_public": chosen.random() < 0.6, "created_at": moment()}
        await insert(rows, "collections", {"user_id": owner, **collection})
    item = {"collection_id": UUID(crowd.names["collection_id"]), "anime_id": anime_id}
    await insert(rows, "collection_items", own | item | {"position": chosen.choice((0, 3, 4, 2**31 - 1))})


def asking(path: str, **query: Any) -> str:
    """Return the path with more query parameters."""
    return str(httpx.URL(path).copy_merge_params(query))


def next_of(response: httpx.Response) -> httpx.URL:
    """Return the URL of the next page."""
    link = response.headers["link"]
    return httpx.URL(link[1 : link.index(">")])


def cursor_at(response: httpx.Response) -> str:
    return next_of(response).params["cursor"]


async def check_walks(viewer: Viewer, path: str) -> list[str]:
    """Assert that pages of any length add up to the list and have its total; return its ids."""
    every = await viewer.read(asking(path, limit=100))
    assert len(every) < 100
    for limit in LIMITS:
        pages = await read_pages(viewer, asking(path, limit=limit, total="true"))
        assert [item for page in pages for item in page.json()] == every
        assert len(pages) == max(1, -(-len(every) // limit))
        assert {page.headers["x-total-count"] for page in pages} == {str(len(every))}
        assert not any({"offset"} & set(next_of(page).params) for page in pages[:-1])
    return [item["id"] for item in every]
