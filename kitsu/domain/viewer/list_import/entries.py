"""One entry of a list of any site, or the reason why it can't be imported."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from kitsu.domain.fields import described
from kitsu.domain.viewer.library import Status


class ListFileError(Exception):
    """The file can't be imported; the message is one sentence for the user."""


class ListTooLarge(ListFileError):
    """The file holds more than any list of anime."""


class EntryError(Exception):
    """An entry can't be imported; the message is one sentence for the user."""


class Suggestion(msgspec.Struct):
    """An anime of the same title."""

    anime_id: UUID
    title: Annotated[str, described("The title of the anime.", "Death Note")]


class NotImported(msgspec.Struct):
    """An entry that was not imported."""

    number: Annotated[int, described("The place of the entry in the file, from 1.", 17)]
    title: Annotated[str | None, described("The title in the file.", "Death Note")]
    reason: Annotated[str, described("Why the entry was not imported.", "It is not in the catalogue.")]
    suggestion: Annotated[Suggestion | None, described("An anime with the same title, which may be the right one.")]


class LibraryFields(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of the library that a list fills, as in `LibraryEntry`."""

    status: Status
    score: float | None = None
    """1.0 to 10.0 with one decimal."""
    notes: str | None = None
    episodes_watched: int = 0
    started_on: str | None = None
    completed_on: str | None = None
    times_rewatched: int = 0
    is_rewatching: bool = False
    tags: str | None = None


class ListEntry(LibraryFields, frozen=True, kw_only=True):
    """An entry of a file. It names its anime by `anime_id`, else by `ids`, else by `title` and `year`."""

    number: int
    """The place in the file, from 1."""
    title: str
    """Empty where the file has none."""
    ids: tuple[tuple[str, str], ...] = ()
    """Provider and id, best first. Empty where the file has only a title."""
    anime_id: UUID | None = None
    """The id at Kitsu, in Kitsu's own exports. Another installation may not have it."""
    year: int | None = None
    """The year when the anime was first shown, where the file has it."""
    updated_at: datetime | None = None
    """When the entry was changed on the other site, where the file has it."""
    all_episodes: bool = False
    """Whether all episodes are watched: the entry is completed, and the file has no number or 0."""
    absent: frozenset[str] = frozenset()
    """The names of the `LibraryFields` that the file does not have, or that can't be read."""
    remarks: tuple[str, ...] = ()
    """Sentences for the report, about values that were changed or left out."""
