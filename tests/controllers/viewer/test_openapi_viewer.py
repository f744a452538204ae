"""/openapi.json against real responses of the viewer operations."""

from typing import Any

import httpx
import msgspec
from litestar.routes import HTTPRoute
from sqlalchemy.engine import URL

from kitsu.app import create_app
from kitsu.settings import Settings
from tests.controllers.operations.test_openapi import check_response
from tests.controllers.viewer import viewer_operations
from tests.factories import backend_of
from tests.values import UNKNOWN_ID

Call = tuple[str, str, str, dict[str, Any]]
# Each role with a token has the permissions of these operations; other tests send large bodies, and many.
NOT_TO_BE_HAD = {"403", "413", "429"}


LARGE = b" " * (5 << 20) + b"{}"
"""A file that needs a job."""
UNKNOWN = {"lists": [{"status": "CURRENT", "entries": [{"media": {"id": 1}}]}]}
"""A list of an anime that is not in the catalogue."""


def calls(
    anime: str, spare: str, episode: str, collection: str, others: str, view: str, play: str, import_: str
) -> list[Call]:
    """Return each operation with a call for each status that a client can cause, in this order."""
    favorite, progress = {"anime_id": anime}, {"anime_id": anime, "episode": 1, "position_seconds": 1}
    entry, one, unknown = f"/library/{anime}", f"/collections/{collection}", f"/collections/{UNKNOWN_ID}"
    view_body, stale = {"episode_id": episode, "progress": 1}, {"headers": {"If-Match": '"x"'}}
    batches: tuple[Any, ...] = ({"reports": [progress]}, {"reports": []})
    imports: tuple[Any, ...] = ({"lists": []}, 1)
    since = "?updated_since=2000-01-01T00:00:00Z&deleted=true"
    lists = {"Favorites": "/favorites", "WatchProgress": "/watch/progress", "Views": "/views", "Library": "/library"}
    lists |= {"Collections": "/collections"}
    import_paths = tuple(f"/library/imports/{it}" for it in (import_, UNKNOWN_ID, "x"))
    return [
        *(
            ("addFavorite", "POST", "/favorites", {"json": it})
            for it in (favorite, favorite, {"anime_id": UNKNOWN_ID}, 1)
        ),
        *(
            ("postWatchProgress", "POST", "/watch/progress", {"json": it})
            for it in (progress, progress | {"episode": 0})
        ),
        *(
            ("postWatchProgress", "POST", "/watch/progress", {"json": progress | it})
            for it in ({"anime_id": UNKNOWN_ID}, {"episode": "x"}, {"progress_percent": 100})
        ),
        *(("postWatchProgressBatch", "POST", "/watch/progress/batch", {"json": it}) for it in batches),
        ("postView", "POST", "/views", {"json": view_body | {"watched_at": "2999-01-01T00:00:00Z"}}),
        *(
            ("postView", "POST", "/views", {"json": it})
            for it in (view_body, view_body | {"episode_id": UNKNOWN_ID}, 1)
        ),
        *(("addCollection", "POST", "/collections", {"json": it}) for it in ({"name": "x"}, {"name": ""})),
        *(
            ("changeCollection", "PATCH", it, {"json": {"name": "y"}})
            for it in (one, unknown, "/collections/x", others)
        ),
        ("changeCollection", "PATCH", one, {"json": {"name": "y"}, **stale}),
        *(("putCollectionAnime", "PUT", f"{it}/anime/{anime}", {}) for it in (one, unknown, "/collections/x", others)),
        ("putCollectionAnime", "PUT", f"{one}/anime/{anime}", stale),
        *(
            ("orderCollection", "PUT", f"{it}/order", {"json": {"anime_ids": [anime]}})
            for it in (one, unknown, "/collections/x", others)
        ),
        ("orderCollection", "PUT", f"{one}/order", {"json": {"anime_ids": [anime]}, **stale}),
        *(("getCollection", "GET", it, {}) for it in (one, unknown, "/collections/x", others)),
        *(("listCollectionAnime", "GET", f"{it}/anime", {}) for it in (one, unknown, "/collections/x")),
        *(("putLibraryEntry", "PUT", it, {"json": {"status": "watching"}}) for it in (entry, f"/library/{UNKNOWN_ID}")),
        ("putLibraryEntry", "PUT", entry, {"json": {"status": "x"}}),
        *(("changeLibraryEntry", "PATCH", it, {"json": {"score": 7.5}}) for it in (entry, f"/library/{UNKNOWN_ID}")),
        ("changeLibraryEntry", "PATCH", entry, {"json": {"score": 7.25}}),
        ("changeLibraryEntry", "PATCH", entry, {"json": {"score": 7}, **stale}),
        *(("listPlays", "GET", f"/history{it}", {}) for it in ("", "?limit=0")),
        *(("removePlay", "DELETE", f"/history/{it}", {}) for it in (play, UNKNOWN_ID, "x")),
        ("clearPlays", "DELETE", "/history", {}),
        ("putLibraryEntry", "PUT", entry, {"json": {"status": "watching"}, **stale}),
        *(("getLibraryEntry", "GET", it, {}) for it in (entry, f"/library/{spare}", "/library/x")),
        *((f"list{name}", "GET", path, {}) for name, path in lists.items()),
        *((f"list{name}", "GET", f"{path}{since}", {}) for name, path in lists.items()),
        *((f"list{name}", "GET", f"{path}?limit=0", {}) for name, path in lists.items()),
        *(("listContinueWatching", "GET", f"/watch/continue{it}", {}) for it in ("", "?limit=0")),
        *(("importLibrary", "POST", "/library/import", {"json": it}) for it in imports),
        *(("importLibrary", "POST", "/library/import", {"content": LARGE}) for _ in range(2)),
        *(("listLibraryImports", "GET", f"/library/imports{it}", {}) for it in ("", "?limit=0")),
        *(("getLibraryImport", "GET", it, {}) for it in import_paths),
        *(("listImportedRows", "GET", f"{it}/rows", {}) for it in import_paths),
        *(("downloadNotImported", "GET", f"{it}/not-imported", {}) for it in import_paths),
        *(("exportLibrary", "GET", f"/library/export{it}", {}) for it in ("", "?format=x")),
        *(("hideFromContinueWatching", "DELETE", f"/watch/continue/{it}", {}) for it in (anime, "x")),
        *(("removeWatchProgress", "DELETE", f"/watch/progress/{it}", {}) for it in (anime, "x")),
        *(("removeFavorite", "DELETE", f"/favorites/{it}", {}) for it in (anime, "x")),
        ("removeLibraryEntry", "DELETE", entry, stale),
        ("removeCollection", "DELETE", one, stale),
        ("removeCollectionAnime", "DELETE", f"{one}/anime/{anime}", stale),
        *(("removeLibraryEntry", "DELETE", f"/library/{it}", {}) for it in (anime, "x")),
        *(
            ("removeCollectionAnime", "DELETE", f"{it}/anime/{anime}", {})
            for it in (one, unknown, "/collections/x", others)
        ),
        *(("removeCollection", "DELETE", it, {}) for it in (one, unknown, "/collections/x", others)),
        *(("removeView", "DELETE", f"/views/{it}", {}) for it in (view, UNKNOWN_ID, "x")),
        ("clearViews", "DELETE", "/views", {}),
        *((f"list{name}", "GET", f"{path}{since}", {}) for name, path in lists.items()),
        ("exportMe", "GET", "/users/me/export", {}),
        ("getStatistics", "GET", "/users/me/statistics", {}),
    ]


