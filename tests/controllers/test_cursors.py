"""Lists that are read by the cursor in their Link: nothing is left out or shown twice, whatever happens meanwhile."""

import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.engine import URL

from kitsu.db import models
from kitsu.db.direct import Direct
from kitsu.db.engine import Timeouts
from kitsu.domain import paging
from kitsu.domain.paging import Listing, PageRequest, up
from tests.controllers.test_anime import passes
from tests.viewer import Shelf, Viewer, insert, refused, shelf_of, statements, walk

LIMITS = (1, 2, 3, 7)
SORTS = ("", "created_at", "-created_at", "title", "-title", "year", "-year", "score", "-score")
MOMENTS = [datetime(2024, 5, 6, 7, 8, 9, microsecond, tzinfo=UTC) for microsecond in (0, 123456, 123457)]
LONG_AGO, FAR_AHEAD = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"type": "TV"},
    {"type": "OVA"},  # of which neither year nor score are known
    {"status": "ongoing"},
    {"year": "2000"},
    {"season": "FALL"},
    {"genres": "drama"},
    {"genres": "Drama,comedy", "type": "TV"},
    {"type": "TV", "status": "FINISHED", "season": "FALL"},
    {"type": "TV", "status": "nope"},
)


class Guest(Viewer):
    """Somebody who is not signed in."""

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.client.request(method, path, **more)


class Crowd(NamedTuple):
    """A database with many ties in all that lists are sorted by, and who looks at it."""

    shelf: Shelf
    viewer: Viewer
    """Has something on every list, and administers."""
    guest: Guest
    names: dict[str, str]
    """What stands in braces in the paths here."""

    def reader(self, path: str) -> Viewer:
        """Who reads a list here: a guest those that anybody may."""
        return self.guest if path.startswith(("/anime", "/releases", "/search")) else self.viewer


async def crowd_of(shelf: Shelf) -> Crowd:
    viewer = await shelf.viewer()
    await shelf.rows.execute("UPDATE users SET role = 'admin' WHERE id = $1", viewer.id)
    anime_id = await shelf.anime(title="With releases", year=1980)
    release_id = await insert(shelf.rows, "releases", {"anime_id": UUID(anime_id), "title": "With episodes"})
    own = {"user_id": viewer.id, "name": "With anime", "is_public": True, "created_at": LONG_AGO}
    collection_id = await insert(shelf.rows, "collections", own)
    names = {"anime_id": anime_id, "release_id": release_id, "collection_id": collection_id}
    return Crowd(shelf, viewer, Guest(shelf.client, viewer.id, ""), names)


@pytest.fixture(scope="module")
async def crowd(server: URL, template: URL) -> AsyncIterator[Crowd]:
    """Some forty rows of everything, for the tests here that only read."""
    async with shelf_of(server, template) as shelf:
        crowd = await crowd_of(shelf)
        chosen = Random(4)  # noqa: S311 - the same rows each time
        for _ in range(40):
            await add_one_of_all(crowd, chosen)
        yield crowd


@pytest.fixture(scope="module")
async def busy(server: URL, template: URL) -> AsyncIterator[Crowd]:
    """A database for the tests that change something: each looks at rows of its own."""
    async with shelf_of(server, template) as shelf:
        yield await crowd_of(shelf)


async def add_one_of_all(crowd: Crowd, chosen: Random) -> None:
    """A row in each table, with values that many others have."""
    rows = crowd.shelf.rows

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
    episode_id = await insert(rows, "episodes", {"release_id": release_id, "number": 1})
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
    await insert(rows, "collection_items", item | {"position": chosen.choice((0, 3, 4, 2**31 - 1))})


def asking(path: str, **query: Any) -> str:
    """A path with more parameters."""
    return str(httpx.URL(path).copy_merge_params(query))


def ids(pages: Sequence[httpx.Response]) -> list[str]:
    return [item["id"] for page in pages for item in page.json()]


def next_of(response: httpx.Response) -> httpx.URL:
    """Where the list goes on."""
    link = response.headers["link"]
    return httpx.URL(link[1 : link.index(">")])


