"""The permission matrix: each path and method of the application, for each kind of caller."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import count, product
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from litestar import Litestar, get
from litestar.params import FromPath
from litestar.routes import HTTPRoute
from sqlalchemy.engine import URL

from kitsu.app import create_app
from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.passwords import PasswordHasher
from kitsu.settings import Settings
from tests.application import client_of
from tests.databases import connect, copy_of
from tests.factories import VIEWER_TABLES, insert, insert_one_of_each, sign_in, viewer_rows
from tests.media_locations import folder_at
from tests.passkeys import Authenticator
from tests.values import UNKNOWN_ID

KEY = "k" * 32
PASSWORD = "the password of all users"
AVATAR = "0123.webp"
NEW_PASSKEY = {"challenge": "x", "rp": {"id": "x"}, "user": {"id": "x"}}
ANIME = "10000000-0000-4000-8000-000000000001"
UNTOUCHED = "10000000-0000-4000-8000-000000000002"
"""An anime that no user refers to."""
RELEASE = "20000000-0000-4000-8000-000000000001"
EPISODE = "30000000-0000-4000-8000-000000000001"
NUMBERS = count(2)
"""Of new episodes."""

CALLERS = ("guest", "user", "owner", "other", "editor", "admin", "expired")
"""`owner` owns the resource of the path, `other` owns another one of its kind, and `user` owns nothing."""


@dataclass
class Accounts:
    """The users, the owner's resources, and each caller's access token."""

    owner_id: UUID
    session_id: UUID
    refresh_token: str
    collection_id: UUID
    """A private collection."""
    view_id: UUID
    import_id: UUID
    tokens: dict[str, str | None]


class Row(NamedTuple):
    """One path and method: the status for each of CALLERS, and the request."""

    statuses: tuple[int, ...]
    body: Callable[[Accounts], Any] = lambda _: None
    parameters: Callable[[Accounts], dict[str, object]] = lambda _: {}
    query: str = ""


def anyone(status: int) -> tuple[int, ...]:
    return (status,) * len(CALLERS)


def bearer(status: int) -> tuple[int, ...]:
    return 401, status, status, status, status, status, 401


def admin(status: int) -> tuple[int, ...]:
    return 401, 403, 403, 403, 403, status, 401


def owner(status: int) -> tuple[int, ...]:
    return 401, 404, status, 404, 404, 404, 401


def editor(status: int) -> tuple[int, ...]:
    return 401, 403, 403, 403, status, status, 401


def the_collection(accounts: Accounts) -> dict[str, object]:
    return {"collection_id": accounts.collection_id, "anime_id": ANIME}


def the_anime(_: Accounts) -> dict[str, object]:
    return {"anime_id": ANIME}


def the_release(_: Accounts) -> dict[str, object]:
    return {"release_id": RELEASE}


def the_episode(_: Accounts) -> dict[str, object]:
    return {"episode_id": EPISODE}


def the_name(accounts: Accounts) -> dict[str, object]:
    return {"username": accounts.owner_id.hex}


def the_user(accounts: Accounts) -> dict[str, object]:
    return {"user_id": accounts.owner_id}


PUBLIC = Row(anyone(200))
TABLE: dict[tuple[str, str], Row] = {
    ("POST", "/auth/register"): Row(anyone(201), lambda _: {"email": f"{uuid4()}@example.org", "password": PASSWORD}),
    ("POST", "/auth/login"): Row(anyone(200), lambda it: {"email": f"{it.owner_id}@example.org", "password": PASSWORD}),
    ("POST", "/auth/refresh"): Row(anyone(200), lambda it: {"refresh_token": it.refresh_token}),
    ("POST", "/auth/verify/request"): Row((202, *bearer(202)[1:]), lambda _: {"email": f"{uuid4()}@example.org"}),
    ("POST", "/auth/verify"): Row(anyone(400), lambda _: {"token": "unknown"}),
    ("POST", "/auth/password/forgot"): Row(anyone(202), lambda _: {"email": f"{uuid4()}@example.org"}),
    ("POST", "/auth/password/reset"): Row(anyone(400), lambda _: {"token": "unknown", "new_password": PASSWORD}),
    ("POST", "/auth/email/confirm"): Row(anyone(400), lambda _: {"token": "unknown"}),
    ("POST", "/auth/email/revert"): Row(anyone(400), lambda _: {"token": "unknown"}),
    ("PATCH", "/users/me/email"): Row(bearer(202), lambda _: {"email": f"{uuid4()}@example.org", "password": PASSWORD}),
    ("GET", "/auth/providers"): Row(anyone(200)),
    ("GET", "/auth/oidc/{name}/start"): Row(anyone(404), parameters=lambda _: {"name": "unknown"}),
    ("GET", "/auth/oidc/{name}/callback"): Row(anyone(404), parameters=lambda _: {"name": "unknown"}),
    ("POST", "/auth/oidc/token"): Row(anyone(400), lambda _: {"code": "unknown"}),
    ("POST", "/auth/oidc/{name}/link"): Row(bearer(404), parameters=lambda _: {"name": "unknown"}),
    ("GET", "/users/me/links"): Row(bearer(200)),
    ("DELETE", "/users/me/links/{link_id}"): Row(bearer(404), parameters=lambda _: {"link_id": uuid4()}),
    ("POST", "/auth/logout"): Row(anyone(204), lambda it: {"refresh_token": it.refresh_token}),
    ("GET", "/auth/sessions"): Row(bearer(200)),
    ("DELETE", "/auth/sessions"): Row(bearer(204)),
    ("DELETE", "/auth/sessions/{session_id}"): Row(
        (401, 404, 204, 404, 404, 404, 401), parameters=lambda it: {"session_id": it.session_id}
    ),
    ("POST", "/auth/password"): Row(
        bearer(204), lambda _: {"current_password": PASSWORD, "new_password": "another long password"}
    ),
    ("POST", "/auth/login/second-factor"): Row(anyone(401), lambda _: {"challenge": "x", "code": "123456"}),
    ("POST", "/auth/login/second-factor/passkey"): Row(
        anyone(401), lambda _: {"challenge": "x", "credential": Authenticator().get({"challenge": "x", "rpId": "x"})}
    ),
    ("POST", "/auth/login/second-factor/passkey/options"): Row(anyone(401), lambda _: {"challenge": "x"}),
    ("GET", "/auth/second-factor"): Row(bearer(200)),
    ("DELETE", "/auth/second-factor"): Row(bearer(204), lambda _: {"password": PASSWORD}),
    ("POST", "/auth/second-factor/totp"): Row(bearer(201), lambda _: {"password": PASSWORD}),
    ("POST", "/auth/second-factor/totp/confirm"): Row(
        (401, 400, 400, 400, 400, 400, 401), lambda _: {"code": "123456"}
    ),
    ("DELETE", "/auth/second-factor/totp"): Row(bearer(404), lambda _: {"password": PASSWORD}),
    ("POST", "/auth/second-factor/passkeys/options"): Row(bearer(200), lambda _: {"password": PASSWORD}),
    ("POST", "/auth/second-factor/passkeys"): Row(
        bearer(401), lambda _: {"challenge": "x", "name": "x", "credential": Authenticator().create(NEW_PASSKEY)}
    ),
    ("DELETE", "/auth/second-factor/passkeys/{passkey_id}"): Row(
        bearer(404), lambda _: {"password": PASSWORD}, lambda _: {"passkey_id": uuid4()}
    ),
    ("POST", "/auth/second-factor/recovery-codes"): Row(
        bearer(401), lambda _: {"password": PASSWORD, "code": "123456"}
    ),
    ("GET", "/users/me"): Row(bearer(200)),
    ("PATCH", "/users/me"): Row(bearer(200), lambda _: {"username": uuid4().hex}),
    ("DELETE", "/users/me/avatar"): Row(bearer(204)),
    ("DELETE", "/users/me"): Row(bearer(204), lambda _: {"password": PASSWORD}),
    ("POST", "/users/me/deactivate"): Row(bearer(200), lambda _: {"password": PASSWORD}),
    ("GET", "/users"): Row(admin(200)),
    ("POST", "/users"): Row(admin(201), lambda _: {"email": f"{uuid4()}@example.org", "password": PASSWORD}),
    ("GET", "/users/{user_id}"): Row((401, 403, 200, 403, 403, 200, 401), parameters=the_user),
    ("PATCH", "/users/{user_id}"): Row(admin(200), lambda _: {"role": "admin", "is_active": False}, the_user),
    ("DELETE", "/users/{user_id}"): Row(admin(204), parameters=the_user),
    ("GET", "/anime"): PUBLIC,
    ("GET", "/anime/{anime_id}"): Row(anyone(200), parameters=lambda _: {"anime_id": ANIME}),
    ("GET", "/releases"): PUBLIC,
    ("GET", "/releases/{release_id}"): Row(anyone(200), parameters=lambda _: {"release_id": RELEASE}),
    ("GET", "/episodes"): Row(anyone(200), query=f"?release_id={RELEASE}"),
    ("GET", "/api/schedule"): PUBLIC,
    ("GET", "/api/episode/servers"): Row(anyone(200), query=f"?animeEpisodeId={EPISODE}"),
    ("GET", "/api/episode/sources"): Row(anyone(200), query=f"?animeEpisodeId={EPISODE}"),
    ("POST", "/api/import/{provider}"): Row(anyone(200), lambda _: {"animes": [{}]}, lambda _: {"provider": "anilist"}),
    ("POST", "/anime"): Row(editor(201), lambda _: {"title": "New"}),
    ("PATCH", "/anime/{anime_id}"): Row(editor(200), lambda _: {"year": 2001}, the_anime),
    ("DELETE", "/anime/{anime_id}"): Row(editor(200), parameters=the_anime, query="?dry_run=true"),
    ("GET", "/anime/{anime_id}/history"): Row(editor(200), parameters=the_anime),
    ("POST", "/anime/{anime_id}/history/{change_id}/revert"): Row(
        editor(404), parameters=lambda _: {"anime_id": ANIME, "change_id": 2**62}
    ),
    ("DELETE", "/anime/{anime_id}/edited-fields/{field}"): Row(
        editor(404), parameters=lambda _: {"anime_id": ANIME, "field": "poster"}
    ),
    ("GET", "/edited-fields"): Row(editor(200)),
    ("POST", "/anime/{anime_id}/merge"): Row(
        editor(200), lambda _: {"into": UNTOUCHED}, the_anime, query="?dry_run=true"
    ),
    ("POST", "/anime/{anime_id}/split"): Row(editor(422), lambda _: {"title": "New"}, the_anime),
    ("GET", "/merges"): Row(editor(200)),
    ("GET", "/import-reviews"): Row(editor(200)),
    ("POST", "/import-reviews/{review_id}"): Row(
        editor(404), lambda _: {"decision": "keep"}, lambda _: {"review_id": ANIME}
    ),
    ("POST", "/merges/{merge_id}/undo"): Row(editor(404), parameters=lambda _: {"merge_id": ANIME}),
    ("POST", "/releases"): Row(editor(201), lambda _: {"anime_id": UNTOUCHED, "title": "New"}),
    ("PATCH", "/releases/{release_id}"): Row(editor(200), lambda _: {"year": 2001}, the_release),
    ("DELETE", "/releases/{release_id}"): Row(editor(200), parameters=the_release, query="?dry_run=true"),
    ("POST", "/episodes"): Row(editor(201), lambda _: {"release_id": RELEASE, "number": next(NUMBERS)}),
    ("PATCH", "/episodes/{episode_id}"): Row(editor(200), lambda _: {"title": "New"}, the_episode),
    ("DELETE", "/episodes/{episode_id}"): Row(editor(200), parameters=the_episode, query="?dry_run=true"),
    ("GET", "/search/anime"): Row(anyone(200), query="?q=work"),
    ("GET", "/search/suggest"): Row(anyone(200), query="?q=work"),
    ("GET", "/genres"): PUBLIC,
    ("GET", "/studios"): PUBLIC,
    ("GET", "/seasons"): PUBLIC,
    ("GET", "/media/avatars/{name}"): Row(anyone(200), parameters=lambda _: {"name": AVATAR}),
    ("GET", "/health"): PUBLIC,
    ("GET", "/health/live"): PUBLIC,
    ("GET", "/health/ready"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", "/docs/assets/{name}"): Row(anyone(200), parameters=lambda _: {"name": "swagger-ui.css"}),
    ("GET", "/openapi.json"): PUBLIC,
}
VIEWER: dict[tuple[str, str], Row] = {
    ("GET", "/favorites"): Row(bearer(200)),
    ("POST", "/favorites"): Row(bearer(201), lambda _: {"anime_id": UNTOUCHED}),
    ("DELETE", "/favorites/{anime_id}"): Row(bearer(204), parameters=the_anime),
    ("GET", "/watch/progress"): Row(bearer(200)),
    ("POST", "/watch/progress"): Row(bearer(200), lambda _: {"anime_id": ANIME, "episode": 2, "position_seconds": 1}),
    ("POST", "/watch/progress/batch"): Row(bearer(200), lambda _: {"reports": [{}]}),
    ("DELETE", "/watch/progress/{anime_id}"): Row(bearer(204), parameters=the_anime),
    ("GET", "/watch/continue"): Row(bearer(200)),
    ("DELETE", "/watch/continue/{anime_id}"): Row(bearer(204), parameters=the_anime),
    ("GET", "/views"): Row(bearer(200)),
    ("POST", "/views"): Row(bearer(201), lambda _: {"episode_id": EPISODE, "progress": 2}),
    ("DELETE", "/views"): Row(bearer(204)),
    ("GET", "/history"): Row(bearer(200)),
    ("DELETE", "/history"): Row(bearer(204)),
    ("DELETE", "/history/{play_id}"): Row(bearer(404), parameters=lambda it: {"play_id": it.view_id}),
    ("DELETE", "/views/{view_id}"): Row(owner(204), parameters=lambda it: {"view_id": it.view_id}),
    ("GET", "/collections"): Row((200, 200, 200, 200, 200, 200, 401)),
    ("POST", "/collections"): Row(bearer(201), lambda _: {"name": "Mine"}),
    ("GET", "/collections/{collection_id}"): Row((404, 404, 200, 404, 404, 404, 401), parameters=the_collection),
    ("PATCH", "/collections/{collection_id}"): Row(owner(200), lambda _: {"name": "Mine"}, the_collection),
    ("DELETE", "/collections/{collection_id}"): Row(owner(204), parameters=the_collection),
    ("GET", "/collections/{collection_id}/anime"): Row((404, 404, 200, 404, 404, 404, 401), parameters=the_collection),
    ("PUT", "/collections/{collection_id}/order"): Row(
        (401, 404, 422, 404, 404, 404, 401), lambda _: {"anime_ids": [UNKNOWN_ID]}, the_collection
    ),
    ("PUT", "/collections/{collection_id}/anime/{anime_id}"): Row(owner(204), parameters=the_collection),
    ("DELETE", "/collections/{collection_id}/anime/{anime_id}"): Row(owner(204), parameters=the_collection),
    ("GET", "/library"): Row(bearer(200)),
    # The path names the caller's own entry.
    ("GET", "/library/{anime_id}"): Row((401, 404, 200, 200, 404, 404, 401), parameters=the_anime),
    ("PUT", "/library/{anime_id}"): Row(bearer(200), lambda _: {"status": "dropped"}, the_anime),
    ("PATCH", "/library/{anime_id}"): Row(bearer(404), lambda _: {"score": 3}, lambda _: {"anime_id": UNKNOWN_ID}),
    ("DELETE", "/library/{anime_id}"): Row(bearer(204), parameters=the_anime),
    ("POST", "/library/import"): Row(bearer(200), lambda _: {"lists": []}),
    ("GET", "/library/imports"): Row(bearer(200)),
    ("GET", "/library/imports/{import_id}"): Row(owner(200), parameters=lambda it: {"import_id": it.import_id}),
    ("GET", "/library/imports/{import_id}/rows"): Row(owner(200), parameters=lambda it: {"import_id": it.import_id}),
    ("GET", "/library/imports/{import_id}/not-imported"): Row(
        owner(200), parameters=lambda it: {"import_id": it.import_id}
    ),
    ("GET", "/library/export"): Row(bearer(200)),
    ("GET", "/users/me/export"): Row(bearer(200)),
    ("GET", "/users/me/statistics"): Row(bearer(200)),
    # The owner's profile is private.
    ("GET", "/profiles/{username}"): Row(anyone(404), parameters=the_name),
    ("GET", "/profiles/{username}/library"): Row(anyone(404), parameters=the_name),
}
TABLE |= VIEWER
TABLE |= {("HEAD", path): row for (method, path), row in list(TABLE.items()) if method == "GET"}
VIEWER |= {("HEAD", path): row for (method, path), row in list(VIEWER.items()) if method == "GET"}
TABLE |= {("OPTIONS", path): Row(anyone(204), parameters=row.parameters) for (_, path), row in list(TABLE.items())}


def routes(app: Litestar) -> set[tuple[str, str]]:
    """Return all methods and paths of the application."""
    found: set[tuple[str, str]] = set()
    for route in app.routes:
        if route.path_format == "/admin":  # tests/admin
            continue
        assert isinstance(route, HTTPRoute), f"{route.path} is not an HTTP route: this table can't describe it"
        found |= {(method, route.path_format) for handler in route.route_handlers for method in handler.http_methods}
        found |= {(method, route.path_format) for method in route.methods}
    return found


def differences(app: Litestar) -> set[tuple[str, str]]:
    """Return the routes that only the application or only the table has."""
    return routes(app) ^ TABLE.keys()


def the_app() -> Litestar:
    return create_app(Settings(secret_key=KEY, database_url=URL.create("postgresql+asyncpg")))


def test_table_has_every_route() -> None:
    assert differences(the_app()) == set()


def test_route_without_a_row_is_reported() -> None:
    @get("/new/{thing:str}", sync_to_thread=False)
    def get_new(thing: FromPath[str]) -> str:
        return thing

    app = the_app()
    app.register(get_new)
    assert differences(app) == {("GET", "/new/{thing}"), ("OPTIONS", "/new/{thing}")}


@dataclass
class Service:
    """A client of the application, and a connection to its database."""

    client: httpx.AsyncClient
    connection: asyncpg.Connection
    password_hash: str

    async def reset_accounts(self) -> Accounts:
        """Replace all users but the oldest, an administrator, by new ones."""
        await self.connection.execute("DELETE FROM users WHERE created_at > (SELECT min(created_at) FROM users)")
        roles = ("user", "user", "user", "editor", "admin")
        owner, user, other, editor, admin = [await sign_in(self.connection, role, self.password_hash) for role in roles]
        collection_id, view_id = await insert_one_of_each(self.connection, owner[0], ANIME, EPISODE)
        await insert_one_of_each(self.connection, other[0], ANIME, EPISODE)
        fresh, expired = [AccessTokens(secret_key=KEY, algorithm="HS256", minutes=minutes) for minutes in (5, -1)]
        tokens = {"guest": None, "expired": expired.issue(owner[0], owner[1])}
        signed_in = {"user": user, "owner": owner, "other": other, "editor": editor, "admin": admin}
        for name, (user_id, session_id, _) in signed_in.items():
            tokens[name] = fresh.issue(user_id, session_id)
        import_id = await self._import_of(owner[0])
        await self._import_of(other[0])
        return Accounts(*owner, collection_id, view_id, import_id, tokens)

    async def _import_of(self, user_id: UUID) -> UUID:
        """Insert a finished import, and return its id."""
        columns = {"user_id": user_id, "policy": "keep", "dry_run": False, "size": 1, "state": "done", "format": "json"}
        import_id = await insert(self.connection, "library_imports", columns)
        for file in ("rows", "not_imported"):
            await self.connection.execute(
                "INSERT INTO library_import_chunks VALUES ($1, $2, 0, '[]')", UUID(import_id), file
            )
        return UUID(import_id)

    async def stored(self) -> list[Any]:
        """Return all rows that a request could change, as PostgreSQL writes them."""
        tables = ("users", "auth_sessions", "refresh_tokens", "anime", "releases", "episodes", *VIEWER_TABLES)
        rows = " UNION ALL ".join(f"SELECT '{table}', t::text FROM {table} t" for table in tables)
        return list(await self.connection.fetch(f"{rows} ORDER BY 1, 2"))


@pytest.fixture(scope="module")
async def service(server: URL, template: URL, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """Yield a service with two anime, an episode, an avatar and an administrator."""
    hasher = PasswordHasher(threads=1, queue=1)
    password_hash = await hasher.hash(PASSWORD)
    hasher.close()
    place = folder_at(tmp_path_factory.mktemp("uploads"))
    place.put(AVATAR, b"a picture")
    async with copy_of(template, server) as url, client_of(url, rate_limit_enabled=False, **place.settings) as client:
        connection = await connect(url)
        for anime_id in (ANIME, UNTOUCHED):
            await connection.execute("INSERT INTO anime (id, title) VALUES ($1, 'A work')", UUID(anime_id))
        await insert(connection, "releases", {"id": UUID(RELEASE), "anime_id": UUID(ANIME), "title": "TV"})
        await insert(connection, "episodes", {"id": UUID(EPISODE), "release_id": UUID(RELEASE), "number": 1})
        service = Service(client, connection, password_hash)
        await sign_in(connection, "admin")  # so that the caller is never the last administrator
        yield service
        await connection.close()


@pytest.mark.parametrize(("method", "path"), TABLE)
async def test_caller_gets_the_status_of_the_table(service: Service, method: str, path: str) -> None:
    row = TABLE[method, path]
    accounts = await service.reset_accounts()
    for slash, (caller, status) in product(("", "/"), zip(CALLERS, row.statuses, strict=True)):
        case = f"{method} {path}{slash} as {caller}"
        token = accounts.tokens[caller]
        before, own = await service.stored(), await viewer_rows(service.connection, accounts.owner_id)
        response = await service.client.request(
            method,
            path.format(**row.parameters(accounts)) + slash + row.query,
            json=row.body(accounts),
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        assert response.status_code == status, f"{case}: {response.text}"
        if caller != "owner" and (method, path) in VIEWER:
            assert await viewer_rows(service.connection, accounts.owner_id) == own, case
            assert str(accounts.collection_id) not in response.text, case
            assert str(accounts.view_id) not in response.text, case
        if status in {401, 403, 404}:
            assert method == "HEAD" or list(response.json()) == ["code", "message", "details"], case
            assert str(accounts.owner_id) not in response.text, case
            assert ("www-authenticate" in response.headers) is (status == 401), case
        if status >= 400 or method in {"GET", "HEAD", "OPTIONS"}:
            assert await service.stored() == before, case
        else:
            accounts = await service.reset_accounts()
