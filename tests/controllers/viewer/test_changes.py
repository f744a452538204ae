"""`updated_since` and `deleted` on the five lists of a viewer: changed and deleted rows, and no others."""

import base64
import json
from uuid import UUID, uuid4

import pytest

from tests.assertions import assert_error, read_pages, statements
from tests.controllers.viewer.synced import EARLIEST, KINDS, Kind, Row, sync
from tests.databases import connect
from tests.factories import Backend, Viewer, insert
from tests.values import UNKNOWN_ID

PASSWORD = "a long enough password"
EVERY = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.table)
OF_ANIME = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.table != "collections"], ids=lambda kind: kind.table
)


async def made(backend: Backend, viewer: Viewer, kind: Kind, count: int) -> list[Row]:
    """Create rows and return them, the oldest first."""
    for _ in range(count):
        await kind.make(backend, viewer)
    return list(reversed((await viewer.read(kind.path))[:count]))


def gone(rows: list[Row]) -> list[str]:
    """Return the ids of the tombstones among rows."""
    return [row["id"] for row in rows if "deleted_at" in row]


@EVERY
async def test_changes_list_only_changed_rows(backend: Backend, viewer: Viewer, kind: Kind) -> None:
    rows = await made(backend, viewer, kind, 3)
    first, until = await sync(viewer, kind.path, EARLIEST)
    assert first == rows
    assert until.endswith("Z")
    assert (await sync(viewer, kind.path, until))[0] == []
    await kind.change(backend, viewer, rows[0])
    await kind.make(backend, viewer)
    unchanged = {row["id"] for row in rows[1:]}
    now = [row for row in await viewer.read(kind.path) if row["id"] not in unchanged]
    changes, later = await sync(viewer, kind.path, until, "")
    assert sorted(changes, key=lambda row: str(row["id"])) == sorted(now, key=lambda row: str(row["id"]))
    assert len(changes) == 2
    assert (await sync(viewer, kind.path, later))[0] == []
    assert gone(changes) == []


@EVERY
async def test_changes_with_deleted_list_tombstones(backend: Backend, viewer: Viewer, kind: Kind) -> None:
    rows = await made(backend, viewer, kind, 3)
    until = (await sync(viewer, kind.path, EARLIEST))[1]
    await kind.remove(backend, viewer, rows[1])
    for query in ("", "&deleted=false"):
        assert (await sync(viewer, kind.path, until, query))[0] == []
        assert (await sync(viewer, kind.path, EARLIEST, query))[0] == [rows[0], rows[2]]
    (tombstone,) = (await sync(viewer, kind.path, until))[0]
    anime_id = rows[1].get("anime_id") if kind.table != "views" else None
    assert tombstone == {"id": rows[1]["id"], "anime_id": anime_id, "deleted_at": tombstone["deleted_at"]}
    assert tombstone["deleted_at"].endswith("Z")
    assert await viewer.read(f"{kind.path}?deleted=true") == [rows[0], rows[2], tombstone]
    assert (await viewer.request("GET", f"{kind.path}/?deleted=true")).headers["x-updated-until"] > until


@EVERY
async def test_changes_of_another_viewer_are_not_listed(backend: Backend, viewer: Viewer, kind: Kind) -> None:
    other = await backend.viewer()
    rows = await made(backend, viewer, kind, 2)
    await kind.remove(backend, viewer, rows[0])
    assert (await sync(other, kind.path, EARLIEST))[0] == []
    for path in {it.path for it in KINDS} - {kind.path}:
        assert gone((await sync(viewer, path, EARLIEST))[0]) == []


@OF_ANIME
async def test_rows_deleted_with_their_anime_leave_tombstones(backend: Backend, viewer: Viewer, kind: Kind) -> None:
    rows = await made(backend, viewer, kind, 4)
    until = (await sync(viewer, kind.path, EARLIEST))[1]
    removed = [UUID(row["anime_id"]) for row in rows[:3]]
    await backend.rows.execute("DELETE FROM anime WHERE id = $1", removed[0])
    await backend.rows.execute("DELETE FROM anime WHERE id = ANY($1)", removed[1:])
    changes = (await sync(viewer, kind.path, until))[0]
    assert sorted(gone(changes)) == sorted(row["id"] for row in rows[:3])
    assert len(changes) == 3
    assert await viewer.read(kind.path) == rows[3:]


