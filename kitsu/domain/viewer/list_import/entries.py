"""One entry of a list of any site, and what the formats share."""

import re
from datetime import UTC, date, datetime
from typing import Literal, NamedTuple

import msgspec

INT_MAX = 2**31 - 1
MAX_ENTRIES = 100_000
"""Of a file: more than twice as many as there are anime."""
MAX_NOTES = 10_000
MAX_TAGS = 2_000
"""Characters; an entry with more is refused."""
MAX_TITLE = 1_000
"""Characters; a longer title is cut, since it only names the anime in a report."""

Status = Literal["watching", "completed", "on_hold", "dropped", "plan_to_watch"]
AnimeType = Literal["TV", "MOVIE", "OVA", "ONA", "SPECIAL", "UNKNOWN"]

# PostgreSQL can't hold a NUL, and an XML export none of the others.
_UNHOLDABLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_FIRST_YEAR_BEYOND = 253_402_300_800
"""Unix seconds of the year 10000, which no datetime can hold."""


class ListFileError(Exception):
    """The file as a whole can't be imported; the message is one sentence for a person."""


class ListTooLarge(ListFileError):
    """The file holds more than a list of anime ever does."""


class Refused(Exception):
    """An entry can't be imported; the message is one sentence for a person."""


class Refusal(NamedTuple):
    """An entry that can't be imported."""

    number: int
    title: str | None
    reason: str
    """One sentence for a person."""


class LibraryFields(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of the library that a list fills."""

    status: Status
    score: int | None = None
    """1 to 10."""
    notes: str | None = None
    episodes_watched: int = 0
    started_on: str | None = None
    """`YYYY`, `YYYY-MM` or `YYYY-MM-DD`: as much of the date as is known."""
    completed_on: str | None = None
    times_rewatched: int = 0
    is_rewatching: bool = False
    tags: str | None = None
    """Comma-separated."""


class ListEntry(LibraryFields, frozen=True, kw_only=True):
    """An entry of a file."""

    number: int
    """Its place in the file, from 1."""
    title: str
    """Empty where the file has none."""
    ids: tuple[tuple[str, str], ...]
    """Provider and id, best first; at least one."""
    updated_at: datetime | None = None
    """When it was changed there, where the file tells."""


class ExportEntry(LibraryFields, frozen=True, kw_only=True):
    """An entry to be written for MyAnimeList."""

    myanimelist_id: str
    title: str
    type: AnimeType
    episodes: int | None = None


def holdable(text: str) -> str:
    """Return the text without the characters that XML or the database can't hold, such as lone surrogates."""
    return _UNHOLDABLE.sub("", text)


def shown(value: str) -> str:
    """Return a value of the file, quoted and shortened for a reason."""
    return f'"{value[:50]}…"' if len(value) > 50 else f'"{value}"'


def reduced_date(year: int | None, month: int | None, day: int | None) -> str | None:
    """Return the known part of a date, 0 and None being unknown; None for an impossible one, which loses no row."""
    try:
        full = date(year or 0, month or 1, (month and day) or 1).isoformat()
    except (ValueError, OverflowError):
        return None
    return full if month and day else full[:7] if month else full[:4]


def moment(seconds: int | None) -> datetime | None:
    """Return the time of Unix seconds; None for 0 and for seconds that no datetime can hold."""
    return datetime.fromtimestamp(seconds, UTC) if seconds and 0 < seconds < _FIRST_YEAR_BEYOND else None
