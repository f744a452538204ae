"""Limits and conversions of the values in a file, and the words of all sites for a status."""

import html
import math
import re
from calendar import monthrange
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from kitsu.db.columns import MAX_INTEGER
from kitsu.domain.viewer.library import Status
from kitsu.domain.viewer.list_import.entries import EntryError, ListTooLarge

T = TypeVar("T")

MAX_ENTRIES = 100_000  # more than twice as many as there are anime
MAX_TAGS = 2_000  # characters; an entry with more is rejected
MAX_TITLE = 1_000  # characters; a longer title is cut, since it only names the anime in a report
MANGA = "It is a manga."
MANGA_KINDS = {"manga", "novel", "lightnovel", "ranobe", "oneshot", "doujinshi", "manhwa", "manhua", "oel"}
"""The kinds of printed media of all sites, as `squeezed` returns them."""

# PostgreSQL can't store a NUL, and XML none of the others.
_INVALID_CHARACTERS = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SEPARATORS = re.compile(r"[\W_]+")
_BREAK = re.compile(r"<br\s{0,9}/?>(?:\r?\n)?", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{1,2})(?:-([0-9]{1,2})(?:[T ].*)?)?)?")
_COMPACT_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,20}(?:[.,][0-9]{0,20})?")

_WORDS: dict[Status, str] = {
    "watching": "watching, currently watching, current, currently, in progress, cw",
    "completed": "completed, complete, finished, watched, done",
    "on_hold": "on hold, hold, paused, stalled",
    "dropped": "dropped, abandoned, discontinued, not interesting",
    "plan_to_watch": "plan to watch, planned, planning, ptw, watchlist, want to watch, to watch",
}
_STATUSES: dict[str, tuple[Status, bool]] = {
    _SEPARATORS.sub("", word): (status, False) for status, words in _WORDS.items() for word in words.split(",")
} | dict.fromkeys(("rewatching", "repeating", "currentlyrewatching"), ("watching", True))


def clean_text(text: str) -> str:
    """Return the text without the characters that XML or the database can't hold, such as lone surrogates."""
    return _INVALID_CHARACTERS.sub("", text)


def text_of_html(text: str) -> str:
    """Return a text with its line breaks and entities of HTML as characters. Other markup stays."""
    if "&" not in text and "<" not in text:
        return text
    return clean_text(_ENTITY.sub(lambda found: html.unescape(found[0]), _BREAK.sub("\n", text)))


def html_of_text(text: str) -> str:
    """Return the text that `text_of_html` converts back."""
    text = _ENTITY.sub(lambda found: f"&amp;{found[0][1:]}", text)
    return _BREAK.sub(lambda found: f"&lt;{found[0][1:]}", text)


def quote(value: object) -> str:
    """Return a value of the file, quoted and shortened for a message."""
    text = clean_text(str(value)[:60])
    return f'"{text[:50]}…"' if len(text) > 50 else f'"{text}"'


def squeezed(word: object) -> str:
    """Return a word in lower case, without blanks and punctuation."""
    return _SEPARATORS.sub("", word.lower()) if isinstance(word, str) else ""


def is_manga(kind: object) -> bool:
    """Return whether the kind of a medium is one of printed media."""
    return squeezed(kind) in MANGA_KINDS


def read_status(word: object) -> tuple[Status, bool]:
    """Return the status of any site's word, and whether it says that the anime is watched again. Raises EntryError."""
    if word is None or word == "":
        raise EntryError("It has no status.")
    status = _STATUSES.get(squeezed(word))
    if status is None:
        raise EntryError(f"Its status {quote(word)} is not known.")
    return status


def numbered(rows: Iterable[T]) -> Iterator[tuple[int, T]]:
    """Yield the rows with their numbers from 1. Raises ListTooLarge."""
    for number, row in enumerate(rows, start=1):
        if number > MAX_ENTRIES:
            raise ListTooLarge(f"The file has more than {MAX_ENTRIES:,} entries.")
        yield number, row


def first_title(*titles: object) -> str:
    """Return the first of the titles that is a text with visible characters, or an empty text."""
    texts = (clean_text(title[:MAX_TITLE]).strip() for title in titles if isinstance(title, str))
    return next(filter(None, texts), "")


def read_id(value: object) -> str | None:
    """Return a numeric id as text; None for 0 and for what is no id."""
    number = read_number(value)
    return str(int(number)) if number and 0 < number <= MAX_INTEGER and number == int(number) else None


def read_number(value: object) -> float | None:
    """Return a number or a text with one; None for anything else, also for NaN and infinity."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        value = float(value.strip().replace(",", "."))
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def rounded_score(score: float, *, keeps_decimal: bool) -> float:
    """Return a score from 1 to 10, rounded half up. The tiny summand undoes the error of binary fractions."""
    factor = 10 if keeps_decimal else 1
    return min(10.0, max(1.0, math.floor(score * factor + 0.5 + 1e-9) / factor))


def read_date(value: Any) -> tuple[str | None, bool]:
    """Return the certain part of a date as `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, and whether it is the whole value.

    The value is a text, a number such as 20150203, or an object with year, month and day, each in part or 0.
    """
    if not value or (isinstance(value, str) and not value.strip("0- ")):
        return None, True
    parts: list[Any]
    if isinstance(value, dict):
        parts = [value.get(name) or 0 for name in ("year", "month", "day")]
    else:
        text = str(value).strip()
        found = _COMPACT_DATE.fullmatch(text) or _DATE.fullmatch(text)
        parts = [int(part or 0) for part in found.groups()] if found else [-1, 0, 0]
    if not all(type(part) is int for part in parts):
        return None, False
    return _known_date(*parts)


def _known_date(year: int, month: int, day: int) -> tuple[str | None, bool]:
    if not 1 <= year <= 9999:
        return None, not (year or month or day)
    if not 1 <= month <= 12:
        return f"{year:04}", not (month or day)
    if not 1 <= day <= monthrange(year, month)[1]:
        return f"{year:04}-{month:02}", not day
    return f"{year:04}-{month:02}-{day:02}", True


def read_time(value: object) -> datetime | None:
    """Return the time of Unix seconds or of a text in ISO 8601; None for 0 and for what is no time."""
    seconds = read_number(value)
    year_10000 = 253_402_300_800
    if seconds is not None:
        return datetime.fromtimestamp(int(seconds), UTC) if 0 < seconds < year_10000 else None
    try:
        time = datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
        return time and (time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None
