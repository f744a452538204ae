"""One entry of a list of any site, or the reason why it can't be imported."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

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
    title: Annotated[str, Meta(description="The title of the anime.", examples=["Death Note"])]


class NotImported(msgspec.Struct):
    """An entry that was not imported."""

    number: Annotated[int, Meta(description="The place of the entry in the file, from 1.", examples=[17])]
    title: Annotated[str | None, Meta(description="The title in the file.", examples=["Death Note"])]
    reason: Annotated[
        str, Meta(description="Why the entry was not imported.", examples=["It is not in the catalogue."])
    ]
    suggestion: Annotated[
        Suggestion | None, Meta(description="An anime with the same title, which may be the right one.")
    ]


class LibraryFields(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of the library that a list fills, as in `LibraryEntry`."""

    status: Status
    score: int | None = None
    notes: str | None = None
    episodes_watched: int = 0
    started_on: str | None = None
    completed_on: str | None = None
    times_rewatched: int = 0
    is_rewatching: bool = False
    tags: str | None = None


class ListEntry(LibraryFields, frozen=True, kw_only=True):
    """An entry of a file."""

    number: int
    """Its place in the file, from 1."""
    title: str
    """Empty where the file has none."""
    ids: tuple[tuple[str, str], ...]
    """Provider and id, best first; at least one."""
    updated_at: datetime | None = None
    """When it was changed on the other site, where the file has that."""