@EVERY
async def test_tombstone_is_listed_for_30_days(backend: Backend, viewer: Viewer, kind: Kind) -> None:
    rows = await made(backend, viewer, kind, 3)
    for row, days in zip(rows, (29, 31, 0), strict=True):
        await kind.remove(backend, viewer, row)
        await backend.rows.execute(
            "UPDATE tombstones SET deleted_at = now() - make_interval(days => $2) WHERE id = $1", UUID(row["id"]), days
        )
    changes = (await sync(viewer, kind.path, EARLIEST))[0]
    assert [row["id"] for row in changes] == gone(changes) == [rows[0]["id"], rows[2]["id"]]


@EVERY
async def test_pages_of_changes_continue_after_concurrent_writes(backend: Backend, viewer: Viewer, kind: Kind) -> None:
    rows = await made(backend, viewer, kind, 6)
    await kind.remove(backend, viewer, rows[1])
    page = await viewer.request("GET", f"{kind.path}?updated_since={EARLIEST}&deleted=true&limit=2")
    assert page.json() == [rows[0], rows[2]]
    await kind.remove(backend, viewer, rows[0])
    await kind.remove(backend, viewer, rows[3])
    await kind.change(backend, viewer, rows[4])
    link = page.headers["link"].partition(">")[0].removeprefix("<")
    rest = [row for page in await read_pages(viewer, link) for row in page.json()]
    assert [row["id"] for row in rest][:3] == [rows[5]["id"], rows[1]["id"], rows[0]["id"]]
    assert {rows[0]["id"], rows[1]["id"], rows[3]["id"]} <= set(gone(rest))
    left = [row for row in await viewer.read(kind.path) if row["id"] not in {rows[2]["id"], rows[5]["id"]}]
    assert rest[-1:] == left


@EVERY
async def test_write_that_commits_after_a_sync_is_in_the_next(backend: Backend, viewer: Viewer, kind: Kind) -> None:
    (kept,) = await made(backend, viewer, kind, 1)
    removed = (await made(backend, viewer, kind, 1))[0]
    known = (await sync(viewer, kind.path, EARLIEST))[1]
    columns: Row = {"id": uuid4(), "user_id": viewer.id, **await kind.columns(backend)}
    elsewhere = await connect(backend.url)
    transaction = elsewhere.transaction()
    await transaction.start()
    await insert(elsewhere, kind.table, columns)
    await elsewhere.execute(f"DELETE FROM {kind.table} WHERE id = $1", UUID(removed["id"]))
    await kind.change(backend, viewer, kept)
    changes, until = await sync(viewer, kind.path, known)
    assert str(columns["id"]) not in {row["id"] for row in changes}
    assert removed["id"] not in gone(changes)
    await transaction.commit()
    await elsewhere.close()
    later = (await sync(viewer, kind.path, until))[0]
    assert str(columns["id"]) in {row["id"] for row in later}
    assert removed["id"] in gone(later)


WRONG_TIMES = (
    *("2024-01-01T00:00:00", "2024-01-01T00:00:00+00:00", "2024-01-01", "yesterday", "", "null", "1", "1e9", "inf"),
    *("2024-13-01T00:00:00Z", "24:00:00Z", "2024-01-01T00:00:00Z%00", "0001-01-01T00:00:00%2B23:59"),
    *("9999-12-31T23:59:59-23:59", "10000-01-01T00:00:00Z"),
)
WRONG_QUERIES = tuple(f"{EARLIEST}&{it}" for it in ("offset=1", "limit=0", "limit=101", "deleted=x", "deleted=null"))


@EVERY
async def test_wrong_query_is_422(viewer: Viewer, kind: Kind) -> None:
    # The lists share the parser of times, so one of them is tested with all values.
    times = WRONG_TIMES if kind.path == "/favorites" else WRONG_TIMES[:1]
    for query in (*times, *WRONG_QUERIES):
        response = await viewer.request("GET", f"{kind.path}?updated_since={query}")
        assert response.status_code == 422, query
        assert_error(response, 422)


@EVERY
async def test_time_with_any_zone_is_accepted(viewer: Viewer, kind: Kind) -> None:
    for time in (
        *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
        *("2024-01-01T00:00:00%2B14:00", "2024-01-01T00:00:00.123456789Z"),
    ):
        assert (await sync(viewer, kind.path, time))[0] == [], time


