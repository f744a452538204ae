"""All requests that write, the rows that they need, and snapshots of the rows of users."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx

from tests.faults.conftest import Postgres
from tests.images import plain

PASSWORD = "a long enough password"
NOT_OF_USERS = {
    "alembic_version", "anime", "anime_titles", "title_words", "external_ids", "releases", "episodes",
    "catalogue_imports", "catalogue_changes", "anime_merges", "merged_rows", "import_reviews", "import_runs",
    "import_chunks", "command_runs", "schedules", "missed_searches", "daily_numbers", "rate_limits", "stray_files",
    "login_counters",
    "pgqueuer_schedules", "pgqueuer_statistics",
}  # fmt: skip
"""Tables without rows of users, or with rows that a request commits before its own transaction."""
NUMBERS = {"id", "job_id"}
"""Columns with numbers that differ in each run, such as those of jobs."""
CATALOGUE = """
WITH chosen AS (SELECT id, row_number() OVER (ORDER BY id) AS n FROM anime LIMIT 4),
     known AS (INSERT INTO external_ids (provider, external_id, anime_id)
               SELECT 'myanimelist', n::text, id FROM chosen),
     release AS (INSERT INTO releases (id, anime_id, title) SELECT id, id, 'Season 1' FROM chosen WHERE n = 1
                 RETURNING id),
     episode AS (INSERT INTO episodes (id, release_id, number)
                 SELECT c.id, r.id, c.n FROM release r, chosen c WHERE c.n < 3)