def cursor_at(response: httpx.Response) -> str:
    return next_of(response).params["cursor"]


def refused_for(response: httpx.Response, field: str) -> None:
    refused(response, 422)
    assert [detail["field"] for detail in response.json()["details"] or []] == [field]


async def check_walks(viewer: Viewer, path: str) -> list[str]:
    """Pages of any length are the parts of the whole list, and each knows how long that is; returns its ids."""
    every = await viewer.read(asking(path, limit=100))
    assert len(every) < 100
    for limit in LIMITS:
        pages = await walk(viewer, asking(path, limit=limit, total="true"))
        assert [item for page in pages for item in page.json()] == every
        assert len(pages) == max(1, -(-len(every) // limit))
        assert {page.headers["x-total-count"] for page in pages} == {str(len(every))}
        assert not any({"offset"} & set(next_of(page).params) for page in pages[:-1])
    return [item["id"] for item in every]


@pytest.mark.parametrize("sort", SORTS)
async def test_anime_in_every_order_with_and_without_filters(crowd: Crowd, sort: str) -> None:
    column, way = (sort or "-created_at").lstrip("-"), "ASC" if sort and sort[0] != "-" else "DESC"
    key = "title_key" if column == "title" else column
    found = await crowd.shelf.rows.fetch(f"SELECT * FROM anime ORDER BY {key} {way} NULLS LAST, id {way}")
    rows = [dict(row) | {"genres": [genre.lower() for genre in row["genres"]]} for row in found]
    assert len({row[column] for row in rows}) < len(rows) / 3
    lengths = []
    for query in FILTERS:
        path = asking("/anime", **query, **({"sort": sort} if sort else {}))
        expected = [str(row["id"]) for row in rows if passes(row, query)]
        assert await check_walks(crowd.guest, path) == expected
        lengths.append(len(expected))
    assert lengths.count(0) == 1
    assert max(lengths) == 41


LISTS = (
    *("/releases", "/releases?anime_id={anime_id}", "/favorites", "/watch/progress", "/watch/continue", "/views"),
    *("/library", "/library?status=watching", "/library?status=dropped", "/collections", "/users"),
    *("/collections/{collection_id}/anime", f"/releases?anime_id={UUID(int=0)}"),
    *("/search/anime?q=ec", "/search/anime?q=eclair", "/search/anime?q=no+such+title", "/search/anime?q=~~"),
    *(f"/search/anime?q=eclair&sort={sort}" for sort in SORTS if sort),
    *("/search/anime?q=ec&sort=-year", "/search/anime?q=ec&type=TV&genres=drama", "/search/anime?q=жук&sort=score"),
)
EMPTY = ("dropped", str(UUID(int=0)), "such", "~~")


@pytest.mark.parametrize("path", LISTS)
async def test_all_other_lists(crowd: Crowd, path: str) -> None:
    found = await check_walks(crowd.reader(path), path.format(**crowd.names))
    assert (found == []) is path.endswith(EMPTY) or "such" in path
    assert len(set(found)) == len(found)
    assert len(found) >= 4 or not found


async def test_collections_of_a_guest_are_the_public_ones(crowd: Crowd) -> None:
    seen = await check_walks(crowd.guest, "/collections")
    order = "ORDER BY created_at DESC, id DESC"
    public = await crowd.shelf.rows.fetch(f"SELECT id FROM collections WHERE is_public {order}")
    assert seen == [str(row["id"]) for row in public]
    assert seen != await check_walks(crowd.viewer, "/collections")


@pytest.mark.parametrize("column", ["year", "score"])
@pytest.mark.parametrize(
    ("known", "unknown"),
    [(0, 0), (0, 1), (0, 6), (1, 0), (1, 1), (1, 6), (2, 4), (3, 3), (4, 0), (6, 0), (6, 1), (6, 6)],
)
async def test_from_the_known_to_the_unknown(busy: Crowd, column: str, known: int, unknown: int) -> None:
    tag = uuid4().hex
    for value in [5] * known + [None] * unknown:
        await busy.shelf.anime(status=tag, **{column: value})
    for sort in (column, f"-{column}"):
        path = f"/anime?status={tag}&sort={sort}"
        await check_walks(busy.guest, path)
        values = [item[column] for page in await walk(busy.guest, f"{path}&limit=2") for item in page.json()]
        assert values == [5] * known + [None] * unknown


class Kind(NamedTuple):
    """A list, and what its rows are sorted by."""

    path: str
    table: str
    column: str
    values: Sequence[Any]
    """Of the rows; the first stands before all others, the last behind them."""


DOWN = (FAR_AHEAD, *MOMENTS, LONG_AGO)
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


class Rows:
    """The rows of a list, which are changed from outside."""

    def __init__(self, crowd: Crowd, kind: Kind, names: dict[str, str], owner: UUID) -> None:
        self.kind, self.path, self._names, self._owner = kind, kind.path.format(**names), names, owner
        self._shelf, self._key = crowd.shelf, "anime_id" if kind.table == "collection_items" else "id"
        self.first, *self.middle, self.last = [self._of(value) for value in kind.values]
        self.made: set[str] = set()

    def _of(self, value: Any) -> Any:
        return value.format(**self._names) if isinstance(value, str) else value

    async def add(self, value: Any) -> str:
        """A new row, as it stands in the list."""
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
            episode = {"release_id": UUID(self._names["release_id"]), "number": 1}
            return {
                "user_id": self._owner,
                "episode_id": UUID(await insert(self._shelf.rows, "episodes", episode)),
                "progress": 1,
            }
        of = {"anime_id": UUID(await self._shelf.anime())}
        if table == "collection_items":
            return of | {"collection_id": UUID(self._names["collection_id"])}
        more: dict[str, dict[str, Any]] = {
            "watch_progress": {"episode": 1},
            "library_entries": {"status": "watching"},
        }
        return {**of, "user_id": self._owner, **more.get(table, {})}


async def rows_of(crowd: Crowd, kind: Kind) -> tuple[Rows, Viewer]:
    """Rows of a test's own, and who sees them."""
    owner = await crowd.shelf.viewer()
    anime_id = await crowd.shelf.anime()
    collection_id = await insert(crowd.shelf.rows, "collections", {"user_id": owner.id, "name": "x", "is_public": True})
    if kind.table != "collection_items":
        await crowd.shelf.rows.execute("DELETE FROM collections WHERE id = $1", UUID(collection_id))
    names = crowd.names | {"tag": uuid4().hex, "anime_id": anime_id, "collection_id": collection_id}
    rows = Rows(crowd, kind, names, owner.id)
    chosen = Random(5)  # noqa: S311 - the same rows each time
    for _ in range(14):
        await rows.add(chosen.choice((rows.middle[0], *rows.middle, rows.last, rows.last)))
    return rows, crowd.viewer if kind.path == "/users" else owner


Meanwhile = Callable[[list[str]], Awaitable[None]]


async def seen_with(viewer: Viewer, rows: Rows, meanwhile: Meanwhile) -> list[str]:
    """The test's own rows as the pages show them; something happens behind each page, which has their last ones."""
    target, seen = asking(rows.path, limit=3), []
    while target:
        response = await viewer.ask("GET", target)
        shown = [row for row in ids([response]) if row in rows.made]
        seen += shown
        target = str(next_of(response)) if "link" in response.headers else ""
        if target and shown:
            await meanwhile(shown)
        assert len(seen) < 100
    return seen


async def own_ids(viewer: Viewer, rows: Rows) -> list[str]:
    return [row for row in ids(await walk(viewer, asking(rows.path, limit=100))) if row in rows.made]


def kind_name(kind: Kind) -> str:
    return f"{kind.path} by {kind.column}"


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
async def test_rows_added_in_front_are_no_matter(busy: Crowd, kind: Kind) -> None:
    rows, viewer = await rows_of(busy, kind)
    every = await own_ids(viewer, rows)
    assert len(every) == 14

    async def add(_: list[str]) -> None:
        await rows.add(rows.first)
        await rows.add(rows.first)

    assert await seen_with(viewer, rows, add) == every
    assert len(await own_ids(viewer, rows)) >= 14 + 6


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
async def test_the_row_at_which_the_cursor_stands_is_deleted(busy: Crowd, kind: Kind) -> None:
    rows, viewer = await rows_of(busy, kind)
    every = await own_ids(viewer, rows)

    async def remove(shown: list[str]) -> None:
        await rows.remove(shown[-1])

    assert await seen_with(viewer, rows, remove) == every
    assert len(await own_ids(viewer, rows)) < 14


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
async def test_the_row_at_which_the_cursor_stands_moves_to_the_front(busy: Crowd, kind: Kind) -> None:
    rows, viewer = await rows_of(busy, kind)
    every = await own_ids(viewer, rows)

    async def move(shown: list[str]) -> None:
        await rows.move(shown[-1], rows.first)

    assert await seen_with(viewer, rows, move) == every
    assert await own_ids(viewer, rows) != every


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
async def test_the_row_at_which_the_cursor_stands_moves_to_the_end(busy: Crowd, kind: Kind) -> None:
    rows, viewer = await rows_of(busy, kind)
    every, moved = await own_ids(viewer, rows), set()

    async def move(shown: list[str]) -> None:
        moved.add(shown[-1])
        await rows.move(shown[-1], rows.last)

    seen = await seen_with(viewer, rows, move)
    assert [row for row in seen if row not in moved] == [row for row in every if row not in moved]
    assert set(seen) == set(every)


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
async def test_rows_that_were_not_shown_yet_are_deleted_or_move_to_the_front(busy: Crowd, kind: Kind) -> None:
    rows, viewer = await rows_of(busy, kind)
    every, gone = await own_ids(viewer, rows), set()

    async def go(shown: list[str]) -> None:
        rest = every[every.index(shown[-1]) + 1 :]
        gone.update(rest[:2])
        for row in rest[:1]:
            await rows.remove(row)
        for row in rest[1:2]:
            await rows.move(row, rows.first)

    assert await seen_with(viewer, rows, go) == [row for row in every if row not in gone]
    assert len(gone) >= 4


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
FITS_ELSEWHERE = {
    ("year", "score"),
    ("year", "position"),
    ("position", "year"),
    ("position", "score"),
    ("time", "text"),
}
"""Whole numbers are fractions too, and times are texts."""


@pytest.mark.parametrize(("shape", "path"), EACH)
async def test_a_list_goes_on_behind_an_offset(crowd: Crowd, shape: str, path: str) -> None:
    path, viewer = path.format(**crowd.names), crowd.reader(path)
    every = await viewer.read(asking(path, limit=100))
    for query in ("offset=5&limit=4&total=true", "limit=4&total=true&offset=5"):
        pages = await walk(viewer, path + ("&" if "?" in path else "?") + query)
        assert pages[0].json() == every[5:9]
        assert [item for page in pages for item in page.json()] == every[5:]
        target = next_of(pages[0])
        assert (target.host, target.path) == ("", httpx.URL(path).path)
        parameters = dict(target.params)
        assert parameters.pop("cursor")
        assert parameters == {**httpx.URL(path).params, "limit": "4", "total": "true"}


@pytest.mark.parametrize(("shape", "path"), EACH)
async def test_a_cursor_and_an_offset_exclude_one_another(crowd: Crowd, shape: str, path: str) -> None:
    path, viewer = path.format(**crowd.names), crowd.reader(path)
    target = str(next_of(await viewer.ask("GET", asking(path, limit=3))))
    for offset in (1, 5, 2**63 - 1):
        refused_for(await viewer.ask("GET", asking(target, offset=offset)), "offset")
    assert await viewer.read(asking(target, offset=0)) == await viewer.read(target)


def encoded(place: bytes) -> str:
    return urlsafe_b64encode(place).rstrip(b"=").decode()


NO_JSON = (b"", b"x", b"[", b"NaN", b"\xff\xfe", b'["2024-05-06T07:08:09Z"', b"[[" * 1400)
OTHER_JSON: tuple[Any, ...] = (
    *(None, True, 1, "x", {}, [], [None], [[]], [{}], [None] * 2, [None] * 3, [[], []], [{}, {}, {}]),
    *({"0": MOMENTS[0].isoformat(), "1": str(UUID(int=0))}, [str(UUID(int=0))], [MOMENTS[0].isoformat()]),
    *([str(UUID(int=0)), MOMENTS[0].isoformat()], [MOMENTS[0].isoformat(), None], [MOMENTS[0].isoformat(), "x"]),
    *([1, 1], ["a", "a"], [1.5, None], [1, None, None], [2000, str(UUID(int=0)), str(UUID(int=0))]),
)
BAD = [
    *("", "x", "null", "None", "!", "%25", "é", "\0", "🦊", "====", "A" * 20_000, "A" * 20_001, "[]", "0"),
    *(encoded(place) for place in NO_JSON),
    *(encoded(json.dumps(place).encode()) for place in OTHER_JSON),
]


@pytest.mark.parametrize(("shape", "path"), EACH)
async def test_what_is_no_cursor_is_refused(crowd: Crowd, shape: str, path: str) -> None:
    path, viewer = path.format(**crowd.names), crowd.reader(path)
    for cursor in BAD:
        refused_for(await viewer.ask("GET", asking(path, cursor=cursor)), "cursor")


@pytest.mark.parametrize(("shape", "path"), EACH)
async def test_the_cursor_of_another_list_is_refused(crowd: Crowd, shape: str, path: str) -> None:
    path, viewer = path.format(**crowd.names), crowd.reader(path)
    for other, (there, *_) in SHAPES.items():
        if other != shape and (other, shape) not in FITS_ELSEWHERE:
            elsewhere = asking(there.format(**crowd.names), limit=1)
            cursor = cursor_at(await crowd.reader(there).ask("GET", elsewhere))
            refused_for(await viewer.ask("GET", asking(path, cursor=cursor)), "cursor")


@pytest.mark.parametrize("path", ["/favorites", "/watch/progress", "/views", "/library", "/collections"])
async def test_a_list_and_its_changes_have_cursors_of_their_own(crowd: Crowd, path: str) -> None:
    changes = asking(path, updated_since="2001-01-01T00:00:00Z", limit=2)
    of_list = cursor_at(await crowd.viewer.ask("GET", asking(path, limit=2)))
    of_changes = cursor_at(await crowd.viewer.ask("GET", changes))
    refused_for(await crowd.viewer.ask("GET", asking(path, cursor=of_changes)), "cursor")
    refused_for(await crowd.viewer.ask("GET", asking(changes, cursor=of_list)), "cursor")


ID = str(UUID(int=2**127))
TIMES = (
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    *("0001-01-01T00:00:00", "9999-12-31T23:59:59", "2024-05-06T07:08:09", "2024-05-06T07:08:60Z", "2024-02-30T00:00Z"),
    *("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "infinity", "", 0, -1, 1e308, None, True),
)
INTEGERS = (
    *(0, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400, -(10**2000)),
    *(1.0, 1.5, 1e308, True, "1", None, float("nan"), float("inf")),
)
TEXTS = ("", "a\0b", "\0", "\ud800", "a\udc00b", "\udfff\ud800", "🦊" * 300, "'; --", "%", "\\", "\x7f\x1b", 1, None)
FLOATS = (*INTEGERS, -1e308, 5e-324, -0.0, float("-inf"))
IDS = (str(UUID(int=0)), str(UUID(int=2**128 - 1)), ID.replace("-", ""), ID.upper(), f"{{{ID}}}", "x", "\0", 1, None)
PLACES: dict[str, list[list[Any]]] = {
    "time": [*([value, ID] for value in TIMES), *([TIMES[0], row] for row in IDS)],
    "text": [*([value, ID] for value in TEXTS), *(["eclair", row] for row in IDS)],
    "year": [*([value, ID] for value in INTEGERS), *([value, row] for row in IDS for value in (2000, None))],
    "score": [*([value, ID] for value in FLOATS), *([value, row] for row in IDS for value in (8.1, None))],
    "rank": [*([value, TIMES[0], ID] for value in INTEGERS), *([1, value, ID] for value in TIMES)],
    "position": [*([value, ID] for value in INTEGERS), *([3, row] for row in IDS)],
}
RAW = {
    "time": [b'["\xff","x"]', b"[1e400,1]"],
    "text": [b'["\xed\xa0\x80","%s"]' % ID.encode(), b'["\xff","%s"]' % ID.encode(), b'["a\0","%s"]' % ID.encode()],
    "year": [b'[1e400,"%s"]' % ID.encode(), b'[-0,"%s"]' % ID.encode(), b'[2e3,"%s"]' % ID.encode()],
    "score": [b'[1e400,"%s"]' % ID.encode(), b'[-1e400,"%s"]' % ID.encode(), b'[1e-400,"%s"]' % ID.encode()],
}


@pytest.mark.parametrize(("shape", "path"), EACH)
async def test_a_hostile_cursor_is_no_error_of_the_server(crowd: Crowd, shape: str, path: str) -> None:
    path, viewer = path.format(**crowd.names), crowd.reader(path)
    places = [json.dumps(place).encode() for place in PLACES[shape]] + RAW.get(shape, [])
    statuses = {}
    for place in places:
        response = await viewer.ask("GET", asking(path, cursor=encoded(place), limit=2))
        statuses[place[:200]] = response.status_code
        if response.status_code == 422:
            refused(response, 422)
            assert {detail["field"] for detail in response.json()["details"] or []} <= {"cursor"}
    assert {place: status for place, status in statuses.items() if status not in {200, 422}} == {}
    assert set(statuses.values()) == {200, 422}


async def test_a_cursor_is_taken_with_its_padding_and_as_curl_sends_it(crowd: Crowd) -> None:
    for path in ("/anime", "/anime?sort=title", "/anime?sort=year", "/search/anime?q=ec"):
        for limit in range(1, 12):
            response = await crowd.guest.ask("GET", asking(path, limit=limit))
            cursor = cursor_at(response)
            padded = cursor + "=" * (-len(cursor) % 4)
            expected = await crowd.guest.read(asking(path, cursor=cursor))
            assert await crowd.guest.read(asking(path, cursor=padded)) == expected


@pytest.mark.parametrize("letter", ["x", '"', "\u0001", "🦊", "ガ", "\u3300", "\ufdfb", "\ufdfa"], ids=ascii)
async def test_a_list_goes_on_behind_the_longest_titles(busy: Crowd, letter: str) -> None:
    tag = uuid4().hex
    for last in "abcde":
        await busy.shelf.anime(title=letter * 254 + last, status=tag)
    for sort in ("title", "-title"):
        await check_walks(busy.guest, f"/anime?status={tag}&sort={sort}")


async def test_titles_that_sort_differently_elsewhere(busy: Crowd) -> None:
    tag = uuid4().hex
    titles = [
        "a b",
        "a-b",
        "ab",
        "A_b",
        "a~b",
        "Äb",
        "B",
        "b a",
        "[b]",
        "!b",
        "ß",
        "ss",
        "Ω",
        "ω",
        "ё",
        "\U0001d400",
        "ﾊ",
    ]
    for title in titles:
        await busy.shelf.anime(title=title, status=tag)
    for sort in ("title", "-title"):
        assert len(await check_walks(busy.guest, f"/anime?status={tag}&sort={sort}")) == len(titles)


async def test_moments_and_scores_are_told_apart_to_the_last_digit(busy: Crowd) -> None:
    tag, score = uuid4().hex, 8.1
    for number in range(10):
        moment = MOMENTS[0] + timedelta(microseconds=number)
        await busy.shelf.anime(status=tag, created_at=moment, score=score + number * 2**-49)
    for sort in ("created_at", "-created_at", "score", "-score"):
        assert len(await check_walks(busy.guest, f"/anime?status={tag}&sort={sort}")) == 10


@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize(
    "path",
    ["/anime", "/anime?sort=title&type=TV", "/releases", "/search/anime?q=eclair", "/search/anime?q=ec&sort=year"],
)
async def test_a_page_is_one_statement_and_one_to_count(crowd: Crowd, path: str, total: bool) -> None:
    target = asking(path, limit=3, total=str(total).lower())
    for _ in range(2):
        with statements() as seen:
            response = await crowd.guest.ask("GET", target)
        assert len(seen) == 1 + total, seen
        target = str(next_of(response))


@pytest.mark.parametrize(
    "path", ["/favorites", "/watch/progress", "/watch/continue", "/views", "/library", "/collections", "/users"]
)
async def test_a_page_of_a_viewers_list_costs_a_statement_for_who_asks_as_well(crowd: Crowd, path: str) -> None:
    target = asking(path, limit=3)
    for _ in range(2):
        with statements() as seen:
            response = await crowd.viewer.ask("GET", target)
        assert len(seen) == 2, seen
        target = str(next_of(response))


@pytest.mark.parametrize("sort", ["year", "-year", "score", "-score"])
async def test_only_a_page_that_goes_from_the_known_to_the_unknown_takes_two_statements(busy: Crowd, sort: str) -> None:
    """Whether there is more behind the last one that is known is asked twice: before it and behind it."""
    tag = uuid4().hex
    for value in [5] * 6 + [None] * 6:
        await busy.shelf.anime(status=tag, **{sort.lstrip("-"): value})
    for limit, expected in ((2, [1, 1, 2, 2, 1, 1]), (3, [1, 2, 2, 1]), (4, [1, 2, 1]), (5, [1, 2, 1])):
        target, counts = f"/anime?status={tag}&sort={sort}&limit={limit}", []
        while target:
            with statements() as seen:
                response = await busy.guest.ask("GET", target)
            counts.append(len(seen))
            target = str(next_of(response)) if "link" in response.headers else ""
        assert counts == expected


async def test_a_cursor_costs_no_offset(crowd: Crowd) -> None:
    target = str(next_of(await crowd.guest.ask("GET", "/anime?limit=3")))
    with statements() as seen:
        await crowd.guest.read(target)
    assert "OFFSET" not in seen[0]
    assert "(anime.created_at, anime.id) <" in seen[0]


@pytest.mark.parametrize(
    "path",
    [
        *("/anime", "/anime?type=TV&sort=year", "/releases", "/releases?anime_id={anime_id}", "/search/anime?q=ec"),
        *("/search/anime?q=eclair", "/favorites", "/watch/progress", "/watch/continue", "/views", "/library"),
        *("/library?status=watching", "/collections", "/collections/{collection_id}/anime", "/users"),
    ],
)
async def test_what_is_counted_has_a_limit(crowd: Crowd, path: str) -> None:
    target = asking(path.format(**crowd.names), total="true")
    with statements() as seen:
        await crowd.reader(path).read(target)
    (count,) = (statement for statement in seen if statement.startswith("SELECT count("))
    assert "LIMIT" in count.partition("FROM")[2]


async def test_the_count_stops_at_the_most(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    anime_id, direct = models.Anime.id, Direct(crowd.shelf.url, size=1, recycle=-1, timeouts=Timeouts())

    async def total() -> int | None:
        listing = Listing(select(anime_id), up(anime_id), counted=select(anime_id))
        page = await listing.page(direct, {}, PageRequest(limit=7, total=True), lambda row: row[0])
        assert (len(page.items), page.cursor is None) == (7, False)
        return page.total

    try:
        assert await total() == 41
        for most, counted in ((5, 5), (41, 41), (42, 41)):
            monkeypatch.setattr(paging, "MAX_TOTAL", most)
            assert await total() == counted
    finally:
        direct.close()
    monkeypatch.undo()
    assert paging.MAX_TOTAL == 100_000
