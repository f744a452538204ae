"""Trakt's JSON: what was watched, the history, ratings and the watchlist, as its API and its export have them.

Trakt has no ids of anime sites, so an anime is named by its title and year. It keeps what was watched, ratings and the
watchlist apart; the rows of a medium become one entry.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kitsu.domain.viewer.list_import.entries import EntryError, ListEntry, NotImported
from kitsu.domain.viewer.list_import.json_values import Value, decoded, items, mapping, members
from kitsu.domain.viewer.list_import.rows import Row, Rows
from kitsu.domain.viewer.list_import.values import first_title, numbered, read_id, read_number, read_time

_KINDS = ("show", "movie")
_TIMES = ("last_watched_at", "watched_at", "rated_at", "listed_at")
_ENDED = {"ended", "canceled"}


def matches(document: Value) -> bool:
    """Return whether the file has rows with a show or a film, and the time of what the user did."""
    return any(set(_KINDS) & members(each).keys() and set(_TIMES) & members(each).keys() for each in rows(document)[:1])


def rows(document: Value) -> list[Value]:
    """Return the rows of an array, or of all arrays of an object."""
    return items(document) or [row for part in members(document).values() for row in items(part)]


def read(document: Value) -> Rows:
    """Return the entries. Raises ListTooLarge."""
    media: dict[object, _Medium] = {}
    for number, row in numbered(rows(document)):
        values = mapping(decoded(row))
        kind = next((kind for kind in _KINDS if mapping(values.get(kind))), "")
        medium = mapping(values.get(kind))
        key = kind, read_id(mapping(medium.get("ids")).get("trakt")) or (medium.get("title") and str(medium)) or number
        media.setdefault(key, _Medium(number, kind, medium)).add(values)
    return [medium.result() for medium in media.values()]


class _Medium:
    """A series or a film, and what its rows say."""

    def __init__(self, number: int, kind: str, values: Mapping[str, Any]) -> None:
        self._number = number
        self._kind = kind
        self._values = values
        self._title = first_title(values.get("title"))
        self._plays: dict[int, Counter[int]] = {}
        """By season and episode; a film is episode 1 of season 1."""
        self._state: dict[str, Any] = {}
        self._times: list[str] = []
        self._remarks: dict[str, None] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take what a row says."""
        self._times += [row[name] for name in _TIMES if isinstance(row.get(name), str) and read_time(row[name])]
        episode = mapping(row.get("episode"))
        kind = "an episode" if episode else "a season" if row.get("season") else ""
        if "rated_at" in row:
            self._rate(row, kind)
        elif "listed_at" in row:
            self._state |= {"listed": True} if not kind else {}
            self._state |= {"notes": row["notes"]} if row.get("notes") else {}
            if kind:
                self._remarks[f"That {kind} of it is on the watchlist was left out."] = None
        elif self._kind == "movie":
            self._play(1, 1, row.get("plays", 1))
        elif episode:
            self._play(episode.get("season"), episode.get("number"), 1)
        for season in filter(None, map(mapping, items(row.get("seasons")))):
            for each in filter(None, map(mapping, items(season.get("episodes")))):
                self._play(season.get("number"), each.get("number"), each.get("plays", 1))

    def _rate(self, row: Mapping[str, Any], kind: str) -> None:
        if kind:
            self._remarks[f"The rating of {kind} of it was left out."] = None
        else:
            self._state["rating"] = row.get("rating")

    def _play(self, season: Any, episode: Any, plays: Any) -> None:
        if all(isinstance(number, int) for number in (season, episode, plays)) and plays > 0:
            self._plays.setdefault(season, Counter())[episode] += plays

    def result(self) -> ListEntry | NotImported:
        """Return the entry, or the reason why it can't be imported."""
        try:
            return self._entry()
        except EntryError as error:
            return NotImported(self._number, self._title or None, str(error), None)

    def _entry(self) -> ListEntry:
        first = self._plays.get(1, Counter[int]())
        others = sorted(self._plays.keys() - {1})
        if not (first or self._state):
            raise EntryError("Only its specials or later seasons are watched, which are other anime in the catalogue.")
        values = dict(self._state)
        if first:
            values |= {"episodes": len(first), "repeats": min(first.values()) - 1}
        row = Row(values)
        row.status(self._status(first))
        row.score("rating")
        row.text("notes", "notes")
        row.count("episodes_watched", "episodes")
        row.count("times_rewatched", "repeats")
        if others:
            row.remark(
                f"Its seasons {', '.join(map(str, others))} were left out: they are other anime in the catalogue."
            )
        for remark in self._remarks:
            row.remark(remark)
        if values.keys() <= {"rating"}:
            row.remark("The file has only its rating, so it counts as completed.")
        changed_at = max(self._times, default=None)
        return row.entry(self._number, self._title, (), year=self._values.get("year"), updated_at=changed_at)

    def _status(self, first: Counter[int]) -> str:
        if not first:
            return "plan to watch" if self._state.get("listed") else "completed"
        aired = read_number(self._values.get("aired_episodes"))
        has_ended = self._values.get("status") in _ENDED and aired is not None and len(first) >= aired
        return "completed" if self._kind == "movie" or has_ended else "watching"
