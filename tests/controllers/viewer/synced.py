"""The five lists with changes: how each gets, changes and loses a row; and a device that syncs them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from tests.assertions import read_pages
from tests.factories import Backend, Viewer

Row = dict[str, Any]
EARLIEST = "2000-01-01T00:00:00Z"


class Kind(NamedTuple):
    """A list."""

    path: str
    table: str
    make: Callable[[Backend, Viewer], Awaitable[None]]
    change: Callable[[Backend, Viewer, Row], Awaitable[None]]
    remove: Callable[[Backend, Viewer, Row], Awaitable[None]]
    columns: Callable[[Backend], Awaitable[Row]]
    """The required columns beside id and user, for a row that SQL inserts."""


async def add_favorite(backend: Backend, viewer: Viewer) -> None:
    await viewer.write("POST", "/favorites", {"anime_id": await backend.anime()}, 201)


async def add_favorite_again(backend: Backend, viewer: Viewer, row: Row) -> None:
    await remove_favorite(backend, viewer, row)
    await viewer.write("POST", "/favorites", {"anime_id": row["anime_id"]}, 201)


async def remove_favorite(_: Backend, viewer: Viewer, row: Row) -> None:
    await viewer.write("DELETE", f"/favorites/{row['anime_id']}", status=204)


async def add_progress(backend: Backend, viewer: Viewer) -> None:
    await watch_on(backend, viewer, {"anime_id": await backend.anime(), "episode": 0})


async def watch_on(_: Backend, viewer: Viewer, row: Row) -> None:
    body = {"anime_id": row["anime_id"], "episode": row["episode"] + 1, "position_seconds": 1}
    await viewer.write("POST", "/watch/progress", body)


async def remove_progress(backend: Backend, _: Viewer, row: Row) -> None:
    # The API has no such path, but an administrator of the database may delete rows.
    await backend.rows.execute("DELETE FROM watch_progress WHERE id = $1", UUID(row["id"]))


async def add_entry(backend: Backend, viewer: Viewer) -> None:
    await change_entry(backend, viewer, {"anime_id": await backend.anime()})


async def change_entry(_: Backend, viewer: Viewer, row: Row) -> None:
    await viewer.write("PUT", f"/library/{row['anime_id']}", {"status": "watching", "notes": str(uuid4())})


async def remove_entry(_: Backend, viewer: Viewer, row: Row) -> None:
    await viewer.write("DELETE", f"/library/{row['anime_id']}", status=204)


async def add_view(backend: Backend, viewer: Viewer) -> None:
    await see(backend, viewer, {"episode_id": await backend.episode(await backend.anime()), "progress": 0})


async def see(_: Backend, viewer: Viewer, row: Row) -> None:
    body = {"episode_id": row["episode_id"], "progress": row["progress"] + 1}
    await viewer.write("POST", "/views", body, 201)


async def remove_view(_: Backend, viewer: Viewer, row: Row) -> None:
    await viewer.write("DELETE", f"/views/{row['id']}", status=204)


async def add_collection(_: Backend, viewer: Viewer) -> None:
    await viewer.write("POST", "/collections", {"name": "x"}, 201)


async def add_to_collection(backend: Backend, viewer: Viewer, row: Row) -> None:
    await viewer.write("PUT", f"/collections/{row['id']}/anime/{await backend.anime()}", status=204)


async def remove_collection(_: Backend, viewer: Viewer, row: Row) -> None:
    await viewer.write("DELETE", f"/collections/{row['id']}", status=204)


async def with_anime(backend: Backend, **more: Any) -> Row:
    return {"anime_id": UUID(await backend.anime()), **more}


async def of_view(backend: Backend) -> Row:
    return {"episode_id": UUID(await backend.episode(await backend.anime())), "progress": 1}


async def of_collection(_: Backend) -> Row:
    return {"name": "x"}


KINDS = (
    Kind("/favorites", "favorites", add_favorite, add_favorite_again, remove_favorite, with_anime),
    Kind(
        *("/watch/progress", "watch_progress", add_progress, watch_on, remove_progress),
        lambda backend: with_anime(backend, episode=1, position_seconds=1),
    ),
    Kind(
        *("/library", "library_entries", add_entry, change_entry, remove_entry),
        lambda backend: with_anime(backend, status="watching"),
    ),
    Kind("/views", "views", add_view, see, remove_view, of_view),
    Kind("/collections", "collections", add_collection, add_to_collection, remove_collection, of_collection),
)


async def sync(viewer: Viewer, path: str, since: str, query: str = "&deleted=true") -> tuple[list[Row], str]:
    """Return all changes since a time, and the `updated_since` of the next sync."""
    pages = await read_pages(viewer, f"{path}?updated_since={since}{query}")
    (until,) = {page.headers["x-updated-until"] for page in pages}
    return [row for page in pages for row in page.json()], until


class Device:
    """Fetches the list once, and then only its changes."""

    def __init__(self, viewer: Viewer, path: str) -> None:
        self.viewer, self.path, self.since = viewer, path, EARLIEST
        self.rows: dict[str, Row] = {}

    async def pages(self, limit: int) -> AsyncIterator[None]:
        """Sync page by page; the caller may write between two pages."""
        count = 0
        target, until = f"{self.path}?updated_since={self.since}&deleted=true&limit={limit}", None
        while target:
            count += 1
            assert count < 200, "the pages have no end"
            response = await self.viewer.request("GET", target)
            assert response.status_code == 200, response.text
            until = until or response.headers["x-updated-until"]
            assert response.headers["x-updated-until"] == until
            for row in response.json():
                if "deleted_at" in row:
                    self.rows.pop(row["id"], None)
                else:
                    self.rows[row["id"]] = row
            target = response.headers.get("link", "").partition(">")[0].removeprefix("<")
            yield
        assert until is not None
        self.since = until
