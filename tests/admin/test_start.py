"""The start page: counts, plots of the last 30 days, and searches without a result."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from kitsu.domain.catalogue import missed_searches
from kitsu.domain.operations.daily_numbers import store_daily_numbers
from tests.admin.browser import Browser
from tests.databases import engine_of
from tests.factories import Backend, insert


async def test_counts_are_shown(editor: Browser, backend: Backend) -> None:
    await backend.episode(await backend.anime())
    page = await editor.open("/")
    shown = dict(re.findall(r"<dt>([^<]+)</dt><dd>([0-9,]+)</dd>", page))
    assert set(shown) >= {"Anime", "Releases", "Episodes", "Users", "Open reviews"}
    assert int(shown["Episodes"]) == await backend.rows.fetchval("SELECT count(*) FROM episodes")


async def test_numbers_of_viewers_are_stored_once_for_each_day(editor: Browser, backend: Backend) -> None:
    anime = await backend.anime()
    viewers = [await backend.viewer() for _ in range(3)]
    noon = datetime.now(UTC).replace(hour=12, minute=0)
    episode = UUID(await backend.episode(anime))
    for viewer, days in zip(viewers, (1, 1, 3), strict=True):
        at = noon - timedelta(days=days)
        view = {"user_id": viewer.id, "episode_id": episode, "progress": 1, "last_viewed_at": at}
        await insert(backend.rows, "views", view)
        watched = {"user_id": viewer.id, "anime_id": UUID(anime), "episode": 1, "position_seconds": 1}
        await insert(backend.rows, "watch_progress", {**watched, "last_watched_at": at})
    async with engine_of(backend.url) as engine:
        await store_daily_numbers(engine)
        await backend.rows.execute("DELETE FROM views")
        await store_daily_numbers(engine)
    rows = await backend.rows.fetch("SELECT current_date - day AS ago, * FROM daily_numbers ORDER BY day DESC")
    assert len(rows) == 30
    numbers = {row["ago"]: (row["active_viewers"], row["watched_episodes"]) for row in rows}
    assert [numbers[ago] for ago in (1, 2, 3, 30)] == [(2, 2), (0, 0), (1, 1), (0, 0)]
    page = await editor.open("/")
    assert "Active viewers by day: 3 in 29 days, at most 2 on one day" in page
    assert "Watched episodes by day: 3 in 29 days, at most 2 on one day" in page


async def test_searches_without_result_are_counted(editor: Browser, backend: Backend) -> None:
    for query in ("q=qzxw+vvkj", "q=QZXW++vvkj", "q=qzxw+vvkj&type=TV", "q=qzxw+vvkj&offset=20"):
        assert (await backend.client.get(f"/search/anime?{query}")).json() == []
    await backend.client.get("/search/anime", params={"q": "<script>" + "x" * 150})
    rows = await backend.rows.fetch("SELECT query, count FROM missed_searches ORDER BY count DESC")
    assert [tuple(row) for row in rows] == [("qzxw vvkj", 2), ("<script>" + "x" * 92, 1)]
    page = await editor.open("/")
    assert "Searches without a result by day: 3 in 30 days" in page
    assert "<td>qzxw vvkj</td>" in page
    assert "&lt;script&gt;" in page


async def test_missed_searches_of_a_day_are_limited(backend: Backend) -> None:
    await backend.rows.execute("TRUNCATE missed_searches")
    full = "INSERT INTO missed_searches SELECT current_date, 'q' || n FROM generate_series(1, $1) n"
    await backend.rows.execute(full, missed_searches.MAX_PER_DAY)
    await backend.client.get("/search/anime?q=one+more+zzqqxx")
    await backend.client.get("/search/anime?q=q7")
    assert await backend.rows.fetchval("SELECT count(*) FROM missed_searches") == missed_searches.MAX_PER_DAY
    assert await backend.rows.fetchval("SELECT count FROM missed_searches WHERE query = 'q7'") == 2
