"""Lists that change while they are read by cursors: no row is left out or returned twice.

Behind the last page of a list by the time of the last change come the rows that have moved meanwhile.
"""

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest

from tests.assertions import read_pages
from tests.controllers.viewer.crowd import EARLIEST, EPISODE_NUMBERS, FAR_AHEAD, MOMENTS, Crowd, asking, next_of
from tests.factories import Viewer, insert


class Kind(NamedTuple):
    """A list and its sort column."""

    path: str
    table: str
    column: str
    values: Sequence[Any]
    """The sort values; the first is before all others, the last after them."""


DOWN = (FAR_AHEAD, *MOMENTS, EARLIEST)
UP = DOWN[::-1]
YEARS = (1, 2000, 2001, None)
SCORES = (1.0, 7 / 3, 8.1, None)
TITLES = ("a", "b", "É", "🦊")
MATCHES = ("{tag}", "{tag} b", "c {tag}")
KINDS = [
    Kind("/anime?status={tag}", "anime", "created_at", DOWN),
    Kind("/anime?status={tag}&sort=created_at", "anime", "created_at", UP),
    Kind("/anime?status={tag}&sort=title", "anime", "title", TITLES),
    Kind("/anime?status={tag}&sort=-title", "anime", "title", TITLES[::-1]),
    Kind("/anime?status={tag}&sort=year", "anime", "year", YEARS),
    Kind("/anime?status={tag}&sort=-year", "anime", "year", (3000, 2001, 2000, None)),
    Kind("/anime?status={tag}&sort=score", "anime", "score", SCORES),
    Kind("/anime?status={tag}&sort=-score", "anime", "score", (10.0, 8.1, 7 / 3, None)),
    Kind("/search/anime?q={tag}", "anime", "title", MATCHES),
    Kind("/releases", "releases", "created_at", DOWN),
    Kind("/releases?anime_id={anime_id}", "releases", "created_at", DOWN),
    Kind("/favorites", "favorites", "created_at", DOWN),
    Kind("/watch/progress", "watch_progress", "last_watched_at", DOWN),
    Kind("/watch/continue", "watch_progress", "last_watched_at", DOWN),
    Kind("/library", "library_entries", "updated_at", DOWN),
    Kind("/library?status=watching", "library_entries", "updated_at", DOWN),
    Kind("/views", "views", "last_viewed_at", DOWN),
    Kind("/collections", "collections", "created_at", DOWN),
    Kind("/collections/{collection_id}/anime", "collection_items", "position", (-1, 3, 4, 5)),
    Kind("/users", "users", "created_at", DOWN),
]


MOVING = {"last_watched_at", "last_viewed_at", "updated_at"}
"""Times that a change of a row sets."""


class Rows:
    """The rows of a list, which SQL changes."""

    def __init__(self, crowd: Crowd, kind: Kind, names: dict[str, str], owner: UUID) -> None:
        self.kind, self.path, self._names, self._owner = kind, kind.path.format(**names), names, owner
        self._shelf, self._key = crowd.backend, "anime_id" if kind.table == "collection_items" else "id"
        self.first, *self.middle, self.last = [self._of(value) for value in kind.values]
        self.made: set[str] = set()

    def _of(self, value: Any) -> Any:
        return value.format(**self._names) if isinstance(value, str) else value

    async def add(self, value: Any) -> str:
        """Insert a row and return it as in the list."""
        columns = {**await self._columns(), self.kind.column: value}
        made = await insert(self._shelf.rows, self.kind.table, columns)
        self.made.add(str(columns["anime_id"]) if self._key == "anime_id" else made)
        return made

    async def remove(self, row: str) -> None:
        await self._say("DELETE FROM {table} WHERE {key} = $1", row)

    async def move(self, row: str, value: Any) -> None:
        await self._say("UPDATE {table} SET {column} = $2 WHERE {key} = $1", row, value)

    async def _say(self, statement: str, row: str, *values: Any) -> None:
        named = statement.format(table=self.kind.table, column=self.kind.column, key=self._key)
        assert (await self._shelf.rows.execute(named, UUID(row), *values))[-2:] == " 1"

    async def _columns(self) -> dict[str, Any]:
        name, table = uuid4().hex, self.kind.table
        if table == "anime":
            return {"title": name, "status": self._names["tag"]}
        if table == "users":
            return {"email": name, "username": name, "password_hash": "none"}
        if table == "releases":
            return {"title": name, "anime_id": UUID(self._names["anime_id"])}
        if table == "collections":
            return {"user_id": self._owner, "name": name}
        if table == "views":
            episode = {"release_id": UUID(self._names["release_id"]), "number": next(EPISODE_NUMBERS)}
            return {
                "user_id": self._owner,
                "episode_id": UUID(await insert(self._shelf.rows, "episodes", episode)),
                "progress": 1,
            }
        of = {"anime_id": UUID(await self._shelf.anime())}
        if table == "collection_items":
            return of | {"user_id": self._owner, "collection_id": UUID(self._names["collection_id"])}
        more: dict[str, dict[str, Any]] = {"watch_progress": {"episode": 1}, "library_entries": {"status": "watching"}}
        return {**of, "user_id": self._owner, **more.get(table, {})}


