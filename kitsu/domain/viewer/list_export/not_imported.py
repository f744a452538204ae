"""The rows of an import whose anime is unknown, as a file that can be imported later."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from kitsu.domain.catalogue.anime import ExternalIds
from kitsu.domain.fields import described
from kitsu.domain.viewer.list_export import comma_separated, myanimelist
from kitsu.domain.viewer.list_import.entries import LibraryFields, ListEntry

Format = Literal["xml", "csv", "json"]


class UnknownRow(msgspec.Struct):
    """A row whose anime was not in the catalogue."""

    entry: Annotated[
        dict[str, Any],
        described("The fields that the upload had.", {"status": "watching", "anime": {"title": "New", "year": 2026}}),
    ]
    external_ids: ExternalIds


class UnknownRows(msgspec.Struct):
    """The rows of an import whose anime was not in the catalogue, in the form of a library's export."""

    exported_at: Annotated[datetime, described("When the list was imported.")]
    entries: Annotated[list[UnknownRow], described("The rows.")]


def write(entries: Sequence[ListEntry], form: Format) -> Iterator[bytes]:
    """Yield the file: XML of MyAnimeList, or CSV or JSON of Kitsu, without the fields that the upload did not have."""
    if form == "xml":
        yield myanimelist.head("", {}, 0)
        yield from (myanimelist.element(entry, with_time=True) for entry in entries)
        yield myanimelist.TAIL
    elif form == "csv":
        absent = frozenset(LibraryFields.__struct_fields__).intersection(*(entry.absent for entry in entries))
        columns = [name for name in comma_separated.COLUMNS if name not in absent]
        yield comma_separated.header(columns)
        yield from (comma_separated.lines([entry], columns) for entry in entries)
    else:
        yield msgspec.json.encode(UnknownRows(datetime.now(UTC), []))[:-2]
        yield from _separated(msgspec.json.encode(_json_entry(entry)) for entry in entries)
        yield b"]}"


def form_of(upload: Format, entries: Iterable[ListEntry]) -> Format:
    """Return the format of the file: that of the upload, or JSON if rows can't be written in it."""
    return upload if upload != "xml" or all(myanimelist.PROVIDER in dict(entry.ids) for entry in entries) else "json"


def _separated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    separator = b""
    for piece in pieces:
        yield separator + piece
        separator = b","


def _json_entry(entry: ListEntry) -> UnknownRow:
    names = [name for name in LibraryFields.__struct_fields__ if name not in entry.absent]
    fields: dict[str, Any] = {name: getattr(entry, name) for name in names}
    for name in ("anime_id", "updated_at", "all_episodes"):
        if value := getattr(entry, name):
            fields[name] = value
    fields["anime"] = {"title": entry.title, "year": entry.year}
    return UnknownRow(fields, dict(reversed(entry.ids)))
