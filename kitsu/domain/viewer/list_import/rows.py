"""The values of a row under their names in the file, which become the fields of an entry."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from kitsu.db.columns import MAX_INTEGER
from kitsu.domain.viewer.library import MAX_NOTES
from kitsu.domain.viewer.list_import.entries import EntryError, LibraryFields, ListEntry, NotImported
from kitsu.domain.viewer.list_import.json_values import Value, decoded, mapping
from kitsu.domain.viewer.list_import.values import (
    MAX_TAGS,
    clean_text,
    numbered,
    quote,
    read_date,
    read_number,
    read_status,
    read_time,
    rounded_score,
)

_FIELDS = frozenset(LibraryFields.__struct_fields__)
_MAX_LENGTHS = {"notes": MAX_NOTES, "tags": MAX_TAGS}

Rows = list[ListEntry | NotImported]
Scale = Callable[[float], float | None]
"""Converts a score above 0 to 10 points. Returns None for a score that the scale does not have."""


def of_ten(score: float) -> float | None:
    """Convert a score of 10 points, or of 100 where it is above 10."""
    return score if score <= 10 else score / 10 if score <= 100 else None


def of_hundred(score: float) -> float | None:
    """Convert a score of 100 points."""
    return score / 10 if score <= 100 else None


class Row:
    """Converts the values of a row. A value that can't be used becomes a remark; a missing one leaves its field absent.

    The methods take the name of the field in `LibraryFields`, and the name of the value in the file.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self._fields: dict[str, Any] = {}
        self._remarks: list[str] = []

    def status(self, word: object) -> None:
        """Read a status in the words of any site. Raises EntryError."""
        self._fields["status"], self._fields["is_rewatching"] = read_status(word)

    def rewatching(self, name: str) -> None:
        """Read whether the anime is watched again, which the status may already have said."""
        if name in self.values:
            value = self.values[name]
            is_set = str(value).strip().lower() in {"1", "yes", "true"}
            self._fields["is_rewatching"] = self._fields.get("is_rewatching", False) or is_set

    def count(self, field: str, name: str) -> None:
        """Read a number of episodes or of repetitions."""
        if name not in self.values:
            return
        value = self.values[name]
        number = 0 if _is_empty(value) else read_number(value)
        if number is None or not 0 <= number <= MAX_INTEGER:
            self._leave_out(name, "a whole number from 0")
            return
        self._fields[field] = math.floor(number)
        if number != math.floor(number):
            self._remarks.append(f"Its `{name}` {quote(value)} is not a whole number; {math.floor(number)} was kept.")

    def score(self, name: str, scale: Scale = of_ten, *, keeps_decimal: bool = False) -> None:
        """Read a score, in whole points: scores of 5, 20 or 100 points are no more exact. 0 means no score."""
        if name not in self.values:
            return
        value = self.values[name]
        number = 0 if _is_empty(value) else read_number(value)
        score = None if number is None or number < 0 else scale(number)
        if score is None:
            self._leave_out(name, "a score")
        else:
            rounded = rounded_score(score, keeps_decimal=keeps_decimal) if number else None
            self._fields["score"] = rounded
            if rounded is not None and not math.isclose(rounded, score):
                self._remarks.append(f"Its `{name}` {quote(value)} is {rounded:g} of 10.")

    def date(self, field: str, name: str) -> None:
        """Read a date that may be known in part. What is certain of an impossible one is kept."""
        if name not in self.values:
            return
        value = self.values[name]
        known, is_whole = read_date(value)
        if known or is_whole:
            self._fields[field] = known
        if not is_whole:
            shown = "-".join(map(str, value.values())) if isinstance(value, dict) else value
            end = f"{known} was kept" if known else "it was left out"
            self._remarks.append(f"Its `{name}` {quote(shown)} is not a date; {end}.")

    def text(self, field: str, name: str) -> None:
        """Read notes or tags. Raises EntryError for a text that is too long."""
        if name not in self.values:
            return
        value = self.values[name]
        if value is not None and not isinstance(value, str):
            self._leave_out(name, "a text")
            return
        text = clean_text(value or "")
        if len(text) > _MAX_LENGTHS[field]:
            raise EntryError(f"Its `{name}` is longer than {_MAX_LENGTHS[field]:,} characters.")
        self._fields[field] = text or None

    def remark(self, sentence: str) -> None:
        self._remarks.append(sentence)

    def entry(
        self,
        number: int,
        title: str,
        ids: Iterable[tuple[str, str | None]],
        *,
        anime_id: UUID | None = None,
        year: object = None,
        updated_at: object = None,
        has_exact_numbers: bool = False,
    ) -> ListEntry:
        """Return the entry. Raises EntryError if nothing names its anime.

        Without `has_exact_numbers` a completed entry that has no number of episodes, or 0, has all of them watched.
        """
        known_ids = tuple((clean_text(provider), clean_text(value)) for provider, value in ids if value)
        if not (known_ids or anime_id or title):
            raise EntryError("Nothing says which anime it is.")
        fields = self._fields
        is_without_number = not (has_exact_numbers or fields.get("episodes_watched") or fields.get("is_rewatching"))
        known_year = read_number(year)
        return ListEntry(
            number=number,
            title=title,
            ids=known_ids,
            anime_id=anime_id,
            year=int(known_year) if known_year and 1000 <= known_year <= 9999 else None,
            updated_at=read_time(updated_at),
            all_episodes=fields.get("status") == "completed" and is_without_number,
            absent=_FIELDS - fields.keys(),
            remarks=tuple(self._remarks),
            **fields,
        )

    def _leave_out(self, name: str, expected: str) -> None:
        self._remarks.append(f"Its `{name}` {quote(self.values[name])} is not {expected}; it was left out.")


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def read_rows(
    rows: Iterable[Value],
    title_of: Callable[[dict[str, Any]], str],
    read_row: Callable[[int, str, dict[str, Any]], ListEntry],
) -> Rows:
    """Return the entries of rows, which are read with their number and title. Raises ListTooLarge."""
    found: Rows = []
    for number, row in numbered(rows):
        values = mapping(decoded(row))
        title = title_of(values)
        try:
            found.append(read_row(number, title, values))
        except EntryError as error:
            found.append(NotImported(number, title or None, str(error), None))
    return found
