"""deploy/citus.sql: the rules of Citus, checked with the system catalog and with the statements of viewers' requests.

Citus itself is not here: a function in its place gets the tables that are to be distributed.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import URL

from tests.accounts import EMAIL, PASSWORD, bearer, login, logout, refresh, register
from tests.application import client_of
from tests.databases import connect, copy_of, execute
from tests.db.citus_rules import DELETE, INSERT, UPDATE, changes, read_catalog, refusals, undistributed
from tests.db.query_trees import SETTINGS, Node, collected_statements, parse
from tests.domain.catalogue.test_import import entry, import_entries

SQL = (Path(__file__).parents[2] / "deploy" / "citus.sql").read_text()
CITUS = """
CREATE TABLE distributed (name text);
CREATE FUNCTION create_distributed_table(name text, by text, colocate_with text DEFAULT 'default') RETURNS void
LANGUAGE sql AS 'INSERT INTO distributed VALUES (name) '
"""
DISTRIBUTED = (
    *("auth_sessions", "refresh_tokens", "tombstones", "favorites", "watch_progress", "views", "play_counts", "plays"),
    *("library_entries", "collections", "collection_items"),
)
TRIGGERS_OF_ROWS = ("kitsu_bury", "kitsu_change_collections", "kitsu_uncount_plays")
# What viewers' requests may read or change of all users, as few requests do it and the answer is small.
OF_ALL_USERS = {"collections: rows of all users are read", "refresh_tokens: rows of all users are read"}


@pytest.fixture(scope="module")
async def distributed(server: URL, catalogue_template: URL) -> AsyncIterator[URL]:
    """Yield a database that deploy/citus.sql has prepared, and which sends the trees of its statements."""
    async with copy_of(catalogue_template, server) as url:
        lines = [line for line in SQL.splitlines() if not line.startswith("\\")]
        await execute(url, CITUS, "\n".join(lines))
        await execute(url, *(f"ALTER DATABASE {url.database} SET {name} = {value}" for name, value in SETTINGS.items()))
        yield url


@pytest.fixture
async def rows(distributed: URL) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(distributed)
    yield connection
    await connection.close()


async def test_tables_of_viewers_are_distributed(rows: asyncpg.Connection) -> None:
    assert {row["name"] for row in await rows.fetch("SELECT name FROM distributed")} == {*DISTRIBUTED}


async def test_keys_contain_the_user(rows: asyncpg.Connection) -> None:
    keys = await rows.fetch(
        "SELECT indexrelid::regclass::text AS name, ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = indrelid "
        "AND attnum = ANY (indkey[0:indnkeyatts - 1])) AS columns "
        f"FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE indisunique AND relname IN {DISTRIBUTED}"
    )
    assert len(keys) == len(DISTRIBUTED)
    assert [key["name"] for key in keys if "user_id" not in key["columns"]] == []


async def test_references_are_to_rows_of_the_same_user(rows: asyncpg.Connection) -> None:
    references = await rows.fetch(
        "SELECT pg_get_constraintdef(c.oid) AS text, t.relname::text AS of, r.relname::text AS to "
        "FROM pg_constraint c JOIN pg_class t ON t.oid = conrelid JOIN pg_class r ON r.oid = confrelid "
        f"WHERE contype = 'f' AND (t.relname IN {DISTRIBUTED} OR r.relname IN {DISTRIBUTED})"
    )
    assert {(row["of"], row["to"]) for row in references} == {
        ("collection_items", "collections"),
        ("refresh_tokens", "auth_sessions"),
    }
    assert all("(user_id, " in row["text"].partition("REFERENCES")[2] for row in references)


async def test_triggers_are_of_single_rows(rows: asyncpg.Connection) -> None:
    triggers = await rows.fetch(
        "SELECT relname || ': ' || pg_get_triggerdef(g.oid) AS text, tgoldtable, tgnewtable, proname::text "
        "FROM pg_trigger g JOIN pg_class c ON c.oid = tgrelid JOIN pg_proc p ON p.oid = tgfoid "
        f"WHERE NOT tgisinternal AND relname IN {DISTRIBUTED}"
    )
    assert {row["proname"] for row in triggers} == {*TRIGGERS_OF_ROWS}
    unfit = [row["text"] for row in triggers if row["tgoldtable"] or row["tgnewtable"] or "EACH ROW" not in row["text"]]
    assert unfit == []


async def test_statements_of_viewers_are_of_one_user(distributed: URL, rows: asyncpg.Connection) -> None:
    catalog = await read_catalog(rows, DISTRIBUTED)
    with collected_statements() as statements:
        async with client_of(distributed, rate_limit_enabled=False) as client:
            await use_lists(client)
            await use_sessions(client)
    assert {problem for each in statements for problem in refusals(each.tree, catalog)} - OF_ALL_USERS == set()
    for each in statements:
        if each.context and any(name in each.context for name in TRIGGERS_OF_ROWS):
            assert undistributed(each.tree, catalog) == set(), each.context
    changed = {change for each in statements for change in changes(each.tree, catalog)}
    assert changed >= {(table, command) for table in DISTRIBUTED for command in COMMANDS[table]}


COMMANDS = {
    "auth_sessions": (INSERT, UPDATE),
    "refresh_tokens": (INSERT, UPDATE),
    "tombstones": (INSERT,),
    "favorites": (INSERT, DELETE),
    "watch_progress": (INSERT, UPDATE, DELETE),
    "views": (INSERT, DELETE),
    "play_counts": (INSERT, UPDATE),
    "plays": (INSERT, DELETE),
    "library_entries": (INSERT, UPDATE, DELETE),
    "collections": (INSERT, UPDATE, DELETE),
    "collection_items": (INSERT, UPDATE, DELETE),
}
"""What the requests below do, so that the check sees it."""


IMPORTED = """<myanimelist><anime>
<series_animedb_id>1</series_animedb_id><my_status>{}</my_status>
</anime></myanimelist>"""


async def use_lists(client: httpx.AsyncClient) -> None:
    """Send each kind of request of a viewer's lists."""
    who = bearer(await register(client))
    one, two, three = [row["id"] for row in (await client.get("/anime?limit=3")).json()]
    release = (await client.get(f"/releases?anime_id={one}")).json()[0]["id"]
    episode = (await client.get(f"/episodes?release_id={release}")).json()[0]["id"]

    async def send(method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        response = await client.request(method, path, json=body, headers={**who, **headers})
        assert response.is_success, f"{method} {path}: {response.text}"
        return response

    async def read(*paths: str) -> None:
        for path in paths:
            await send("GET", path)

    lists = ("/favorites", "/watch/progress", "/views", "/collections", "/library")
    await send("POST", "/favorites", {"anime_id": one})
    await send("POST", "/watch/progress", {"anime_id": one, "episode": 1, "position_seconds": 5})
    await send("PUT", f"/library/{one}", {"status": "plan_to_watch"})
    finished = {"anime_id": one, "episode": 1, "progress_percent": 95}
    await send("POST", "/watch/progress", finished)
    await send(
        "POST", "/watch/progress", {"anime_id": two, "episode": 1, "progress_percent": 95}, **{"Idempotency-Key": "1"}
    )
    await send("POST", "/watch/progress/batch", {"reports": [{**finished, "watched_at": "2026-01-02T03:04:05Z"}]})
    await send("DELETE", f"/watch/continue/{one}")
    view = (await send("POST", "/views", {"episode_id": episode, "progress": 5})).json()["id"]
    await send("POST", "/views", {"episode_id": episode, "progress": 100_000})
    entry = (await send("PATCH", f"/library/{one}", {"score": 7, "status": "watching"})).headers["etag"]
    await send("PUT", f"/library/{one}", {"status": "completed"}, **{"If-Match": entry})
    for status, outcome in (("Watching", "added"), ("Dropped", "updated")):
        content = IMPORTED.format(status).encode()
        report = (await client.post("/library/import?policy=replace", content=content, headers=who)).json()
        assert report[outcome] == 1

    collection = "/collections/" + (await send("POST", "/collections", {"name": "a"})).json()["id"]
    await send("PATCH", collection, {"name": "b", "is_public": True})
    for anime in (one, two):
        await send("PUT", f"{collection}/anime/{anime}")
    await send("PUT", f"{collection}/anime/{three}?position=0")
    await send("PUT", f"{collection}/anime/{two}?position=0")
    await send("PUT", f"{collection}/order", {"anime_ids": [three, two, one]})
    await read(collection, f"{collection}/anime")
    assert (await client.get("/collections")).json()[0]["item_count"] == 3  # of a guest
    await read(*lists, "/watch/continue", "/history", "/users/me/statistics", "/users/me/export", "/library/export")
    await send("DELETE", f"{collection}/anime/{one}")
    assert (await send("GET", collection)).json()["version"] == 8
    await send("DELETE", f"/favorites/{one}")
    await send("DELETE", f"/watch/progress/{one}")
    await send("DELETE", f"/views/{view}")
    await send("DELETE", f"/library/{one}")
    play = (await send("GET", "/history")).json()[0]["id"]
    await send("DELETE", f"/history/{play}")
    await send("DELETE", collection)
    for path in lists:
        changed = (await send("GET", f"{path}?updated_since=2000-01-01T00:00:00Z&deleted=true")).json()
        assert [row for row in changed if "deleted_at" in row], path
    await send("DELETE", "/views")
    await send("DELETE", "/history")


async def use_sessions(client: httpx.AsyncClient) -> None:
    """Send each kind of request of sessions."""
    tokens = (await login(client)).json()
    newer = (await refresh(client, tokens["refresh_token"])).json()
    assert (await refresh(client, tokens["refresh_token"])).status_code == 200
    newest = (await refresh(client, newer["refresh_token"])).json()
    assert (await refresh(client, tokens["refresh_token"])).status_code == 401  # the session is revoked
    assert (await refresh(client, newest["refresh_token"])).status_code == 403
    other, current = (await login(client)).json(), (await login(client)).json()
    sessions = (await client.get("/auth/sessions", headers=bearer(current))).json()
    ended = next(row["id"] for row in sessions if not row["current"])
    assert (await client.delete(f"/auth/sessions/{ended}", headers=bearer(current))).status_code == 204
    assert (await client.delete("/auth/sessions", headers=bearer(current))).status_code == 204
    assert (await refresh(client, other["refresh_token"])).status_code == 403
    assert (await logout(client, current["refresh_token"])).status_code == 204
    assert EMAIL in (await client.get("/users/me", headers=bearer((await login(client)).json()))).text


async def test_import_of_the_catalogue_has_only_queries_of_all_users(
    distributed: URL, rows: asyncpg.Connection, tmp_path: Path
) -> None:
    catalog = await read_catalog(rows, DISTRIBUTED)
    names = ["Aki", "Fuyu"]
    sources = [f"https://anidb.net/anime/{number}" for number in (900_001, 900_002, 900_003)]
    aki, fuyu = [entry(title=name, sources=[source]) for name, source in zip(names, sources[:2], strict=True)]
    fuyu["sources"].append(sources[2])
    with collected_statements() as statements:
        await import_entries(distributed, tmp_path, aki, fuyu)
        # An id moves, and there are fewer episodes.
        changed = [{**aki, "sources": [sources[0], sources[2]]}, {**fuyu, "sources": [sources[1]], "episodes": 2}]
        report = await import_entries(distributed, tmp_path, *changed)
    assert (report.identities.ids_moved, report.updated) == (1, 2)
    assert {problem for each in statements for problem in refusals(each.tree, catalog)} == {
        *(f"{table}: rows of all users are read" for table in ("favorites", "library_entries")),
        *(f"{table}: rows of all users are read" for table in ("views", "plays", "watch_progress")),
        "views: rows of all users are changed",  # by the trigger of deleted episodes
    }


async def test_rows_are_deleted_with_what_they_are_about(distributed: URL, rows: asyncpg.Connection) -> None:
    async with client_of(distributed, rate_limit_enabled=False) as client:
        tokens = await register(client, "chika@example.org")
        who = bearer(tokens)
        kept, gone = [row["id"] for row in (await client.get("/anime?limit=2")).json()]
        release = (await client.get(f"/releases?anime_id={gone}")).json()[0]["id"]
        episode = (await client.get(f"/episodes?release_id={release}")).json()[0]["id"]
        collection = (await client.post("/collections", json={"name": "a"}, headers=who)).json()["id"]
        for anime in (kept, gone):
            await client.post("/favorites", json={"anime_id": anime}, headers=who)
            await client.put(f"/library/{anime}", json={"status": "watching"}, headers=who)
            await client.put(f"/collections/{collection}/anime/{anime}", headers=who)
            report = {"anime_id": anime, "episode": 1, "progress_percent": 95}
            await client.post("/watch/progress", json=report, headers=who)
        await client.post("/views", json={"episode_id": episode, "progress": 1}, headers=who)

        await rows.execute("DELETE FROM anime WHERE id = $1", gone)
        for path in ("/favorites", "/library", "/watch/progress", "/history", f"/collections/{collection}/anime"):
            listed = (await client.get(path, headers=who)).json()
            assert [row.get("anime_id", row["id"]) for row in listed] == [kept], path
        assert (await client.get("/views", headers=who)).json() == []
        user_id = (await client.get("/users/me", headers=who)).json()["id"]
        assert await rows.fetchval("SELECT plays FROM play_counts WHERE user_id = $1", user_id) == 1
        kinds = await rows.fetch("SELECT kind FROM tombstones WHERE user_id = $1 ORDER BY 1", user_id)
        assert [row["kind"] for row in kinds] == ["favorites", "library_entries", "views", "watch_progress"]

        deleted = await client.request("DELETE", "/users/me", json={"password": PASSWORD}, headers=who)
        assert deleted.status_code == 204
        for table in DISTRIBUTED:
            assert await rows.fetchval(f"SELECT count(*) FROM {table} WHERE user_id = $1", user_id) == 0, table


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE plays SET watched_at = clock_timestamp() WHERE user_id = $1", "plays: a volatile function in SET"),
        ("DELETE FROM plays WHERE user_id = $1 AND random() < 0.5", "plays: a volatile function in WHERE"),
        (
            "DELETE FROM plays WHERE user_id = $1 RETURNING now()",
            "plays: a function in RETURNING that is not immutable",
        ),
        (
            "UPDATE plays SET watched_at = coalesce(watched_at, now()) WHERE user_id = $1",
            "plays: a function in CASE or COALESCE that is not immutable",
        ),
        (
            "DELETE FROM plays WHERE user_id = $1 AND to_char(watched_at, 'YYYY') = '2026'",
            "plays: a stable function of a column",
        ),
        ("INSERT INTO play_counts VALUES ($1, (SELECT count(*) FROM users), 1)", "play_counts: a subquery in VALUES"),
        (
            (
                "INSERT INTO views (id, user_id, episode_id, progress) VALUES ($1, $1, $1, 1) "
                "ON CONFLICT (user_id, episode_id) DO UPDATE SET updated_at = now()"
            ),
            "views: a function in DO UPDATE SET that is not immutable",
        ),
        (
            (
                "INSERT INTO views (id, user_id, episode_id, progress) VALUES ($1, $1, $1, 1) "
                "ON CONFLICT (user_id, episode_id) DO UPDATE SET progress = 2 WHERE views.updated_at < now()"
            ),
            "views: a function in ON CONFLICT WHERE that is not immutable",
        ),
        ("UPDATE collections SET name = 'x' WHERE id = $1", "collections: rows of all users are changed"),
        ("SELECT FROM collections WHERE id = $1 FOR UPDATE", "collections: rows of all users are read"),
        (
            "SELECT FROM plays JOIN anime ON anime.id = anime_id WHERE user_id = $1 FOR UPDATE OF plays",
            "plays: rows are locked in a query of other tables",
        ),
        (
            "SELECT FROM anime WHERE EXISTS (SELECT FROM plays WHERE anime_id = anime.id AND user_id = $1)",
            "plays: a correlated subquery in a query of anime",
        ),
        (
            "SELECT FROM plays WHERE user_id = $1 AND EXISTS (SELECT FROM anime WHERE id = anime_id)",
            "anime: a correlated subquery in a query of plays",
        ),
        (
            "WITH gone AS (DELETE FROM favorites WHERE id = $1 RETURNING id) SELECT FROM gone",
            "favorites: rows of all users are changed",
        ),
    ],
)
async def test_refused_statement_is_found(rows: asyncpg.Connection, statement: str, problem: str) -> None:
    assert problem in refusals(await tree_of(rows, statement), await read_catalog(rows, DISTRIBUTED))


async def test_other_tables_of_a_statement_are_found(rows: asyncpg.Connection) -> None:
    tree = await tree_of(rows, "DELETE FROM plays WHERE anime_id IN (SELECT id FROM anime)")
    assert undistributed(tree, await read_catalog(rows, DISTRIBUTED)) == {"anime"}


async def tree_of(rows: asyncpg.Connection, statement: str) -> Node:
    messages: list[str] = []

    def listen(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
        messages.append(message.as_dict()["detail"])

    rows.add_log_listener(listen)
    await rows.prepare(statement)
    await rows.fetchval("SELECT 1")  # the messages come before its result
    rows.remove_log_listener(listen)
    return parse(messages[0])[0]
