"""The statements of a page, at any cursor; and the limited count of a list."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from kitsu.db import models
from kitsu.db.engine import Timeouts
from kitsu.db.statements import StatementRunner
from kitsu.domain import pagination as paging
from kitsu.domain.pagination import Listing, PageRequest, ascending
from tests.assertions import statements
from tests.controllers.viewer.crowd import Crowd, asking, next_of


@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize(
    "path",
    ["/anime", "/anime?sort=title&type=TV", "/releases", "/search/anime?q=eclair", "/search/anime?q=ec&sort=year"],
)
async def test_page_is_one_statement_and_one_for_the_total(crowd: Crowd, path: str, total: bool) -> None:
    target = asking(path, limit=3, total=str(total).lower())
    for _ in range(2):
        with statements() as seen:
            response = await crowd.guest.request("GET", target)
        assert len(seen) == 1 + total, seen
        target = str(next_of(response))


@pytest.mark.parametrize(
    "path", ["/favorites", "/watch/progress", "/watch/continue", "/views", "/library", "/collections", "/users"]
)
async def test_page_of_own_list_adds_one_statement_for_the_session(crowd: Crowd, path: str) -> None:
    target = asking(path, limit=3)
    for _ in range(2):
        with statements() as seen:
            response = await crowd.viewer.request("GET", target)
        assert len(seen) == 2, seen
        target = str(next_of(response))


@pytest.mark.parametrize("sort", ["year", "-year", "score", "-score"])
async def test_page_from_known_to_null_values_is_two_statements(busy: Crowd, sort: str) -> None:
    """A page that ends with the last known value, and the one after it, both need the second statement."""
    tag = uuid4().hex
    for value in [5] * 6 + [None] * 6:
        await busy.backend.anime(status=tag, **{sort.lstrip("-"): value})
    for limit, expected in ((2, [1, 1, 2, 2, 1, 1]), (3, [1, 2, 2, 1]), (4, [1, 2, 1]), (5, [1, 2, 1])):
        target, counts = f"/anime?status={tag}&sort={sort}&limit={limit}", []
        while target:
            with statements() as seen:
                response = await busy.guest.request("GET", target)
            counts.append(len(seen))
            target = str(next_of(response)) if "link" in response.headers else ""
        assert counts == expected


async def test_page_at_a_cursor_skips_no_rows(crowd: Crowd) -> None:
    target = str(next_of(await crowd.guest.request("GET", "/anime?limit=3")))
    with statements() as seen:
        await crowd.guest.read(target)
    assert "OFFSET" not in seen[0]
    assert "(anime.created_at, anime.id) <" in seen[0]


@pytest.mark.parametrize(
    "path",
    [
        *("/anime", "/anime?type=TV&sort=year", "/releases", "/releases?anime_id={anime_id}", "/search/anime?q=ec"),
        *("/search/anime?q=eclair", "/favorites", "/watch/progress", "/watch/continue", "/views", "/library"),
        *("/library?status=watching", "/collections", "/collections/{collection_id}/anime", "/users"),
    ],
)
async def test_count_statement_has_a_limit(crowd: Crowd, path: str) -> None:
    target = asking(path.format(**crowd.names), total="true")
    with statements() as seen:
        await crowd.reader(path).read(target)
    (count,) = (statement for statement in seen if statement.startswith("SELECT count("))
    assert "LIMIT" in count.partition("FROM")[2]


async def test_total_stops_at_the_maximum(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    anime_id, direct = models.Anime.id, StatementRunner(crowd.backend.url, size=1, recycle=-1, timeouts=Timeouts())

    async def total() -> int | None:
        listing: Listing[Any] = Listing(tuple, select(anime_id), ascending(anime_id), counted=select(anime_id))
        page = await listing.page(direct, {}, PageRequest(limit=7, total=True))
        assert (len(page.items), page.cursor is None) == (7, False)
        return page.total

    try:
        assert await total() == 41
        for most, counted in ((5, 5), (41, 41), (42, 41)):
            monkeypatch.setattr(paging, "MAX_TOTAL", most)
            assert await total() == counted
    finally:
        direct.close()
    monkeypatch.undo()
    assert paging.MAX_TOTAL == 100_000
