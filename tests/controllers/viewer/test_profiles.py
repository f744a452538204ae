"""/profiles: private by default, and what a public profile shows."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tests.assertions import assert_error
from tests.factories import Backend, Viewer, insert
from tests.values import UNKNOWN_ID

ENTRY = {
    *("status", "score", "episodes_watched", "started_on", "completed_on", "times_rewatched", "is_rewatching"),
    *("updated_at", "anime"),
}


async def publish(backend: Backend, viewer: Viewer, **columns: Any) -> str:
    """Make the profile public, and return its path."""
    user = await viewer.write("PATCH", "/users/me", {"is_public": True})
    assert user["is_public"] is True
    for name, value in columns.items():
        await backend.rows.execute(f"UPDATE users SET {name} = $2 WHERE id = $1", viewer.id, value)
    return f"/profiles/{columns.get('username', user['username'])}"


async def entry(backend: Backend, viewer: Viewer, **columns: Any) -> str:
    """Insert a library entry, and return its anime."""
    anime_id = await backend.anime(duration_seconds=600)
    values = {"user_id": viewer.id, "anime_id": UUID(anime_id), "status": "watching", **columns}
    await insert(backend.rows, "library_entries", values)
    return anime_id


@pytest.mark.parametrize("path", ["", "/library"])
async def test_private_unknown_and_deactivated_profiles_get_the_same_404(
    backend: Backend, viewer: Viewer, path: str
) -> None:
    private = await viewer.read("/users/me")
    assert private["is_public"] is False
    inactive = await backend.viewer()
    inactive_path = await publish(backend, inactive, is_active=False)
    paths = [f"/profiles/{private['username']}", inactive_path, f"/profiles/{UNKNOWN_ID}", f"/profiles/{viewer.id}"]
    paths += [f"/profiles/{name}" for name in ("a%00b", "%F0%9F%A6%8A", "a" * 5000, "%25")]
    for each in paths:
        response = await backend.client.get(each + path)
        assert_error(response, 404, "Profile not found")
        assert response.headers["cache-control"] == "no-store"


async def test_owner_does_not_see_a_private_profile(viewer: Viewer) -> None:
    name = (await viewer.read("/users/me"))["username"]
    assert (await viewer.request("GET", f"/profiles/{name}")).status_code == 404
    assert (await viewer.request("GET", f"/profiles/{name}/library")).status_code == 404


async def test_public_profile_is_shown_to_guests(backend: Backend, viewer: Viewer) -> None:
    path = await publish(backend, viewer, created_at=datetime(2026, 4, 12, 23, 30, tzinfo=UTC), timezone="Asia/Tokyo")
    await entry(backend, viewer, status="completed", episodes_watched=12, score=8.5)
    await entry(backend, viewer, status="dropped", episodes_watched=1, score=4)
    response = await backend.client.get(path)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert "etag" not in response.headers
    assert response.json() == {
        "username": path.rpartition("/")[2],
        "avatar_url": None,
        "member_since": "2026-04-12",
        "statuses": {"watching": 0, "completed": 1, "on_hold": 0, "dropped": 1, "plan_to_watch": 0},
        "episodes": 13,
        "minutes": 130,
        "mean_score": 6.3,
    }
    assert (await viewer.request("GET", path)).json() == response.json()


async def test_profile_has_the_avatar_url_of_the_user(backend: Backend, viewer: Viewer) -> None:
    path = await publish(backend, viewer, avatar="uploads/avatars/0123.webp")
    url = (await backend.client.get(path)).json()["avatar_url"]
    assert url == (await viewer.read("/users/me"))["avatar_url"]
    assert url.endswith("/media/avatars/0123.webp")


async def test_name_is_found_in_any_case(backend: Backend, viewer: Viewer) -> None:
    await publish(backend, viewer, username="Kaguya_09-x")
    for name in ("Kaguya_09-x", "kaguya_09-X", "KAGUYA_09-X"):
        assert (await backend.client.get(f"/profiles/{name}")).json()["username"] == "Kaguya_09-x"
        assert (await backend.client.get(f"/profiles/{name}/library")).json() == []


async def test_profile_that_turns_private_again_is_404(backend: Backend, viewer: Viewer) -> None:
    path = await publish(backend, viewer)
    assert (await backend.client.get(path)).status_code == 200
    await viewer.write("PATCH", "/users/me", {"is_public": False})
    assert (await backend.client.get(path)).status_code == 404
    assert (await backend.client.get(f"{path}/library")).status_code == 404


async def test_library_shows_neither_notes_nor_tags_nor_ids(backend: Backend, viewer: Viewer) -> None:
    path = await publish(backend, viewer)
    columns: dict[str, Any] = {"score": 8.5, "episodes_watched": 7, "times_rewatched": 2, "is_rewatching": True}
    columns |= {"started_on": "2026-04", "completed_on": "2026-05-01"}
    anime_id = await entry(backend, viewer, **columns, status="completed", notes="a secret note", tags="a secret tag")
    response = await backend.client.get(f"{path}/library")
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert "secret" not in response.text
    assert str(viewer.id) not in response.text
    (shown,) = response.json()
    assert set(shown) == ENTRY
    own = await viewer.read(f"/library/{anime_id}")
    assert shown == {name: own[name] for name in ENTRY}
    assert shown.items() >= columns.items()


async def test_library_is_read_in_pages_last_changed_first(backend: Backend, viewer: Viewer) -> None:
    path = await publish(backend, viewer)
    anime = [
        await entry(backend, viewer, updated_at=datetime(2026, 1, day, tzinfo=UTC), status=status)
        for day, status in ((1, "watching"), (3, "dropped"), (2, "watching"))
    ]
    await entry(backend, await backend.viewer())
    newest_first = [anime[1], anime[2], anime[0]]
    response = await backend.client.get(f"{path}/library?limit=2&total=true")
    assert [it["anime"]["id"] for it in response.json()] == newest_first[:2]
    assert response.headers["x-total-count"] == "3"
    rest = await backend.client.get(response.links["next"]["url"])
    assert [it["anime"]["id"] for it in rest.json()] == newest_first[2:]
    assert "link" not in rest.headers
    watching = await backend.client.get(f"{path}/library?status=watching&limit=1&total=true")
    assert ([it["anime"]["id"] for it in watching.json()], watching.headers["x-total-count"]) == ([anime[2]], "2")
    last = await backend.client.get(watching.links["next"]["url"])
    assert [it["anime"]["id"] for it in last.json()] == [anime[0]]


@pytest.mark.parametrize("query", ["status=x", "status=null", "limit=0", "limit=101", "cursor=x", "offset=-1"])
async def test_invalid_parameter_of_a_library_is_422(backend: Backend, viewer: Viewer, query: str) -> None:
    path = await publish(backend, viewer)
    assert_error(await backend.client.get(f"{path}/library?{query}"), 422)