async def rows_of(crowd: Crowd, kind: Kind) -> tuple[Rows, Viewer]:
    """Return the rows of one test, and the client that reads them."""
    owner = await crowd.backend.viewer()
    anime_id = await crowd.backend.anime()
    collection_id = await insert(
        crowd.backend.rows, "collections", {"user_id": owner.id, "name": "x", "is_public": True}
    )
    if kind.table != "collection_items":
        await crowd.backend.rows.execute("DELETE FROM collections WHERE id = $1", UUID(collection_id))
    names = crowd.names | {"tag": uuid4().hex, "anime_id": anime_id, "collection_id": collection_id}
    rows = Rows(crowd, kind, names, owner.id)
    chosen = Random(5)  # noqa: S311 - the same rows each time
    for _ in range(14):
        await rows.add(chosen.choice((rows.middle[0], *rows.middle, rows.last, rows.last)))
    return rows, crowd.viewer if kind.path == "/users" else owner


Meanwhile = Callable[[list[str]], Awaitable[None]]


async def seen_with(viewer: Viewer, rows: Rows, meanwhile: Meanwhile) -> list[str]:
    """Return the test's rows as the pages have them; `meanwhile` runs after each page with its last rows."""
    target, seen, changes = asking(rows.path, limit=3), [], 0
    while target:
        response = await viewer.request("GET", target)
        shown = [row for row in ids([response]) if row in rows.made]
        seen += shown
        target = str(next_of(response)) if "link" in response.headers else ""
        if target and shown and changes < 4:  # not behind the last page of the list as it was
            changes += 1
            await meanwhile(shown)
        assert len(seen) < 100
    return seen


def rest_of(kind: Kind, seen: list[str], expected: list[str]) -> set[str]:
    """Check that the rows are the expected ones, and return those that follow in a list of moving rows."""
    assert seen[: len(expected)] == expected
    rest = seen[len(expected) :]
    assert not rest or kind.column in MOVING
    return set(rest)


def ids(pages: Sequence[httpx.Response]) -> list[str]:
    return [item["id"] for page in pages for item in page.json()]


async def own_ids(viewer: Viewer, rows: Rows) -> list[str]:
    return [row for row in ids(await read_pages(viewer, asking(rows.path, limit=100))) if row in rows.made]


def kind_name(kind: Kind) -> str:
    return f"{kind.path} by {kind.column}"


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
async def test_rows_added_before_the_cursor_change_nothing(busy: Crowd, kind: Kind) -> None:
    rows, viewer = await rows_of(busy, kind)
    every = await own_ids(viewer, rows)
    assert len(every) == 14

    async def add(_: list[str]) -> None:
        await rows.add(rows.first)
        await rows.add(rows.first)

    rest = rest_of(kind, await seen_with(viewer, rows, add), every)
    every_now = await own_ids(viewer, rows)
    assert len(every_now) == 14 + 8
    assert rest in (set(), set(every_now) - set(every))


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
async def test_cursor_at_deleted_row_continues(busy: Crowd, kind: Kind) -> None:
    rows, viewer = await rows_of(busy, kind)
    every = await own_ids(viewer, rows)

    async def remove(shown: list[str]) -> None:
        await rows.remove(shown[-1])

    assert await seen_with(viewer, rows, remove) == every
    assert len(await own_ids(viewer, rows)) < 14


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
async def test_cursor_at_row_that_moved_to_the_front_continues(busy: Crowd, kind: Kind) -> None:
    rows, viewer = await rows_of(busy, kind)
    every, moved = await own_ids(viewer, rows), set()

    async def move(shown: list[str]) -> None:
        moved.add(shown[-1])
        await rows.move(shown[-1], rows.first)

    assert rest_of(kind, await seen_with(viewer, rows, move), every) in (set(), moved)
    assert await own_ids(viewer, rows) != every


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
async def test_cursor_at_row_that_moved_to_the_end_continues(busy: Crowd, kind: Kind) -> None:
    rows, viewer = await rows_of(busy, kind)
    every, moved = await own_ids(viewer, rows), set()

    async def move(shown: list[str]) -> None:
        moved.add(shown[-1])
        await rows.move(shown[-1], rows.last)

    seen = await seen_with(viewer, rows, move)
    assert [row for row in seen if row not in moved] == [row for row in every if row not in moved]
    assert set(seen) == set(every)


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
async def test_deleted_or_moved_rows_are_left_out_of_later_pages(busy: Crowd, kind: Kind) -> None:
    rows, viewer = await rows_of(busy, kind)
    every, gone, moved = await own_ids(viewer, rows), set(), set()

    async def go(shown: list[str]) -> None:
        rest = every[every.index(shown[-1]) + 1 :]
        gone.update(rest[:2])
        for row in rest[:1]:
            await rows.remove(row)
        for row in rest[1:2]:
            moved.add(row)
            await rows.move(row, rows.first)

    rest = rest_of(kind, await seen_with(viewer, rows, go), [row for row in every if row not in gone])
    # A list by the time of the last change misses no row that is in it from start to end.
    assert rest == (moved if kind.column in MOVING else set())
    assert len(gone) >= 4
