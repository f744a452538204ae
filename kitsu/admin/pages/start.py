"""The start page."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from litestar import Controller, get
from litestar.response import Template

from kitsu.domain.operations.daily_numbers import DailyNumbersReader
from kitsu.domain.operations.overview import OverviewReader

PLOTS = {
    "registrations": "Registrations",
    "active_viewers": "Active viewers",
    "watched_episodes": "Watched episodes",
    "missed_searches": "Searches without a result",
}


HEIGHT = 60
"""Of a plot, in units of its own."""


class Bar(NamedTuple):
    day: date
    number: int | None  # None before it is counted
    height: float


class Plot(NamedTuple):
    title: str
    total: int
    highest: int
    counted_days: int
    bars: list[Bar]


def plot_of(title: str, days: Sequence[tuple[date, int | None]]) -> Plot:
    """Return the bars of a plot. Days with a number above 0 have a visible bar, however small."""
    numbers = [number for _, number in days if number is not None]
    highest = max(numbers, default=0)
    bars = [Bar(day, number, max(number * HEIGHT / highest, 2) if number else 1) for day, number in days]
    return Plot(title, sum(numbers), highest, len(numbers), bars)


class StartController(Controller):
    path = "/"
    reader: OverviewReader
    numbers: DailyNumbersReader

    @get("/")
    async def show(self) -> Template:
        """Show how much there is, and what happened in the last 30 days."""
        days = await self.numbers.days()
        plots = [plot_of(title, [(day.day, getattr(day, name)) for day in days]) for name, title in PLOTS.items()]
        context = {
            "counts": await self.reader.counts(),
            "plots": plots,
            "height": HEIGHT,
            "missed": await self.numbers.missed(),
        }
        return Template("start.html", context=context)
