"""What reports of a player and the viewer's own edits make of the library and of continue watching.

The model is the table of docs/viewer.md. A late report is hours old, so older than all edits of the test.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories import Backend, Viewer

COUNT = 3
STATUSES = ("watching", "completed", "on_hold", "dropped", "plan_to_watch")


@dataclass
class Model:
    """One anime of COUNT episodes. Times grow by one with each action; those of late reports are below zero."""

    now: int = 0
    entry: dict[str, Any] | None = None
    status_set: int = 0
    episodes_set: int | None = None
    place: tuple[int, int, bool] | None = None
    hidden_at: int | None = None
    plays: list[tuple[int, int]] = field(default_factory=list)

    def edit(self, change: dict[str, Any], *, is_put: bool) -> None:
        old = self.entry
        if old is None and not is_put:
            return
        base = {"status": None, "episodes_watched": 0, "times_rewatched": 0, "is_rewatching": False}
        new = (old or base) | change
        is_new_status = new["status"] != (old or base)["status"]
        if is_new_status and new["status"] == "completed" and "episodes_watched" not in change:
            new["episodes_watched"] = max(new["episodes_watched"], COUNT)
        if is_new_status or new["is_rewatching"] != (old or base)["is_rewatching"]:
            self.status_set = self.now
        if "episodes_watched" in change:
            self.episodes_set = self.now
        self.entry = new

    def report(self, episode: int, hours: int, *, finished: bool) -> None:
        time = -hours if hours else self.now
        if finished:
            self._follow(min(episode, COUNT), time)
            self._play(min(episode, COUNT), time)
        if self.place is None or time >= self.place[0]:
            self.place = (time, episode, finished)
            if self.hidden_at is not None and time > self.hidden_at:
                self.hidden_at = None

    def _follow(self, episode: int, time: int) -> None:
        entry = self.entry
        if entry is None:
            return
        is_news = time > self.status_set
        if episode > entry["episodes_watched"] and (self.episodes_set is None or time > self.episodes_set):
            entry["episodes_watched"] = episode
        if episode == COUNT:
            is_open = entry["status"] in {"watching", "plan_to_watch"} and not entry["is_rewatching"]
            if entry["is_rewatching"] and is_news:
                entry |= {
                    "status": "completed",
                    "is_rewatching": False,
                    "times_rewatched": entry["times_rewatched"] + 1,
                }
            elif entry["status"] != "completed" and (is_news or is_open):
                entry["status"] = "completed"
        if entry["status"] == "plan_to_watch":
            entry["status"] = "watching"

    def _play(self, episode: int, time: int) -> None:
        # Live reports are seconds apart, late ones a day.
        recent = [at for number, at in self.plays if number == episode and (at == time or (at >= 0 <= time))]
        begun_at = self.place[0] if self.place and self.place[1:] == (episode, False) else None
        if all(begun_at is not None and begun_at > at for at in recent):
            self.plays.append((episode, time))

    @property
    def continues(self) -> bool:
        if self.place is None or self.hidden_at is not None:
            return False
        time, episode, finished = self.place
        is_ended = finished and episode >= COUNT
        is_left = self.entry is not None and self.entry["status"] in {"completed", "dropped"}
        return not is_ended and not (is_left and self.status_set >= time)

    @property
    def next_episode(self) -> int | None:
        return self.place[1] + 1 if self.place and self.place[2] and self.place[1] < COUNT else None


changes = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(STATUSES),
        "episodes_watched": st.integers(0, COUNT),
        "is_rewatching": st.booleans(),
    },
)
actions = st.one_of(
    st.tuples(st.just("report"), st.integers(1, COUNT + 1), st.booleans(), st.sampled_from([0, 0, 0, 24, 48])),
    st.tuples(st.just("put"), st.sampled_from(STATUSES), changes),
    st.tuples(st.just("patch"), changes),
    st.tuples(st.just("hide")),
    st.tuples(st.just("forget")),
    st.tuples(st.just("remove")),
)


@pytest.fixture
async def anime_ids(backend: Backend) -> list[str]:
    return [await backend.anime(episode_count=COUNT, duration_seconds=None) for _ in range(200)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(steps=st.lists(actions, min_size=1, max_size=12))
async def test_library_follows_its_table(viewer: Viewer, anime_ids: list[str], steps: list[Any]) -> None:
    anime_id, model, began = anime_ids.pop(), Model(), datetime.now(UTC)
    for step in steps:
        model.now += 1
        await _do(viewer, anime_id, model, step, began)
        entry = (await viewer.request("GET", f"/library/{anime_id}")).json()
        assert (model.entry or {"code": "NOT_FOUND"}).items() <= entry.items()
        (place,) = [
            each for each in await viewer.read("/watch/progress?limit=100") if each["anime_id"] == anime_id
        ] or [None]
        assert (place and (place["episode"], place["next_episode"])) == (
            model.place and (model.place[1], model.next_episode)
        )
        listed = [each["anime_id"] for each in await viewer.read("/watch/continue?limit=100")]
        assert (anime_id in listed) is model.continues
    plays = [each["episode"] for each in await viewer.read("/history?limit=100") if each["anime_id"] == anime_id]
    assert sorted(plays) == sorted(episode for episode, _ in model.plays)


async def _do(viewer: Viewer, anime_id: str, model: Model, step: Any, began: datetime) -> None:
    path = f"/library/{anime_id}"
    match step:
        case ("report", episode, finished, hours):
            body = {"anime_id": anime_id, "episode": episode, "progress_percent": 90 if finished else 89.9}
            late = {"watched_at": (began - timedelta(hours=hours)).isoformat()} if hours else {}
            await viewer.write("POST", "/watch/progress", body | late)
            model.report(episode, hours, finished=finished)
        case ("put", status, change):
            await viewer.write("PUT", path, change | {"status": status})
            model.edit(change | {"status": status}, is_put=True)
        case ("patch", change):
            await viewer.write("PATCH", path, change, status=200 if model.entry else 404)
            model.edit(change, is_put=False)
        case ("hide",):
            await viewer.write("DELETE", f"/watch/continue/{anime_id}", status=204)
            if model.place:
                model.hidden_at = model.now
        case ("forget",):
            await viewer.write("DELETE", f"/watch/progress/{anime_id}", status=204)
            model.place = model.hidden_at = None
        case _:
            await viewer.write("DELETE", path, status=204)
            model.entry, model.episodes_set = None, None