SELECT id::text FROM chosen ORDER BY n
"""
LIST = """<myanimelist>
<anime><series_animedb_id>1</series_animedb_id><series_title>1</series_title><my_status>Dropped</my_status></anime>
<anime><series_animedb_id>2</series_animedb_id><series_title>2</series_title><my_status>Completed</my_status></anime>
<anime><series_animedb_id>9</series_animedb_id><series_title>1000</series_title><my_status>Completed</my_status></anime>
</myanimelist>"""
REPLACE = {"policy": "replace"}

# Values that differ in each run: ids, times, hashes, stored responses, names of files.
_GENERATED = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT.*|[0-9a-f]{64}|\\x[0-9a-f]+|\$argon2.*|uploads/.*"
)
# Within other values, such as the parameters of a mail.
_GENERATED_PART = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d \d\d:\d\d")


class Write(NamedTuple):
    """A request that writes."""

    name: str
    method: str
    path: str
    arguments: dict[str, Any]
    """Keyword arguments of httpx for body, query and headers."""


Rows = dict[str, list[dict[str, Any]]]


class Accounts:
    """Users with some rows in each table, which a test can restore."""

    def __init__(self, client: httpx.AsyncClient, postgres: Postgres, uploads: Path) -> None:
        self._client, self._postgres, self._uploads = client, postgres, uploads

    async def create(self) -> list[Write]:
        """Create the accounts, and return the requests that write."""
        self._connection: Any = await asyncpg.connect(self._postgres.dsn)
        first, second, third, fourth = (row[0] for row in await self._connection.fetch(CATALOGUE))
        owner, other_session = await self._account("kaguya@example.org")
        admin, _ = await self._account("admin@example.org")
        await self._connection.execute("UPDATE users SET role = 'admin' WHERE email = 'admin@example.org'")
        other, _ = await self._account("miyuki@example.org")
        user_id = (await self._request("GET", "/users/me", headers=other)).json()["id"]
        for anime in (first, second):
            await self._request("POST", "/favorites", headers=owner, json={"anime_id": anime})
        await self._request("POST", "/watch/progress", headers=owner, json=_progress(first, 1))
        entry = await self._request("PUT", f"/library/{first}", headers=owner, json={"status": "plan_to_watch"})
        seen = {"episode_id": first, "progress": 5}
        view = (await self._request("POST", "/views", headers=owner, json=seen)).json()["id"]
        collection_id = (await self._request("POST", "/collections", headers=owner, json={"name": "a"})).json()["id"]
        collection = f"/collections/{collection_id}"
        for anime in (first, second, third):
            await self._request("PUT", f"{collection}/anime/{anime}", headers=owner)
        finished = {"anime_id": second, "episode": 1, "progress_percent": 95}
        await self._request("POST", "/watch/progress", headers=owner, json=finished)
        play = (await self._request("GET", "/history", headers=owner)).json()[0]["id"]
        tag = (await self._request("GET", collection, headers=owner)).headers["etag"]
        await self._take_snapshot()

        batch = {"reports": [_progress(third, 1)]}
        signed_in, once = {"headers": owner}, {**owner, "Idempotency-Key": "k"}
        credentials = {"email": "kaguya@example.org", "password": PASSWORD}
        new = {"email": "chika@example.org", "password": PASSWORD}
        refresh = {"json": {"refresh_token": other_session["refresh_token"]}}
        picture = {"avatar": ("a.png", plain(), "image/png")}
        passwords = {"current_password": PASSWORD, "new_password": "another long password"}
        session = (await self._request("GET", "/auth/sessions", headers=_bearer(other_session))).json()
        session_id = next(each["id"] for each in session if each["current"])
        change = {"role": "admin", "email": "m@example.org"}
        if_match = {"headers": {**owner, "If-Match": tag}}
        admin_user = f"/users/{user_id}"
        return [
            Write("register", "POST", "/auth/register", {"json": new}),
            Write("login", "POST", "/auth/login", {"json": credentials}),
            Write("refresh", "POST", "/auth/refresh", refresh),
            Write("logout", "POST", "/auth/logout", refresh),
            Write("end a session", "DELETE", f"/auth/sessions/{session_id}", signed_in),
            Write("end other sessions", "DELETE", "/auth/sessions", signed_in),
            Write("change the password", "POST", "/auth/password", {**signed_in, "json": passwords}),
            Write("change the username", "PATCH", "/users/me", {**signed_in, "json": {"username": "ice_kaguya"}}),
            Write("change the avatar", "PATCH", "/users/me", {**signed_in, "files": picture}),
            Write("delete the account", "DELETE", "/users/me", {**signed_in, "json": {"password": PASSWORD}}),
            Write("delete the avatar", "DELETE", "/users/me/avatar", signed_in),
            Write("deactivate", "POST", "/users/me/deactivate", {**signed_in, "json": {"password": PASSWORD}}),
            Write("add a user", "POST", "/users", {"headers": admin, "json": new}),
            Write("change a user", "PATCH", admin_user, {"headers": admin, "json": change}),
            Write("deactivate a user", "PATCH", admin_user, {"headers": admin, "json": {"is_active": False}}),
            Write("delete a user", "DELETE", admin_user, {"headers": admin}),
            Write("add a favourite", "POST", "/favorites", {**signed_in, "json": {"anime_id": fourth}}),
            Write("remove a favourite", "DELETE", f"/favorites/{first}", signed_in),
            Write("post progress", "POST", "/watch/progress", {**signed_in, "json": _progress(first, 2)}),
            Write("post progress once", "POST", "/watch/progress", {"headers": once, "json": _progress(first, 2)}),
            Write("post a batch", "POST", "/watch/progress/batch", {**signed_in, "json": batch}),
            Write("remove progress", "DELETE", f"/watch/progress/{first}", signed_in),
            Write("remove a play", "DELETE", f"/history/{play}", signed_in),
            Write("clear plays", "DELETE", "/history", signed_in),
            Write("hide from continue", "DELETE", f"/watch/continue/{first}", signed_in),
            Write("post a view", "POST", "/views", {**signed_in, "json": {**seen, "episode_id": second}}),
            Write("post a view once", "POST", "/views", {"headers": once, "json": {**seen, "episode_id": second}}),
            Write("remove a view", "DELETE", f"/views/{view}", signed_in),
            Write("clear views", "DELETE", "/views", signed_in),
            Write("add a collection", "POST", "/collections", {**signed_in, "json": {"name": "b"}}),
            Write("change a collection", "PATCH", collection, {**if_match, "json": {"name": "c"}}),
            Write("delete a collection", "DELETE", collection, signed_in),
            Write(
                "order a collection", "PUT", f"{collection}/order",
                {**signed_in, "json": {"anime_ids": [third, first, second]}},
            ),
            Write("append an item", "PUT", f"{collection}/anime/{fourth}", signed_in),
            Write("move an item", "PUT", f"{collection}/anime/{third}", {**signed_in, "params": {"position": 0}}),
            Write("remove an item", "DELETE", f"{collection}/anime/{second}", signed_in),
            Write("put a library entry", "PUT", f"/library/{first}", {**signed_in, "json": {"status": "completed"}}),
            Write(
                "put a library entry if it matches", "PUT", f"/library/{first}",
                {"headers": {**owner, "If-Match": entry.headers["etag"]}, "json": {"status": "dropped"}},
            ),
            Write("patch a library entry", "PATCH", f"/library/{first}", {**signed_in, "json": {"score": 7}}),
            Write("remove a library entry", "DELETE", f"/library/{first}", signed_in),
            Write(
                "import a list", "POST", "/library/import",
                {"headers": {**owner, "Content-Type": "application/xml"}, "content": LIST, "params": REPLACE},
            ),
        ]  # fmt: skip

    async def restore(self) -> None:
        """Restore the rows and the files of the snapshot."""
        await self._connection.execute(self._restore)
        for path in self._files():
            path.unlink()
        for path, content in self._saved_files.items():
            path.write_bytes(content)

    async def rows(self) -> Rows:
        """Return all rows of users, by table."""
        found: Rows = {table: [] for table in self._tables}
        for table, row in await self._connection.fetch(self._dump):
            found[table].append(json.loads(row))
        return found

    async def orphan_files(self) -> set[str]:
        """Return the files that no user and no note of an orphan refers to."""
        known = "SELECT avatar FROM users WHERE avatar IS NOT NULL UNION SELECT path FROM stray_files"
        referred = {row[0].rpartition("/")[2] for row in await self._connection.fetch(known)}
        return {path.name for path in self._files()} - referred

    async def busy_connections(self) -> list[str]:
        """Return state and statement of the service's connections that are not idle."""
        query = (
            "SELECT state || ': ' || query FROM pg_stat_activity WHERE application_name = 'kitsu' AND state <> 'idle'"
        )
        return [row[0] for row in await self._connection.fetch(query)]

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    def _files(self) -> list[Path]:
        return [path for path in self._uploads.rglob("*") if path.is_file()]

    async def _account(self, email: str) -> tuple[dict[str, str], dict[str, str]]:
        """Register, upload an avatar and log in; return the first session's headers and the second session's tokens."""
        credentials = {"email": email, "password": PASSWORD}
        headers = _bearer((await self._request("POST", "/auth/register", json=credentials)).json())
        await self._request("PATCH", "/users/me", headers=headers, files={"avatar": ("a.png", plain(), "image/png")})
        return headers, (await self._request("POST", "/auth/login", json=credentials)).json()

    async def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return (await self._client.request(method, path, **arguments)).raise_for_status()

    async def _take_snapshot(self) -> None:
        """Copy the rows and the files for `restore`."""
        names = await self._connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        self._tables = [row[0] for row in names if row[0] not in NOT_OF_USERS]
        copies = (f"CREATE TABLE snapshot.{table} AS TABLE public.{table}" for table in self._tables)
        await self._connection.execute(";".join(("CREATE SCHEMA snapshot", *copies)))
        override = "OVERRIDING SYSTEM VALUE"  # for identity columns
        back = (
            f"DELETE FROM {table}; INSERT INTO {table} {override} SELECT * FROM snapshot.{table}"
            for table in self._tables
        )
        # The role replica disables triggers and foreign keys.
        begin = "BEGIN; SET LOCAL session_replication_role = replica; SET LOCAL synchronous_commit = off"
        self._restore = ";".join((begin, *back, "DELETE FROM stray_files", "COMMIT"))
        dumps = (f"SELECT '{table}', to_jsonb(t)::text FROM {table} t" for table in self._tables)
        self._dump = " UNION ALL ".join(dumps) + " ORDER BY 1, 2"
        self._saved_files = {path: path.read_bytes() for path in self._files()}


def outcome(before: Rows, after: Rows) -> Any:
    """Return the rows that a request left. Generated values are replaced, since they differ in each run."""
    known = {value for rows in before.values() for row in rows for value in row.values() if isinstance(value, str)}
    numbers = {(table, row[name]) for table, rows in before.items() for row in rows for name in NUMBERS & row.keys()}

    def stable(table: str, name: str, value: Any) -> Any:
        if isinstance(value, str):
            is_new = value not in known and _GENERATED.fullmatch(value) is not None
        else:
            is_new = name in NUMBERS and (table, value) not in numbers
        return "generated" if is_new else value

    def line(table: str, row: dict[str, Any]) -> str:
        text = json.dumps({name: stable(table, name, value) for name, value in row.items()})
        return _GENERATED_PART.sub(lambda found: found[0] if found[0] in known else "generated", text)

    return {table: sorted(line(table, row) for row in rows) for table, rows in after.items()}


def _bearer(tokens: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def _progress(anime: str, episode: int) -> dict[str, Any]:
    return {"anime_id": anime, "episode": episode, "position_seconds": 30}