PLACE = {"until": EARLIEST, "changed_at": EARLIEST, "id": UNKNOWN_ID}


def cursor(**changes: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(PLACE | changes).encode()).decode()


WRONG_CURSORS = (
    *("x", "null", "%00", "é", "a" * 501, "e30=", base64.b64encode(b"\xff" * 9).decode(), cursor()[:-4]),
    *(cursor(**{name: time}) for name in ("until", "changed_at") for time in (None, "2024-01-01T00:00:00", 1, "")),
    *(cursor(**{name: "0001-01-01T00:00:00+23:59"}) for name in ("until", "changed_at")),
    *(cursor(**{name: "9999-12-31T23:59:59-23:59"}) for name in ("until", "changed_at")),
    *(cursor(id=it) for it in (None, "x", 1)),
)


async def test_invalid_cursor_of_changes_is_422(viewer: Viewer) -> None:
    for path, cursors in {"/favorites": WRONG_CURSORS, **{kind.path: ("x",) for kind in KINDS[1:]}}.items():
        for text in cursors:
            response = await viewer.request("GET", f"{path}?updated_since={EARLIEST}&cursor={text}")
            assert response.status_code == 422, f"{path} {text}"
            assert_error(response, 422)


async def test_changes_of_one_library_status_are_422(viewer: Viewer) -> None:
    assert_error(await viewer.request("GET", f"/library?updated_since={EARLIEST}&status=watching"), 422)


@EVERY
async def test_changes_take_a_fixed_number_of_statements(backend: Backend, viewer: Viewer, kind: Kind) -> None:
    rows = await made(backend, viewer, kind, 6)
    await kind.remove(backend, viewer, rows[0])
    with statements() as seen:
        assert len((await sync(viewer, kind.path, EARLIEST))[0]) == 6
    assert len(seen) == 4, seen


async def test_hidden_progress_is_listed_as_change(backend: Backend, viewer: Viewer) -> None:
    kind = next(kind for kind in KINDS if kind.path == "/watch/progress")
    rows = await made(backend, viewer, kind, 2)
    until = (await sync(viewer, kind.path, EARLIEST))[1]
    await viewer.write("DELETE", f"/watch/continue/{rows[0]['anime_id']}", status=204)
    changes, until = await sync(viewer, kind.path, until)
    assert [row["id"] for row in changes] == [rows[0]["id"]]
    await viewer.write("DELETE", f"/watch/continue/{rows[0]['anime_id']}", status=204)
    assert (await sync(viewer, kind.path, until))[0] == []


async def test_collection_of_deleted_anime_is_listed_as_change(backend: Backend, viewer: Viewer) -> None:
    kind = next(kind for kind in KINDS if kind.path == "/collections")
    (collection,) = await made(backend, viewer, kind, 1)
    anime_id = await backend.anime()
    await viewer.write("PUT", f"/collections/{collection['id']}/anime/{anime_id}", status=204)
    until = (await sync(viewer, kind.path, EARLIEST))[1]
    await backend.rows.execute("DELETE FROM anime WHERE id = $1", UUID(anime_id))
    now = await viewer.read(kind.path)
    assert now[0]["item_count"] == 0
    assert (await sync(viewer, kind.path, until))[0] == now


async def test_deleted_viewer_leaves_no_tombstones(backend: Backend) -> None:
    credentials = {"email": "leaver@example.org", "password": PASSWORD}
    tokens = (await backend.client.post("/auth/register", json=credentials)).json()
    leaver = Viewer(backend.client, uuid4(), tokens["access_token"])
    leaver.id = UUID((await leaver.read("/users/me"))["id"])
    for kind in KINDS:
        rows = await made(backend, leaver, kind, 2)
        await kind.remove(backend, leaver, rows[0])
    buried = "SELECT count(*) FROM tombstones WHERE user_id = $1"
    assert await backend.rows.fetchval(buried, leaver.id) == len(KINDS)
    await leaver.write("DELETE", "/users/me", {"password": PASSWORD}, 204)
    assert await backend.rows.fetchval(buried, leaver.id) == 0
    for kind in KINDS:
        assert await backend.rows.fetchval(f"SELECT count(*) FROM {kind.table} WHERE user_id = $1", leaver.id) == 0
