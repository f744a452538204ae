"""GET /users/me/export returns all data of the user and of no other; DELETE /users/me deletes it."""

from typing import Any

import asyncpg
import httpx
from sqlalchemy.engine import URL

from kitsu.db.engine import create_engine
from kitsu.domain.catalogue.importing import load_sample
from tests.accounts import EMAIL, PASSWORD, bearer, register
from tests.application import client_of
from tests.databases import connect

MANY = 1200
"""More rows than one chunk."""
TABLES = """
SELECT table_name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name = 'user_id' ORDER BY 1
"""


async def filled(client: httpx.AsyncClient, email: str) -> dict[str, str]:
    """Register a user with a row in every list, and return the headers."""
    who = bearer(await register(client, email))
    anime = (await client.get("/anime?limit=3")).json()
    first, second = anime[0]["id"], anime[1]["id"]
    release = (await client.get(f"/releases?anime_id={first}")).json()[0]["id"]
    episode = (await client.get(f"/episodes?release_id={release}")).json()[0]["id"]
    collection = (await client.post("/collections", json={"name": f"of {email}"}, headers=who)).json()["id"]
    for method, path, body in (
        ("POST", "/favorites", {"anime_id": first}),
        ("POST", "/favorites", {"anime_id": second}),
        ("DELETE", f"/favorites/{second}", None),
        ("POST", "/views", {"episode_id": episode, "progress": 5, "device": f"device of {email}"}),
        ("PUT", f"/library/{first}", {"status": "watching", "notes": f"notes of {email}"}),
        ("PUT", f"/collections/{collection}/anime/{first}", None),
        ("PUT", f"/collections/{collection}/anime/{second}", None),
    ):
        response = await client.request(method, path, json=body, headers=who)
        assert response.is_success, response.text
    progress = {"anime_id": first, "episode": 2, "position_seconds": 7}
    response = await client.post("/watch/progress", json=progress, headers={**who, "Idempotency-Key": "one"})
    assert response.status_code == 200
    return who


async def rows_of(connection: asyncpg.Connection, user_id: str) -> dict[str, int]:
    """Return the number of the user's rows in each table."""
    tables = [row[0] for row in await connection.fetch(TABLES)]
    return {t: await connection.fetchval(f"SELECT count(*) FROM {t} WHERE user_id = $1", user_id) for t in tables}


async def test_export_contains_all_rows_of_the_user_only(database: URL) -> None:
    engine = create_engine(database)
    await load_sample(engine)
    await engine.dispose()
    async with client_of(database) as client:
        who, other = await filled(client, EMAIL), await filled(client, "chika@example.org")
        response = await client.get("/users/me/export", headers=who)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert "attachment" in response.headers["content-disposition"]
        export: dict[str, Any] = response.json()
        user_id = export["user"]["id"]
        assert export["user"] == (await client.get("/users/me", headers=who)).json()
        for name, path in (
            ("favorites", "/favorites"),
            ("watch_progress", "/watch/progress"),
            ("views", "/views"),
            ("library", "/library"),
            ("collections", "/collections"),
        ):
            listed = (await client.get(path, headers=who)).json()
            if name == "library":
                ids = (await client.get(f"/anime/{listed[0]['anime_id']}")).json()["external_ids"]
                listed = [{**entry, "external_ids": ids} for entry in listed]
                assert ids
            assert export[name] == listed, name
            assert len(export[name]) == 1
        assert [item["position"] for item in export["collection_items"]] == [0, 1]
        (session,) = export["sessions"]
        assert (session["ip"], session["revoked_at"]) == ("127.0.0.1", None)
        assert "chika" not in response.text
        assert "$argon2" not in response.text

        connection = await connect(database)
        before = await rows_of(connection, user_id)
        # Tokens, idempotency keys and tombstones are not exported: they have no data of the user.
        assert {name for name, count in before.items() if count} == {
            *("account_tokens", "auth_sessions", "collection_items", "collections", "favorites", "idempotency_keys"),
            *("library_entries", "refresh_tokens", "tombstones", "views", "watch_progress"),
        }
        of_other = await rows_of(connection, (await client.get("/users/me", headers=other)).json()["id"])
        gone = await client.request("DELETE", "/users/me", json={"password": PASSWORD}, headers=who)
        assert gone.status_code == 204
        assert set((await rows_of(connection, user_id)).values()) == {0}
        assert await connection.fetchval("SELECT count(*) FROM collection_items") == 2
        await connection.close()
        assert of_other == before
        assert (await client.get("/users/me/export", headers=who)).status_code == 401
        assert len((await client.get("/users/me/export", headers=other)).json()["favorites"]) == 1


async def test_export_of_several_chunks_is_complete(database: URL) -> None:
    async with client_of(database) as client:
        who = bearer(await register(client))
        connection = await connect(database)
        await connection.execute(
            "INSERT INTO anime (id, title) SELECT gen_random_uuid(), 'A' || n FROM generate_series(1, $1) n", MANY
        )
        await connection.execute(
            "INSERT INTO favorites (id, user_id, anime_id) "
            "SELECT gen_random_uuid(), users.id, anime.id FROM users, anime"
        )
        await connection.close()
        export = (await client.get("/users/me/export", headers=who)).json()
        assert len({item["id"] for item in export["favorites"]}) == MANY
        assert export["views"] == []
