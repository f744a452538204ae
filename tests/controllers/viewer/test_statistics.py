"""GET /users/me/statistics: each number, from inserted rows."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.factories import Backend, Viewer, insert

PATH = "/users/me/statistics"
NO_STATUSES = {"watching": 0, "completed": 0, "on_hold": 0, "dropped": 0, "plan_to_watch": 0}
NO_SUMS = {"episodes": 0, "minutes": 0, "mean_score": None, "scored": 0, "times_rewatched": 0}
NOTHING: dict[str, Any] = {"statuses": NO_STATUSES, **NO_SUMS, "years": [], "genres": [], "studios": [], "months": []}
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


async def entry(backend: Backend, viewer: Viewer, anime_id: str, **columns: Any) -> None:
    values = {"user_id": viewer.id, "anime_id": UUID(anime_id), "status": "watching", **columns}
    await insert(backend.rows, "library_entries", values)


async def plays(backend: Backend, viewer: Viewer, anime_id: str, count: int, first: datetime = NOON) -> None:
    """Insert plays of an anime, one a minute."""
    for number in range(count):
        watched_at = first + timedelta(minutes=number)
        values = {"user_id": viewer.id, "anime_id": UUID(anime_id), "episode": number + 1, "watched_at": watched_at}
        await insert(backend.rows, "plays", values)


def group(name: str, anime: int, episodes: int, minutes: int, mean_score: float | None = None) -> dict[str, Any]:
    return {"name": name, "anime": anime, "episodes": episodes, "minutes": minutes, "mean_score": mean_score}


async def test_new_viewer_has_zeros_and_empty_lists(viewer: Viewer) -> None:
    assert await viewer.read(PATH) == NOTHING


async def test_other_viewers_rows_do_not_count(backend: Backend, viewer: Viewer) -> None:
    other, anime_id = await backend.viewer(), await backend.anime(duration_seconds=600, year=2006)
    await entry(backend, other, anime_id, episodes_watched=3)
    await plays(backend, other, anime_id, 4)
    assert await viewer.read(PATH) == NOTHING


async def test_entries_count_by_status(backend: Backend, viewer: Viewer) -> None:
    for status, count in zip(NO_STATUSES, (3, 2, 1, 4, 2), strict=True):
        for anime_id in await backend.animes(count):
            await entry(backend, viewer, anime_id, status=status)
    statistics = await viewer.read(PATH)
    assert statistics["statuses"] == dict(zip(NO_STATUSES, (3, 2, 1, 4, 2), strict=True))
    assert statistics["episodes"] == 0


async def test_dropped_and_planned_anime_count_with_what_was_watched(backend: Backend, viewer: Viewer) -> None:
    for status, episodes in (("dropped", 3), ("plan_to_watch", 2)):
        anime_id = await backend.anime(year=2006, duration_seconds=600)
        await entry(backend, viewer, anime_id, status=status, episodes_watched=episodes)
    statistics = await viewer.read(PATH)
    assert (statistics["episodes"], statistics["minutes"]) == (5, 50)
    assert statistics["years"] == [group("2006", 2, 5, 50)]


async def test_mean_score_has_one_decimal_and_leaves_out_unscored_entries(backend: Backend, viewer: Viewer) -> None:
    for score in (7.5, 8.0, 9.5, 8.0, None):  # 33 / 4 = 8.25
        await entry(backend, viewer, await backend.anime(), score=score)
    statistics = await viewer.read(PATH)
    assert (statistics["mean_score"], statistics["scored"]) == (8.3, 4)


async def test_rewatched_anime_counts_all_its_episodes_each_time(backend: Backend, viewer: Viewer) -> None:
    known, unknown = await backend.anime(episode_count=12, duration_seconds=60), await backend.anime()
    await entry(backend, viewer, known, status="completed", episodes_watched=12, times_rewatched=2)
    await entry(backend, viewer, unknown, episodes_watched=5, times_rewatched=1)
    statistics = await viewer.read(PATH)
    assert (statistics["times_rewatched"], statistics["episodes"], statistics["minutes"]) == (3, 36 + 10, 36)


async def test_anime_counts_with_the_greater_of_library_and_plays(backend: Backend, viewer: Viewer) -> None:
    more_plays, more_episodes = [await backend.anime(duration_seconds=60) for _ in range(2)]
    await entry(backend, viewer, more_plays, episodes_watched=2)
    await plays(backend, viewer, more_plays, 5)
    await entry(backend, viewer, more_episodes, episodes_watched=10)
    await plays(backend, viewer, more_episodes, 3)
    statistics = await viewer.read(PATH)
    assert (statistics["episodes"], statistics["minutes"]) == (15, 15)
    assert statistics["months"] == [{"month": "2026-03", "episodes": 8, "minutes": 8}]


async def test_anime_outside_the_library_counts_in_totals_and_months_only(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(year=2006, genres=["Drama"], studios=["Madhouse"], duration_seconds=120)
    await plays(backend, viewer, anime_id, 3)
    assert await viewer.read(PATH) == NOTHING | {
        "episodes": 3,
        "minutes": 6,
        "months": [{"month": "2026-03", "episodes": 3, "minutes": 6}],
    }


async def test_minutes_are_rounded_once_and_leave_out_unknown_durations(backend: Backend, viewer: Viewer) -> None:
    # 150 seconds are 2.5 minutes. Rounded for each anime, they would be 2.
    for duration, episodes in ((20, 1), (20, 1), (20, 1), (90, 1), (None, 7)):
        anime_id = await backend.anime(duration_seconds=duration)
        await entry(backend, viewer, anime_id, episodes_watched=episodes)
    statistics = await viewer.read(PATH)
    assert (statistics["episodes"], statistics["minutes"]) == (11, 3)


async def test_entries_are_summed_by_year_genre_and_studio(backend: Backend, viewer: Viewer) -> None:
    anime = (
        ({"year": 2006, "genres": ["Drama", "mystery"], "studios": ["Madhouse"]}, 37, 9.0),
        ({"year": 2019, "genres": ["DRAMA", "drama"], "studios": ["madhouse", "A-1 Pictures"]}, 3, None),
        ({"year": None, "genres": ["comedy"]}, 2, 6.5),
    )
    for columns, episodes, score in anime:
        anime_id = await backend.anime(duration_seconds=1200, **columns)
        await entry(backend, viewer, anime_id, episodes_watched=episodes, score=score)
    statistics = await viewer.read(PATH)
    assert statistics["years"] == [group("2019", 1, 3, 60), group("2006", 1, 37, 740, 9.0)]
    assert statistics["genres"] == [
        group("drama", 2, 40, 800, 9.0),
        group("comedy", 1, 2, 40, 6.5),
        group("mystery", 1, 37, 740, 9.0),
    ]
    assert statistics["studios"] == [group("madhouse", 2, 40, 800, 9.0), group("a-1 pictures", 1, 3, 60)]


async def test_genres_and_studios_are_the_fifty_with_the_most_anime(backend: Backend, viewer: Viewer) -> None:
    names = [f"name {number:02}" for number in range(60)]
    for own in (names, names[10:], names[20:]):
        await entry(backend, viewer, await backend.anime(genres=own, studios=own))
    statistics = await viewer.read(PATH)
    expected = [(name, 3) for name in names[20:]] + [(name, 2) for name in names[10:20]]
    assert [(it["name"], it["anime"]) for it in statistics["genres"]] == expected
    assert [(it["name"], it["anime"]) for it in statistics["studios"]] == expected


async def test_months_are_those_of_the_viewers_time_zone(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime(duration_seconds=600)
    await plays(backend, viewer, anime_id, 1, datetime(2026, 1, 31, 14, 59, tzinfo=UTC))
    await plays(backend, viewer, anime_id, 2, datetime(2026, 1, 31, 15, 0, tzinfo=UTC))
    assert (await viewer.read(PATH))["months"] == [{"month": "2026-01", "episodes": 3, "minutes": 30}]
    await backend.rows.execute("UPDATE users SET timezone = 'Asia/Tokyo' WHERE id = $1", viewer.id)
    assert (await viewer.read(PATH))["months"] == [
        {"month": "2026-02", "episodes": 2, "minutes": 20},
        {"month": "2026-01", "episodes": 1, "minutes": 10},
    ]


async def test_month_begins_with_an_hour_that_exists_twice(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    await backend.rows.execute("UPDATE users SET timezone = 'America/Havana' WHERE id = $1", viewer.id)
    await plays(backend, viewer, anime_id, 1, datetime(2026, 11, 1, 4, 0, tzinfo=UTC))
    await plays(backend, viewer, anime_id, 1, datetime(2026, 11, 1, 5, 0, tzinfo=UTC))
    november = {"month": "2026-11", "episodes": 2, "minutes": 0}
    assert (await viewer.read(PATH))["months"] == [november]
    await plays(backend, viewer, anime_id, 1, datetime(2026, 11, 1, 3, 59, 59, 999999, tzinfo=UTC))
    assert (await viewer.read(PATH))["months"] == [november, {"month": "2026-10", "episodes": 1, "minutes": 0}]


async def test_months_are_the_last_36_with_plays(backend: Backend, viewer: Viewer) -> None:
    anime_id = await backend.anime()
    months = [f"{2026 - back // 12}-{12 - back % 12:02}" for back in range(40)]
    for number, month in enumerate(months):
        if number != 1:
            await plays(backend, viewer, anime_id, 1, datetime.fromisoformat(f"{month}-15T12:00:00+00:00"))
    listed = [{"month": month, "episodes": 1, "minutes": 0} for month in [months[0], *months[2:37]]]
    assert (await viewer.read(PATH))["months"] == listed


async def test_largest_numbers_are_summed(backend: Backend, viewer: Viewer) -> None:
    most = 2**31 - 1
    for anime_id in [await backend.anime(episode_count=most, duration_seconds=most) for _ in range(3)]:
        await entry(backend, viewer, anime_id, episodes_watched=most, times_rewatched=10_000)
    statistics = await viewer.read(PATH)
    assert statistics["episodes"] == 3 * 10_001 * most
    assert abs(statistics["minutes"] - 3 * 10_001 * most * most / 60) < 1e9


async def test_statistics_need_a_token(backend: Backend) -> None:
    assert (await backend.client.get(PATH)).status_code == 401
