"""/collections: permissions, changes, and the order of their anime."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.assertions import assert_error, check_bodies_refused, check_list, statements
from tests.controllers.catalogue.test_anime import LIST_FIELDS
from tests.factories import Backend, Viewer
from tests.values import BAD_IDS, EXTRA, NOT_TEXTS, UNKNOWN_ID

FIELDS = {"id", "name", "description", "is_public", "item_count", "version", "created_at", "updated_at"}
GONE = "Collection not found"


async def make(viewer: Viewer, **more: Any) -> str:
    """Create a collection and return its path."""
    made = await viewer.write("POST", "/collections", {"name": "Rainy days", **more}, 201)
    return f"/collections/{made['id']}"


async def order(viewer: Viewer, path: str) -> list[str]:
    return [item["id"] for item in await viewer.read(f"{path}/anime?limit=100")]


async def put(viewer: Viewer, path: str, anime_id: str, position: int | None = None) -> None:
    query = "" if position is None else f"?position={position}"
    assert await viewer.write("PUT", f"{path}/anime/{anime_id}{query}", status=204) is None


ONE = f"/collections/{UNKNOWN_ID}"
CHANGES: list[tuple[str, str, Any]] = [
    ("PATCH", "", {"name": "Mine"}),
    ("DELETE", "", None),
    ("PUT", f"/anime/{UNKNOWN_ID}", None),
    ("DELETE", f"/anime/{UNKNOWN_ID}", None),
    ("PUT", "/order", {"anime_ids": []}),
]


@pytest.mark.parametrize("path", ["/collections", ONE, f"{ONE}/anime"])
async def test_invalid_token_on_guest_path_is_401(backend: Backend, path: str) -> None:
    for authorization in ("Bearer x", "Basic eDp5", "Bearer"):
        assert_error(await backend.client.get(path, headers={"Authorization": authorization}), 401)
    assert_error(await backend.client.get("/collections?updated_since=2020-01-01T00:00:00Z"), 401)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("more", [{}, {"description": "null", "is_public": True}, {"description": None}])
async def test_collection_is_created_and_read_back(viewer: Viewer, slash: str, more: dict[str, Any]) -> None:
    response = await viewer.request("POST", f"/collections{slash}", json={"name": "Rainy days", **more})
    made = response.json()
    assert (response.status_code, set(made)) == (201, FIELDS)
    expected = {"name": "Rainy days", "description": None, "is_public": False, "item_count": 0, "version": 1} | more
    assert made == made | expected | {"updated_at": made["created_at"]}
    assert response.headers["etag"] == f'"{made["id"]}.1"'
    path = f"/collections/{made['id']}{slash}"
    assert await viewer.read(path) == made
    assert await viewer.read(f"/collections{slash}") == [made]
    assert await viewer.write("DELETE", path, status=204) is None
    for method in ("GET", "DELETE"):
        assert_error(await viewer.request(method, path), 404, GONE)
    assert await viewer.read("/collections") == []


async def test_omitted_fields_keep_their_value(viewer: Viewer) -> None:
    path = await make(viewer, description="Wet", is_public=True)
    known = await viewer.read(path)
    changes: tuple[dict[str, Any], ...] = (
        {"name": "д" * 255},
        {"description": "x" * 10_000},
        {"description": None},
        {"is_public": False},
        {"name": "All", "description": "", "is_public": True},
    )
    for version, change in enumerate(changes, 2):
        changed = await viewer.write("PATCH", path, change)
        assert changed["updated_at"] > known["updated_at"]
        assert changed == known | change | {"version": version, "updated_at": changed["updated_at"]}
        assert await viewer.read(path) == changed
        known = changed


NOT_FLAGS: tuple[Any, ...] = (None, "yes", 2, [], {})
WRONG: list[dict[str, Any]] = [
    *[{"name": it} for it in (None, "", "x" * 256, *NOT_TEXTS)],
    *[{"description": it} for it in ("x" * 10_001, *NOT_TEXTS)],
    *[{"is_public": it} for it in NOT_FLAGS],
]


async def test_invalid_body_is_422(viewer: Viewer) -> None:
    path = await make(viewer)
    known = await viewer.read("/collections")
    await check_bodies_refused(viewer, "POST", "/collections", [{}, *({"name": "x", **change} for change in WRONG)])
    await check_bodies_refused(viewer, "PATCH", path, ["x", None, 1, *WRONG])
    assert await viewer.read("/collections") == known


async def test_unknown_field_is_422(viewer: Viewer) -> None:
    path = await make(viewer)
    known = await viewer.read("/collections")
    bodies = [{"name": "x", name: value} for name, value in {**EXTRA, "item_count": 5}.items()]
    await check_bodies_refused(viewer, "POST", "/collections", bodies)
    await check_bodies_refused(viewer, "PATCH", path, bodies)
    assert await viewer.read("/collections") == known


@pytest.mark.parametrize("name", [" ", "\t\n", "\u200b", "\u3000\u3164", "\u2800\ufeff\xa0", "\u202e\u00ad"])
async def test_name_without_visible_character_is_422(viewer: Viewer, name: str) -> None:
    path = await make(viewer)
    for method, target in (("POST", "/collections"), ("PATCH", path)):
        response = await viewer.request(method, target, json={"name": name})
        assert response.json()["details"] == [{"field": "name", "message": "Must have a visible character"}]
    assert await viewer.write("PATCH", path, {"name": f"{name}雨"})


async def test_unknown_collection_or_anime_is_404(backend: Backend, viewer: Viewer) -> None:
    for method, suffix, body in (("GET", "", None), ("GET", "/anime", None), *CHANGES):
        more = {} if body is None else {"json": body}
        assert_error(await viewer.request(method, ONE + suffix, **more), 404, GONE)
        for bad in BAD_IDS:
            assert_error(await viewer.request(method, f"/collections/{bad}{suffix}", **more), 422)
    path = await make(viewer)
    assert_error(await viewer.request("PUT", f"{path}/anime/{UNKNOWN_ID}"), 404, "Anime not found")
    assert_error(await viewer.request("PUT", f"{path}/anime/{UNKNOWN_ID}?position=0"), 404, "Anime not found")
    assert await viewer.write("DELETE", f"{path}/anime/{UNKNOWN_ID}", status=204) is None
    for bad in BAD_IDS:
        assert_error(await viewer.request("PUT", f"{path}/anime/{bad}"), 422)
    anime_id = await backend.anime()
    for position in ("-1", "x", "1.5", "", str(2**31), str(10**30)):
        assert_error(await viewer.request("PUT", f"{path}/anime/{anime_id}?position={position}"), 422)
    assert (await viewer.read(path))["version"] == 1


async def test_private_collection_is_visible_to_its_owner_only(backend: Backend, viewer: Viewer) -> None:
    other = await backend.viewer()
    paths = {True: await make(viewer, is_public=True), False: await make(viewer)}
    anime_id = await backend.anime()
    for path in paths.values():
        await put(viewer, path, anime_id)
    guest = backend.client
    for suffix in ("", "/anime"):
        own = await viewer.read(paths[True] + suffix)
        assert (await guest.get(paths[True] + suffix)).json() == own == await other.read(paths[True] + suffix)
        assert_error(await guest.get(paths[False] + suffix), 404, GONE)
        assert_error(await other.request("GET", paths[False] + suffix), 404, GONE)
    mine = await viewer.read("/collections")
    assert [f"/collections/{it['id']}" for it in mine] == [paths[False], paths[True]]
    assert await other.read("/collections") == []
    public = (await guest.get("/collections?limit=100")).json()
    assert mine[1] in public
    assert all(it["is_public"] for it in public)
    await viewer.write("PATCH", paths[True], {"is_public": False})
    assert_error(await guest.get(paths[True]), 404, GONE)
    assert mine[1]["id"] not in {it["id"] for it in (await guest.get("/collections?limit=100")).json()}


@pytest.mark.parametrize("is_public", [True, False])
@pytest.mark.parametrize(("method", "suffix", "body"), CHANGES)
async def test_change_of_another_viewers_collection_is_rejected(
    backend: Backend, viewer: Viewer, method: str, suffix: str, body: Any, is_public: bool
) -> None:
    other = await backend.viewer()
    path = await make(viewer, is_public=is_public)
    anime_id = await backend.anime()
    await put(viewer, path, anime_id)
    known = await viewer.read(path), await viewer.read(f"{path}/anime")
    status = 403 if is_public else 404
    for headers in ({}, {"If-Match": "*"}, {"If-Match": '"x"'}):
        target = path + suffix.replace(UNKNOWN_ID, anime_id)
        response = await other.request(method, target, headers=headers, **({} if body is None else {"json": body}))
        assert_error(response, status, "Insufficient permissions" if is_public else GONE)
    assert (await viewer.read(path), await viewer.read(f"{path}/anime")) == known


async def test_lists_are_sorted_newest_first(backend: Backend, viewer: Viewer) -> None:
    paths = [await make(viewer, is_public=True) for _ in range(5)]
    await viewer.write("PATCH", paths[1], {"name": "Changed"})
    newest = [path.rpartition("/")[2] for path in reversed(paths)]
    await check_list(viewer, "/collections", newest)
    response = await backend.client.get("/collections?limit=5&total=true")
    assert [it["id"] for it in response.json()] == newest
    assert int(response.headers["x-total-count"]) >= 5
    with statements() as seen:
        await viewer.read("/collections")
    assert len(seen) == 2, seen


async def test_anime_are_in_the_order_of_the_owner(backend: Backend, viewer: Viewer) -> None:
    a, b, c, d, e = await backend.animes(5)
    path = await make(viewer, is_public=True)
    expected: list[str] = []
    moves: list[tuple[str, int | None]] = [
        *((a, None), (b, None), (c, None)),
        *((d, 0), (e, 2), (a, 99), (d, 2**31 - 1), (c, 0), (c, 1), (c, 2), (b, 3), (b, 3)),
        *((a, 0), (e, None), (d, 4), (a, 4), (a, 0)),
    ]
    for anime_id, position in moves:
        await put(viewer, path, anime_id, position)
        if position is not None or anime_id not in expected:
            expected = [it for it in expected if it != anime_id]
            expected.insert(len(expected) if position is None else position, anime_id)
        assert await order(viewer, path) == expected, (anime_id, position)
    assert (await viewer.read(path))["item_count"] == 5
    await check_list(viewer, f"{path}/anime", expected)
    for _ in range(2):
        await viewer.write("DELETE", f"{path}/anime/{expected[1]}/", status=204)
        assert await order(viewer, path) == [expected[0], *expected[2:]]
    assert (await viewer.read(path))["item_count"] == 4
    await put(viewer, path, expected[1], 1)
    assert await order(viewer, path) == expected


async def test_item_is_a_list_anime_with_added_at(backend: Backend, viewer: Viewer) -> None:
    path = await make(viewer)
    for anime_id in await backend.animes(4):
        await put(viewer, path, anime_id)
    with statements() as seen:
        items = await viewer.read(f"{path}/anime")
    assert len(seen) == 3, seen
    listed = {it["id"]: it for it in (await backend.client.get("/anime?limit=100")).json()}
    for item in items:
        assert set(item) == LIST_FIELDS | {"added_at"}
        assert item == listed[item["id"]] | {"added_at": item["added_at"]}
        assert item["added_at"].endswith("Z")


async def test_concurrent_adds_all_get_a_position(backend: Backend, viewer: Viewer) -> None:
    animes = await backend.animes(6)
    path = await make(viewer)
    await asyncio.gather(*(put(viewer, path, it, n % 3 or None) for n, it in enumerate([*animes, *animes])))
    assert sorted(await order(viewer, path)) == sorted(animes)
    assert (await viewer.read(path))["item_count"] == 6
    await asyncio.gather(*(viewer.write("DELETE", f"{path}/anime/{it}", status=204) for it in (*animes, *animes)))
    assert (await viewer.read(path))["item_count"] == 0


async def test_owner_sorts_the_anime(backend: Backend, viewer: Viewer) -> None:
    path, animes = await make(viewer), await backend.animes(4)
    for anime_id in animes:
        await put(viewer, path, anime_id)
    wanted = [animes[at] for at in (2, 0, 3, 1)]
    before = await viewer.read(path)
    after = await viewer.write("PUT", f"{path}/order", {"anime_ids": wanted})
    assert after == before | {"version": before["version"] + 1, "updated_at": after["updated_at"]}
    assert await order(viewer, path) == wanted
    await put(viewer, path, extra := await backend.anime())
    await put(viewer, path, wanted[3], 0)
    now = [wanted[3], *wanted[:3], extra]
    assert await order(viewer, path) == now
    bodies: list[Any] = [
        *[{"anime_ids": it} for it in (now[:0], now[1:], [*now, UNKNOWN_ID], [*now, extra], [*now[1:], UNKNOWN_ID])],
        *[{"anime_ids": it} for it in (None, [1], ["x"], 1)],
        {"anime_ids": now, "more": 1},
        {},
    ]
    await check_bodies_refused(viewer, "PUT", f"{path}/order", bodies)
    assert await order(viewer, path) == now


async def test_wrong_order_names_the_anime(backend: Backend, viewer: Viewer) -> None:
    path, animes = await make(viewer), await backend.animes(23)
    for anime_id in animes:
        await put(viewer, path, anime_id)
    for sent, messages in (
        ([*animes[2:], animes[4]], [f"Missing: {animes[0]}, {animes[1]}", f"More than once: {animes[4]}"]),
        ([*animes, UNKNOWN_ID], [f"Not in the collection: {UNKNOWN_ID}"]),
        ([], [f"Missing: {', '.join(animes[:20])} and 3 more"]),
    ):
        response = await viewer.request("PUT", f"{path}/order", json={"anime_ids": sent})
        assert_error(response, 422)
        assert response.json()["details"] == [{"field": "anime_ids", "message": each} for each in messages]


async def test_order_of_a_changed_collection_is_412(backend: Backend, viewer: Viewer) -> None:
    path, animes = await make(viewer), await backend.animes(2)
    tag = (await viewer.request("GET", path)).headers["etag"]
    for anime_id in animes:
        await put(viewer, path, anime_id)
    body = {"anime_ids": animes[::-1]}
    stale = await viewer.request("PUT", f"{path}/order", json=body, headers={"If-Match": tag})
    assert_error(stale, 412)
    assert await order(viewer, path) == animes
    tag = (await viewer.request("GET", path)).headers["etag"]
    changed = await viewer.request("PUT", f"{path}/order", json=body, headers={"If-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] == (await viewer.request("GET", path)).headers["etag"] != tag
    assert await order(viewer, path) == animes[::-1]


async def test_large_collection_is_sorted(backend: Backend, viewer: Viewer) -> None:
    path = await make(viewer)
    await backend.rows.execute(
        "WITH made AS (INSERT INTO anime (id, title) SELECT gen_random_uuid(), 'A' FROM generate_series(1, 3000)"
        " RETURNING id) INSERT INTO collection_items (user_id, collection_id, anime_id, position)"
        " SELECT $1, $2, id, 0 FROM made",
        *(viewer.id, UUID(path.rpartition("/")[2])),
    )
    rows = await backend.rows.fetch(
        "SELECT anime_id FROM collection_items WHERE collection_id = $1 ORDER BY anime_id DESC", UUID(path[13:])
    )
    wanted = [str(row["anime_id"]) for row in rows]
    await viewer.write("PUT", f"{path}/order", {"anime_ids": wanted})
    assert await order(viewer, path) == wanted[:100]


async def test_public_collection_of_a_deactivated_account_is_hidden(backend: Backend, viewer: Viewer) -> None:
    owner, admin = await backend.viewer(), await backend.viewer("admin")
    path = await make(owner, is_public=True)
    for is_active in (False, True):
        await admin.write("PATCH", f"/users/{owner.id}", {"is_active": is_active})
        status = 200 if is_active else 404
        for target in (path, f"{path}/anime"):
            assert (await backend.client.get(target)).status_code == status
            assert (await viewer.request("GET", target)).status_code == status
        assert (await viewer.request("DELETE", path)).status_code == (403 if is_active else 404)
        listed = (await backend.client.get("/collections?limit=100&total=true")).json()
        assert (path.rpartition("/")[2] in {each["id"] for each in listed}) is is_active
