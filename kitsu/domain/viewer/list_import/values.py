"""Limits and conversions of the values in a file."""

import re
from datetime import UTC, date, datetime

MAX_ENTRIES = 100_000  # more than twice as many as there are anime
MAX_TAGS = 2_000  # characters; an entry with more is rejected
MAX_TITLE = 1_000  # characters; a longer title is cut, since it only names the anime in a report

# PostgreSQL can't store a NUL, and XML none of the others.
_INVALID_CHARACTERS = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def clean_text(text: str) -> str:
    """Return the text without the characters that XML or the database can't hold, such as lone surrogates."""
    return _INVALID_CHARACTERS.sub("", text)


def quote(value: str) -> str:
    """Return a value of the file, quoted and shortened for a message."""
    return f'"{value[:50]}…"' if len(value) > 50 else f'"{value}"'


def format_date(year: int | None, month: int | None, day: int | None) -> str | None:
    """Return the known part of a date as `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, None for an impossible one."""
    if not year:
        return None
    try:
        full = date(year, month or 1, (month and day) or 1).isoformat()
    except (ValueError, OverflowError):
        return None
    return full if month and day else full[:7] if month else full[:4]


def parse_time(seconds: int | None) -> datetime | None:
    """Return the time of Unix seconds; None for 0 and for times that no datetime can hold."""
    year_10000 = 253_402_300_800
    return datetime.fromtimestamp(seconds, UTC) if seconds and 0 < seconds < year_10000 else None
