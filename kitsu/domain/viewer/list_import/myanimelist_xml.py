"""The rows of MyAnimeList's XML as texts, also of XML that is not well-formed; `myanimelist.py` interprets them."""

import re
import sys
from collections.abc import Callable
from xml.parsers.expat import ErrorString, ExpatError, ParserCreate, errors

from kitsu.domain.viewer.list_import.entries import ListEntry, ListFileError, ListTooLarge, NotImported
from kitsu.domain.viewer.list_import.values import MAX_ENTRIES, clean_text

Convert = Callable[[int, dict[str, str]], ListEntry | NotImported]
"""Takes the number of an `<anime>` or `<manga>` element, from 1, and the text of the fields that it has."""

MAX_TEXT = 60_000
"""In characters, since notes of 10,000 characters may be that long with entities. The text of a longer element is cut,
but not to less than one character more."""

_FIELDS = {
    "series_animedb_id",
    "series_title",
    "series_type",
    "manga_mangadb_id",
    "manga_title",
    "my_watched_episodes",
    "my_start_date",
    "my_finish_date",
    "my_score",
    "my_status",
    "my_comments",
    "my_times_watched",
    "my_tags",
    "my_rewatching",
    "my_last_updated",
    "shiki_status",
}
_ROWS = {"anime", "manga"}

# Limits far above any list. Without them 100 KB of compressed `<a>` take more than a gigabyte or ten seconds.
_MAX_DEPTH = 50
_MAX_NAMES = 1000
_MAX_MARKUP = 1_500_000  # of `<` and `&`

_DECLARATION = re.compile(rb"<\?xml\s[^>]*\?>\s*")
# The start of a comment or CDATA section, a tag of more than 128 KiB, a reference, or an ampersand without one.
_UNTIDY = re.compile(
    rb"<!--|<!\[CDATA\[|<[^<>]{131072}|&(?:(?:amp|lt|gt|quot|apos|#([0-9]{1,7})|#x([0-9a-fA-F]{1,6}));)?"
)
_ENDS = {b"<!--": b"-->", b"<![CDATA[": b"]]>"}

_MANGA = "The file is a list of manga; only lists of anime can be taken."
_CUT_SHORT = {
    errors.XML_ERROR_NO_ELEMENTS,
    errors.XML_ERROR_UNCLOSED_TOKEN,
    errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    errors.XML_ERROR_PARTIAL_CHAR,
}


def read_xml(data: bytes, convert: Convert) -> list[ListEntry | NotImported]:
    """Return the converted rows of an export in UTF-8, whatever encoding it claims. Raises ListFileError."""
    if data.count(b"<") + data.count(b"&") > _MAX_MARKUP:
        raise ListTooLarge("The file holds more than a list of anime ever does.")
    reader = _Reader(convert)
    parser = ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _reject_doctype
    parser.StartElementHandler = reader.start_element
    parser.EndElementHandler = reader.end_element
    parser.CharacterDataHandler = reader.add_text
    parser.StartCdataSectionHandler = reader.start_cdata
    parser.EndCdataSectionHandler = reader.end_cdata
    parser.ProcessingInstructionHandler = lambda target, _: reader.count_names(target)
    try:
        parser.Parse(_tidy(data), True)  # noqa: FBT003 - expat's parameter has no name
    except ExpatError as error:
        message = ErrorString(error.code)
        if message in _CUT_SHORT:
            raise ListFileError("The file is cut short: it ends in the middle.") from None
        raise ListFileError(f"The file is not well-formed XML: {message}.") from None
    if reader.rows and not reader.has_anime:
        raise ListFileError(_MANGA)
    return reader.rows


def _tidy(data: bytes) -> bytearray:
    """Return the file with bare ampersands escaped, and without declaration, comments and invalid references."""
    # The declaration may name another encoding than UTF-8.
    declaration = _DECLARATION.match(data)
    place = declaration.end() if declaration else 0
    tidy = bytearray()
    while found := _UNTIDY.search(data, place):
        tidy += data[place : found.start()]
        place = found.end()
        if found[0] in _ENDS:
            end = data.find(_ENDS[found[0]], place)
            place = end + 3 if end >= 0 else len(data)
            if found[0] != b"<!--":
                tidy += data[found.start() : place]
        elif found[0] == b"&":
            tidy += b"&amp;"
        elif found[0].startswith(b"<"):
            raise ListTooLarge("The file has a tag that is longer than any in a list of MyAnimeList.")
        elif _is_valid(found):
            tidy += found[0]
    tidy += data[place:]
    return tidy


def _is_valid(reference: re.Match[bytes]) -> bool:
    code = int(reference[1] or 0) or int(reference[2] or b"0", 16)
    return reference.lastindex is None or (code <= sys.maxunicode and bool(clean_text(chr(code))))


class _Reader:
    """Collects the rows from the parser's events: `<anime>` elements of the root, whose children are the fields."""

    def __init__(self, convert: Convert) -> None:
        self.rows: list[ListEntry | NotImported] = []
        self.has_anime = False
        self._convert = convert
        self._path: list[str] = []
        self._names: set[str] = set()
        self._fields: dict[str, str] = {}
        self._text = ""
        self._cdata: tuple[int, int] | None = None
        """Where in the text the first CDATA section begins and the last one ends."""

    def start_element(self, name: str, attributes: dict[str, str]) -> None:
        if attributes or name not in self._names:
            self.count_names(name, *attributes)
        self._path.append(name)
        depth = len(self._path)
        if depth == 3:
            self._text, self._cdata = "", None
        elif depth == 2:
            self._fields = {}
        elif depth == 1 and name != "myanimelist":
            raise ListFileError(f"The file is not a list of MyAnimeList: it begins with <{name[:50]}>.")
        elif depth > _MAX_DEPTH:
            raise ListTooLarge("The file is nested too deep for a list of MyAnimeList.")

    def end_element(self, name: str) -> None:
        if len(self._path) == 3 and name in _FIELDS:
            self._fields[name] = self._stripped_text() if len(self._text) <= MAX_TEXT else self._text
        elif len(self._path) == 2 and name in _ROWS:
            if len(self.rows) == MAX_ENTRIES:
                raise ListTooLarge(f"The file has more than {MAX_ENTRIES:,} entries.")
            if name == "manga":
                self._fields.setdefault("manga_mangadb_id", "")
            self.has_anime = self.has_anime or name == "anime"
            self.rows.append(self._convert(len(self.rows) + 1, self._fields))
        self._path.pop()

    def add_text(self, text: str) -> None:
        if len(self._text) <= MAX_TEXT and len(self._path) > 2 and self._path[2] in _FIELDS:
            self._text += text

    def start_cdata(self) -> None:
        if self._cdata is None:
            self._cdata = len(self._text), len(self._text)

    def end_cdata(self) -> None:
        if self._cdata is not None:
            self._cdata = self._cdata[0], len(self._text)

    def count_names(self, *names: str) -> None:
        self._names.update(names)
        if len(self._names) > _MAX_NAMES:
            raise ListTooLarge("The file has more kinds of elements than any list of MyAnimeList.")

    def _stripped_text(self) -> str:
        """Return the text without the white space of the file's layout; that in a CDATA section is the user's."""
        if self._cdata is None:
            return self._text.strip()
        first, last = self._cdata
        return self._text[:first].lstrip() + self._text[first:last] + self._text[last:].rstrip()


def _reject_doctype(*_: object) -> None:
    # Entities need a document type: without one they can neither expand without limit nor read other files.
    raise ListFileError("The file defines a document type or entities, which no list needs.")
