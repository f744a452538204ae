"""Time zones by their IANA names."""

from functools import cache
from zoneinfo import available_timezones


@cache
def timezones() -> frozenset[str]:
    """Return the names of all time zones. Python looks through a folder for them each time."""
    return frozenset(available_timezones())
