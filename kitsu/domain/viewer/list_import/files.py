"""The reader of a file, which its content decides and never its name."""

import csv
import io
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from kitsu.domain.viewer.list_import import (
    anilist,
    anilist_download,
    kitsu_api,
    myanimelist_api,
    own,
    own_csv,
    shikimori,
    simkl,
    trakt,
    yamtrack,
)
from kitsu.domain.viewer.list_import.entries import ListEntry, ListFileError, ListTooLarge, NotImported
from kitsu.domain.viewer.list_import.json_values import MAX_VALUES, Value, open_json
from kitsu.domain.viewer.list_import.myanimelist import read_entry
from kitsu.domain.viewer.list_import.myanimelist_xml import read_xml
from kitsu.domain.viewer.list_import.rows import Rows
from kitsu.domain.viewer.list_import.unpacking import MAX_BYTES, to_utf8, unpack
from kitsu.domain.viewer.list_import.values import MAX_ENTRIES

__all__ = ["MAX_BYTES", "read_list"]

KNOWN = "MyAnimeList, AniList, Shikimori, Kitsu, Simkl, Trakt or Yamtrack"
_JSON = b"{", b"["
_WEB_PAGE = re.compile(rb"(?:<\?xml[^>]*>\s*|<!--[^>]*-->\s*){0,5}<(?:!doctype\s+)?html\b", re.IGNORECASE)


class _JsonFormat(NamedTuple):
    matches: Callable[[Value], bool]
    read: Callable[[Value], Rows]


# The first that matches reads the file. AniList looks into all objects, so it comes last.
_JSON_FORMATS = [
    _JsonFormat(own.matches, own.read),
    _JsonFormat(anilist_download.matches, anilist_download.read),
    _JsonFormat(shikimori.matches, shikimori.read),
    _JsonFormat(myanimelist_api.matches, myanimelist_api.read),
    _JsonFormat(kitsu_api.matches, kitsu_api.read),
    _JsonFormat(simkl.matches, simkl.read),
    _JsonFormat(trakt.matches, trakt.read),
    _JsonFormat(anilist.matches, anilist.read),
]
_CSV_FORMATS = [(own_csv.COLUMNS, own_csv.read), (yamtrack.COLUMNS, yamtrack.read)]
"""The columns that a format has, and its reader."""


def read_list(data: bytes) -> list[ListEntry | NotImported]:
    """Return the entries of a list in the file's order, each once. Raises ListFileError."""
    files = unpack(data)
    if not files:
        raise ListFileError("The ZIP archive is empty.")
    if len(files) == 1:
        return _read(to_utf8(next(iter(files.values()))))
    return _read_all(files)


def _read(text: bytes) -> Rows:
    if text.startswith(_JSON):
        document = open_json(text)
        found = next((each for each in _JSON_FORMATS if each.matches(document)), None)
        if found is None:
            raise ListFileError(f"The JSON is not a list of {KNOWN}.")
        return found.read(document)
    if _WEB_PAGE.match(text):
        raise ListFileError("The file is a web page (HTML), not the export: download the export's file itself.")
    if text.startswith(b"<"):
        return read_xml(text, read_entry)
    if not text:
        raise ListFileError("The file is empty.")
    return _read_csv(text)


def _read_csv(text: bytes) -> Rows:
    if text.count(b",") + text.count(b"\n") > MAX_VALUES:
        raise ListTooLarge("The file holds more than a list of anime ever does.")
    lines = csv.DictReader(io.TextIOWrapper(io.BytesIO(text), "utf-8", newline=""))
    try:
        columns = set(lines.fieldnames or ())
        for needed, read in _CSV_FORMATS:
            if needed <= columns:
                return read(lines)
    except csv.Error as error:
        raise ListFileError(f"The file is not well-formed CSV: {error}.") from None
    raise ListFileError(f"The file is neither XML, JSON nor CSV of a list of {KNOWN}.")


def _read_all(files: dict[str, bytes]) -> Rows:
    """Return the entries of all lists in an archive. A file that is no list has a row that says why."""
    rows: Rows = []
    of_trakt: list[Value] = []  # its export has a file for each kind of row
    for name, data in files.items():
        text = to_utf8(data)
        try:
            document = open_json(text) if text.startswith(_JSON) else None
            if document is not None and trakt.matches(document):
                of_trakt += trakt.rows(document)
            else:
                rows += _read(text)
        except ListTooLarge:
            raise
        except ListFileError as error:
            rows.append(NotImported(0, name, f"This file of the archive was not read. {error}", None))
    rows += trakt.read(of_trakt)
    if len(rows) > MAX_ENTRIES:
        raise ListTooLarge(f"The file has more than {MAX_ENTRIES:,} entries.")
    if not any(isinstance(row, ListEntry) for row in rows):
        raise ListFileError(f"The ZIP archive has no list of {KNOWN}.")
    return [msgspec.structs.replace(row, number=number) for number, row in enumerate(rows, start=1)]
