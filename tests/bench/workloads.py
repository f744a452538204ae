"""What is measured: each work as requests to Kitsu, and as a statement with arguments for the bare handler."""

import json
import random
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Executable, Uuid, bindparam, insert
from sqlalchemy.engine import URL

from kitsu.db.batch_loader import padded
from kitsu.db.models import Favorite
from kitsu.db.statements import compiled_statement
from kitsu.domain.catalogue import anime
from kitsu.domain.viewer import favorites, views, watch_progress
from tests.bench import dataset
from tests.bench.bare import NEW

ADD_FAVORITE = insert(Favorite).values({name: bindparam(name, type_=Uuid) for name in ("id", "user_id", "anime_id")})
"""What the service's INSERT is; it reads the anime and commits beside it."""

Request = tuple[str, str, str, str]
"""Method, path, token and body."""


class Work(NamedTuple):
    """A kind of request, and the same work without a framework: none for what needs no statement."""

    name: str
    requests: list[Request]
    sql: str
    arguments: list[list[Any]]
    """One for each request."""

    def for_bare(self) -> list[Request]:
        """The requests to the bare handler, which finds the arguments by their number, and reads bodies too."""
        path = self.name.replace(" ", "-")
        return [(method, f"/{path}/{n}", "", body) for n, (method, _, _, body) in enumerate(self.requests)]


async def works(url: URL) -> dict[str, Work]:
    """All of them, by name."""
    chosen = random.Random(1)  # noqa: S311 - the same choice each time
    ids = [str(found) for found in await dataset.ids(url, "SELECT id FROM anime ORDER BY created_at DESC LIMIT 20000")]
    users = await dataset.ids(url, "SELECT user_id FROM auth_sessions ORDER BY id")
    words = await dataset.ids(
        url, "SELECT left(split_part(title, ' ', 6), 8) FROM anime ORDER BY created_at LIMIT 1000"
    )
    episodes = await dataset.ids(url, "SELECT id FROM episodes LIMIT 5000")
    tokens = await dataset.tokens(url)
    offsets = range(0, 2000, 20)
    some = chosen.sample(ids, 2000)
    # Each once, and none of those that the viewers have listed.
    pairs = [(n % len(users), ids[2 * dataset.LISTED + n // len(users)]) for n in range(40_000)]
    seen = [str(chosen.choice(episodes)) for _ in pairs]

    def made(name: str, statement: Executable, requests: list[Request], values: list[dict[str, Any]]) -> Work:
        sql, names, constants = compiled_statement(statement)
        arguments = [[{**constants, **each}[key] for key in names] for each in values]
        return Work(name, requests, sql, arguments)

    def post(path: str, bodies: list[dict[str, Any]]) -> list[Request]:
        return [("POST", path, tokens[user], json.dumps(body)) for (user, _), body in zip(pairs, bodies, strict=True)]

    def own(path: str) -> list[Request]:
        return [("GET", path, token, "") for token in tokens]

    pages = [{"user_id": user, "limit": 21, "offset": 0} for user in users]
    at = {"new_episode": 3, "new_position_seconds": 9, "new_progress_percent": None, "new_id": NEW}
    found = [
        made(
            "list",
            anime.listing_of(frozenset(), None).first,
            [("GET", f"/anime?offset={n}", "", "") for n in offsets],
            [{"limit": 21, "offset": n} for n in offsets],
        ),
        made(
            "detail",
            anime.DETAILS,
            [("GET", f"/anime/{each}", "", "") for each in some],
            [{"anime_ids": padded([each])} for each in some],
        ),
        made(
            "search",
            anime.listing_of(frozenset({"q"}), None).first,
            [("GET", f"/search/anime?q={word}", "", "") for word in words],
            [{"q": word, "limit": 21, "offset": 0} for word in words],
        ),
        made("favorites", favorites.FavoriteReader.listing.first, own("/favorites"), pages),
        made("continue", watch_progress.CONTINUE.first, own("/watch/continue"), pages),
        made(
            "post progress",
            watch_progress.POST,
            post("/watch/progress", [{"anime_id": each, "episode": 3, "position_seconds": 9} for _, each in pairs]),
            [{**at, "new_user_id": users[user], "new_anime_id": each} for user, each in pairs],
        ),
        made(
            "post favorite",
            ADD_FAVORITE,
            post("/favorites", [{"anime_id": each} for _, each in pairs]),
            [{"id": NEW, "user_id": users[user], "anime_id": each} for user, each in pairs],
        ),
        made(
            "post view",
            views.POST,
            post("/views", [{"episode_id": each, "progress": 9} for each in seen]),
            [
                {
                    "new_user_id": users[user],
                    "new_episode_id": each,
                    "new_progress": 9,
                    "new_device": None,
                    "new_id": NEW,
                }
                for (user, _), each in zip(pairs, seen, strict=True)
            ],
        ),
    ]
    return {work.name: work for work in found}


def described(todo: dict[str, Work]) -> bytes:
    """What the bare handler reads of them."""
    return msgspec.json.encode(
        {work.name.replace(" ", "-"): {"sql": work.sql, "arguments": work.arguments} for work in todo.values()}
    )
