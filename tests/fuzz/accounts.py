"""Accounts for generated requests, with one row of each kind, and the values that lead a request to them."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from sqlalchemy.engine import URL

from kitsu.domain.accounts.access_tokens import AccessTokens
from kitsu.domain.accounts.passwords import hash_password
from tests.cli.process import SECRET_KEY
from tests.databases import connect
from tests.factories import insert, insert_one_of_each, sign_in

PASSWORD = "a long enough password"
HASH = hash_password(PASSWORD)
NOT_IMPORTED = b'{"exported_at": "2026-11-22T08:39:35Z", "entries": []}'
ENTRY = '{"title": "An anime of a file", "status": null, "episode_count": 1}'
_CHANGE = "SELECT id FROM catalogue_changes WHERE anime_id = $1 ORDER BY id DESC LIMIT 1"


class Account:
    """The headers of a caller, and values by the names of parameters and fields."""

    def __init__(self, headers: dict[str, str], values: dict[str, Any]) -> None:
        self.headers, self.values = headers, values


def new_account(database: URL, role: str, *, has_totp: bool = False) -> Account:
    """Insert a user with a session, an anime of its own, and rows of all kinds; `guest` gets no token."""
    return asyncio.run(_insert(database, role, has_totp=has_totp))


async def _insert(database: URL, role: str, *, has_totp: bool) -> Account:
    rows = await connect(database)
    try:
        user = await sign_in(rows, "user" if role == "guest" else role, HASH)
        values = await _catalogue(rows)
        collection_id, view_id = await insert_one_of_each(rows, user.user_id, values["anime_id"], values["episode_id"])
        await rows.execute("UPDATE users SET is_public = true WHERE id = $1", user.user_id)
        anime = UUID(values["anime_id"])
        play = {"user_id": user.user_id, "anime_id": anime, "episode": 1, "watched_at": datetime.now(UTC)}
        play_id = await insert(rows, "plays", play)
        if has_totp:
            await rows.execute("INSERT INTO totp_factors VALUES ($1, '', now(), now())", user.user_id)
        columns = {"policy": "keep", "dry_run": False, "size": 1, "state": "done", "format": "json"}
        import_id = await insert(rows, "library_imports", {"user_id": user.user_id, **columns})
        for file, content in {"rows": b"[]", "not_imported": NOT_IMPORTED}.items():
            await rows.execute(
                "INSERT INTO library_import_chunks VALUES ($1, $2, 0, $3)", UUID(import_id), file, content
            )
    finally:
        await rows.close()
    token = AccessTokens(secret_key=SECRET_KEY, algorithm="HS256", minutes=30).issue(user.user_id, user.session_id)
    own = {
        "user_id": user.user_id,
        "username": user.user_id.hex,
        "email": f"{user.user_id}@example.org",
        "session_id": user.session_id,
        "refresh_token": user.refresh_token,
        "password": PASSWORD,
        "current_password": PASSWORD,
        "new_password": f"{PASSWORD}!",
        "collection_id": collection_id,
        "view_id": view_id,
        "import_id": import_id,
        "play_id": play_id,
    }
    headers = {} if role == "guest" else {"Authorization": f"Bearer {token}"}
    texts = {name: str(value) for name, value in (values | own).items()}
    lists = {"anime_ids": [texts["anime_id"]], "releases": [texts["release_id"]], "episodes": []}
    return Account(headers, texts | lists)


async def _catalogue(rows: asyncpg.Connection) -> dict[str, Any]:
    """Insert two anime, a release, an episode and a change of the anime."""
    anime_id, other = [await insert(rows, "anime", {"title": f"Anime {uuid4()}"}) for _ in range(2)]
    release_id = await insert(rows, "releases", {"anime_id": UUID(anime_id), "title": "TV"})
    episode_id = await insert(rows, "episodes", {"release_id": UUID(release_id), "number": 1})
    await rows.execute("UPDATE anime SET year = 2001 WHERE id = $1", UUID(anime_id))
    change_id = await rows.fetchval(_CHANGE, UUID(anime_id))
    review = {"kind": "move", "key": str(uuid4()), "from_id": UUID(anime_id), "from_title": "Anime", "entry": ENTRY}
    review_id = await insert(rows, "import_reviews", review | {"external_ids": ["anilist:1"], "reason": "none"})
    return {
        "review_id": review_id,
        "anime_id": anime_id,
        "into": other,
        "release_id": release_id,
        "episode_id": episode_id,
        "animeEpisodeId": episode_id,
        "change_id": change_id or 0,
        "field": "year",
        "provider": "anilist",
    }
