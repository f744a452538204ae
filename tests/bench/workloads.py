"""The workloads: requests to Kitsu, and for the bare handlers a statement with arguments."""

import json
import random
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Executable, Uuid, bindparam, insert
from sqlalchemy.engine import URL

from kitsu.db.batch_loader import padded
from kitsu.db.models import Favorite
from kitsu.db.statements import compiled_statement
from kitsu.domain.catalogue import anime, search
from kitsu.domain.viewer import favorites, views, watch_progress
from tests.bench import dataset
from tests.bench.bare import NEW

ADD_FAVORITE = insert(Favorite).values({name: bindparam(name, type_=Uuid) for name in ("id", "user_id", "anime_id")})
"""The service's INSERT; the service also reads the anime and commits."""

Request = tuple[str, str, str, str]
"""Method, path, token and body."""


class Workload(NamedTuple):
    """Requests of one kind, and the statement that they run."""

    name: str
    requests: list[Request]
    sql: str
    arguments: list[list[Any]]
    """For each request."""

    def bare_requests(self) -> list[Request]:
        """Return the requests to the bare handler: the path has the number of the arguments."""
        path = self.name.replace(" ", "-")
        return [(method, f"/{path}/{n}", "", body) for n, (method, _, _, body) in enumerate(self.requests)]


async def prepare_workloads(url: URL) -> dict[str, Workload]:
    """Return the workloads by name."""
    chance = random.Random(1)  # noqa: S311 - a fixed seed
    ids = [
        str(each)
        for each in await dataset.fetch_column(url, "SELECT id FROM anime ORDER BY created_at DESC LIMIT 20000")
    ]
    users = await dataset.fetch_column(url, "SELECT user_id FROM auth_sessions ORDER BY id")
    words = await dataset.fetch_column(
        url, "SELECT left(split_part(title, ' ', 6), 8) FROM anime ORDER BY created_at LIMIT 1000"
    )
    episodes = await dataset.fetch_column(url, "SELECT id FROM episodes LIMIT 5000")
    tokens = await dataset.tokens(url)
    offsets = range(0, 2000, 20)
    sample = chance.sample(ids, 2000)
    # Each pair once, and without the anime that are on the viewers' lists.
    pairs = [(n % len(users), ids[2 * dataset.LISTED + n // len(users)]) for n in range(40_000)]
    viewed = [str(chance.choice(episodes)) for _ in pairs]

    def workload(name: str, statement: Executable, requests: list[Request], values: list[dict[str, Any]]) -> Workload:
        sql, names, constants = compiled_statement(statement)
        arguments = [[{**constants, **each}[key] for key in names] for each in values]
        return Workload(name, requests, sql, arguments)

    def post(path: str, bodies: list[dict[str, Any]]) -> list[Request]:
        return [("POST", path, tokens[user], json.dumps(body)) for (user, _), body in zip(pairs, bodies, strict=True)]

    def own(path: str) -> list[Request]:
        return [("GET", path, token, "") for token in tokens]

    no_filters = dict.fromkeys(("type", "status", "year", "season", "genres"))
    pages = [{"user_id": user, "limit": 21, "offset": 0} for user in users]
    report = {"new_id": NEW, "new_play_id": NEW, "new_watched_at": None, "new_most_plays": 200_000}
    position = {"new_episode": 3, "new_position_seconds": 9, "new_progress_percent": None, **report}
    workloads = [
        workload(
            "list",
            anime.listing_of(frozenset(), None).first,
            [("GET", f"/anime?offset={n}", "", "") for n in offsets],
            [{"limit": 21, "offset": n} for n in offsets],
        ),
        workload(
            "detail",
            anime.DETAILS,
            [("GET", f"/anime/{each}", "", "") for each in sample],
            [{"anime_ids": padded([each])} for each in sample],
        ),
        workload(
            "search",
            search.listing_of(None).first,
            [("GET", f"/search/anime?q={word}", "", "") for word in words],
            [{**no_filters, "q": word, "limit": 21, "offset": 0} for word in words],
        ),
        workload("favorites", favorites.FavoriteReader.listing.first, own("/favorites"), pages),
        workload("continue", watch_progress.CONTINUE.first, own("/watch/continue"), pages),
        workload(
            "post progress",
            watch_progress.POST,
            post("/watch/progress", [{"anime_id": each, "episode": 3, "position_seconds": 9} for _, each in pairs]),
            [{**position, "new_user_id": users[user], "new_anime_id": each} for user, each in pairs],
        ),
        workload(
            "post favorite",
            ADD_FAVORITE,
            post("/favorites", [{"anime_id": each} for _, each in pairs]),
            [{"id": NEW, "user_id": users[user], "anime_id": each} for user, each in pairs],
        ),
        workload(
            "post view",
            views.POST,
            post("/views", [{"episode_id": each, "progress": 9} for each in viewed]),
            [
                {"new_user_id": users[user], "new_episode_id": each, "new_progress": 9, "new_device": None, **report}
                for (user, _), each in zip(pairs, viewed, strict=True)
            ],
        ),
    ]
    return {each.name: each for each in workloads}


def encode_workloads(workloads: dict[str, Workload]) -> bytes:
    """Encode the workloads for the bare handlers."""
    return msgspec.json.encode(
        {each.name.replace(" ", "-"): {"sql": each.sql, "arguments": each.arguments} for each in workloads.values()}
    )