def check(schema: dict[str, Any], operation: dict[str, Any], response: httpx.Response) -> None:
    assert str(response.status_code) in operation["responses"], response.text
    described = operation["responses"][str(response.status_code)]
    if response.status_code == 204:
        assert (response.content, described.get("content")) == (b"", None)
    else:
        check_response(schema, operation, response)
    assert ("ETag" in described.get("headers", {})) >= ("etag" in response.headers)


async def test_responses_match_the_description(server: URL, template: URL) -> None:
    async with backend_of(server, template) as backend:
        schema = (await backend.client.get("/openapi.json")).json()
        operations = {it["operationId"]: it for path in schema["paths"].values() for it in path.values()}
        viewer, other = await backend.viewer(), await backend.viewer()
        anime, spare = await backend.animes(2)
        episode = await backend.episode(anime)
        view = await viewer.write("POST", "/views", {"episode_id": await backend.episode(anime), "progress": 1}, 201)
        await viewer.write("POST", "/watch/progress", {"anime_id": spare, "episode": 1, "progress_percent": 100})
        (play,) = await viewer.read("/history")
        mine = await viewer.write("POST", "/collections", {"name": "x"}, 201)
        others = await other.write("POST", "/collections", {"name": "x", "is_public": True}, 201)
        imported = await viewer.write("POST", "/library/import", UNKNOWN)
        seen = set()
        for name, method, path, more in calls(
            *(anime, spare, episode, mine["id"], f"/collections/{others['id']}", view["id"], play["id"], imported["id"])
        ):
            guest = await backend.client.request(method, path, headers={"Authorization": "Bearer x"})
            check(schema, operations[name], guest)
            assert guest.status_code == 401
            response = await viewer.request(method, path, **more)
            check(schema, operations[name], response)
            seen.add((name, str(response.status_code)))
    every = viewer_operations.VIEWER | viewer_operations.GUESTS_TOO
    expected = {(name, status) for name, (_, statuses) in every.items() for status in statuses - NOT_TO_BE_HAD}
    expected -= {(name, "409") for name in viewer_operations.LIMITED}
    assert {(name, status) for name, status in seen if status not in NOT_TO_BE_HAD} == expected


async def test_profiles_match_the_description(server: URL, template: URL) -> None:
    async with backend_of(server, template) as backend:
        schema = (await backend.client.get("/openapi.json")).json()
        viewer = await backend.viewer()
        await viewer.write("PUT", f"/library/{await backend.anime()}", {"status": "watching", "score": 8.5})
        path = f"/profiles/{(await viewer.write('PATCH', '/users/me', {'is_public': True}))['username']}"
        for sent, status in ((path, 200), ("/profiles/unknown", 404)):
            response = await backend.client.get(sent)
            check(schema, schema["paths"]["/profiles/{username}"]["get"], response)
            assert response.status_code == status
        for sent, status in (
            (f"{path}/library", 200),
            ("/profiles/unknown/library", 404),
            (f"{path}/library?limit=0", 422),
        ):
            response = await backend.client.get(sent)
            check(schema, schema["paths"]["/profiles/{username}/library"]["get"], response)
            assert response.status_code == status


def test_body_fields_and_dependencies_have_different_names() -> None:
    # Litestar would report an invalid field of that name as its own error, with status 500.
    app = create_app(Settings(secret_key="k" * 32, database_url=URL.create("postgresql+asyncpg")))
    handlers = [it for route in app.routes if isinstance(route, HTTPRoute) for it in route.route_handlers]
    found = []
    for handler in handlers:
        if body := handler.parsed_fn_signature.parameters.get("data"):
            fields = {field.name for field in msgspec.structs.fields(body.annotation)}
            found += [(handler.operation_id, name) for name in sorted(fields & handler.dependency_name_set)]
    assert found == []
