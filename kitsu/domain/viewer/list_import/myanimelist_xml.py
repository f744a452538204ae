"""The rows of MyAnimeList's XML as texts, from untidy files too. It reads no meaning yet."""

import re
import sys
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar
from xml.parsers.expat import errors
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler, LexicalHandler, property_lexical_handler
from xml.sax.xmlreader import AttributesImpl

from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped] # it ships no types
from defusedxml.expatreader import create_parser  # type: ignore[import-untyped] # it ships no types

from kitsu.domain.viewer.list_import.entries import MAX_ENTRIES, ListFileError, ListTooLarge, holdable

T = TypeVar("T")

MAX_TEXT = 10_000
"""Characters of an element that are kept."""

_FIELDS = {
    "user_export_type",
    "series_animedb_id",
    "series_title",
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
}

# Bounds far above any list; a mark is a `<` or `&`. Without them 100 KB of compressed `<a>` take more than a gigabyte
# or ten seconds.
_MAX_DEPTH = 50
_MAX_NAMES = 1000
_MAX_MARKS = 1_500_000

_DECLARATION = re.compile(rb"<\?xml\s[^>]*\?>\s*")
# The openings of comments and CDATA sections, a tag of more than 128 KiB, references, and ampersands that are none.
_UNTIDY = re.compile(
    rb"<!--|<!\[CDATA\[|<[^<>]{131072}|&(?:(?:amp|lt|gt|quot|apos|#([0-9]{1,7})|#x([0-9a-fA-F]{1,6}));)?"
)

_CUT_SHORT = {
    errors.XML_ERROR_NO_ELEMENTS,
    errors.XML_ERROR_UNCLOSED_TOKEN,
    errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    errors.XML_ERROR_PARTIAL_CHAR,
}


class Row(NamedTuple):
    """An `<anime>` element."""

    number: int
    fields: dict[str, str]
    """The texts of the elements that mean something to Kitsu."""
    overlong: str
    """The name of one that is longer than MAX_TEXT, or an empty text."""


def read_rows(data: bytes, convert: Callable[[Row], T]) -> list[T]:
    """Return the converted rows of an export in UTF-8, whatever encoding it claims. Raises ListFileError."""
    if data.count(b"<") + data.count(b"&") > _MAX_MARKS:
        raise ListTooLarge("The file holds more than a list of anime ever does.")
    reader = _Reader(convert)
    parser = create_parser(forbid_dtd=True)
    parser.setContentHandler(reader)
    parser.setProperty(property_lexical_handler, reader)
    try:
        parser.feed(_tidied(data))
        parser.close()
    except SAXParseException as error:
        if error.getMessage() in _CUT_SHORT:
            raise ListFileError("The file is cut short: it ends in the middle.") from None
        raise ListFileError(f"The file is no well-formed XML: {error.getMessage()}.") from None
    except DefusedXmlException:
        raise ListFileError("The file defines a document type or entities, which no list needs.") from None
    return reader.rows


def _tidied(data: bytes) -> bytearray:
    """Return the file as well-formed XML where it is only untidy, and without comments."""
    # The declaration may name another encoding than the present one.
    declaration = _DECLARATION.match(data)
    place = declaration.end() if declaration else 0
    tidy = bytearray()
    while found := _UNTIDY.search(data, place):
        tidy += data[place : found.start()]
        place = found.end()
        if found[0] == b"<!--":
            place = _end_of(b"-->", data, place)
        elif found[0] == b"<![CDATA[":
            place = _end_of(b"]]>", data, place)
            tidy += data[found.start() : place]
        elif found[0] == b"&":
            tidy += b"&amp;"
        elif found[0].startswith(b"<"):
            raise ListTooLarge("The file has a tag that is longer than any in a list of MyAnimeList.")
        elif _is_holdable(found):
            tidy += found[0]
    tidy += data[place:]
    return tidy


def _end_of(closing: bytes, data: bytes, start: int) -> int:
    end = data.find(closing, start)
    return end + len(closing) if end >= 0 else len(data)


def _is_holdable(reference: re.Match[bytes]) -> bool:
    code = int(reference[1] or 0) or int(reference[2] or b"0", 16)
    return reference.lastindex is None or (code <= sys.maxunicode and bool(holdable(chr(code))))


class _Reader(ContentHandler, LexicalHandler, Generic[T]):
    """Makes rows of what the parser reports."""

    def __init__(self, convert: Callable[[Row], T]) -> None:
        super().__init__()
        self.rows: list[T] = []
        self._convert = convert
        self._depth = 0
        self._names: set[str] = set()
        self._fields: dict[str, str] | None = None
        self._overlong = ""
        self._field = ""
        self._pieces: list[str] = []
        self._size = 0
        self._cdata: tuple[int, int] | None = None

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802 - SAX names it
        self._count_names(name, *attrs.getNames())
        self._depth += 1
        if self._depth == 3:
            self._field, self._pieces, self._size, self._cdata = name if name in _FIELDS else "", [], 0, None
        elif self._depth == 2:
            if name == "manga":
                raise _manga()
            self._fields, self._overlong = ({} if name == "anime" else None), ""
        elif self._depth == 1 and name != "myanimelist":
            raise ListFileError(f"The file is no list of MyAnimeList: it begins with <{name[:50]}>.")
        elif self._depth > _MAX_DEPTH:
            raise ListTooLarge("The file is nested too deep for a list of MyAnimeList.")

    def endElement(self, name: str) -> None:  # noqa: N802 - SAX names it
        if self._depth == 3 and self._field:
            self._end_field(name)
        elif self._depth == 2 and self._fields is not None:
            if len(self.rows) == MAX_ENTRIES:
                raise ListTooLarge(f"The file has more than {MAX_ENTRIES:,} entries.")
            self.rows.append(self._convert(Row(len(self.rows) + 1, self._fields, self._overlong)))
            self._fields = None
        self._depth -= 1

    def characters(self, content: str) -> None:
        if self._field and self._size <= MAX_TEXT:
            self._pieces.append(content)
            self._size += len(content)

    def startCDATA(self) -> None:  # noqa: N802 - SAX names it
        if self._cdata is None:
            self._cdata = len(self._pieces), len(self._pieces)

    def endCDATA(self) -> None:  # noqa: N802 - SAX names it
        if self._cdata is not None:
            self._cdata = self._cdata[0], len(self._pieces)

    def processingInstruction(self, target: str, data: str) -> None:  # noqa: ARG002, N802 - SAX names it
        self._count_names(target)

    def _count_names(self, *names: str) -> None:
        self._names.update(names)
        if len(self._names) > _MAX_NAMES:
            raise ListTooLarge("The file has more kinds of elements than any list of MyAnimeList.")

    def _end_field(self, name: str) -> None:
        text = self._text()
        self._field = ""
        if self._fields is not None:
            self._fields[name] = text
            if self._size > MAX_TEXT:
                self._overlong = name
        elif name == "user_export_type" and text.strip() == "2":
            raise _manga()

    def _text(self) -> str:
        # White space in a CDATA section is the viewer's; that around it belongs to the layout of the file.
        first, last = self._cdata or (len(self._pieces), len(self._pieces))
        before, inside, after = self._pieces[:first], self._pieces[first:last], self._pieces[last:]
        if not self._cdata:
            return "".join(before).strip()
        return "".join(before).lstrip() + "".join(inside) + "".join(after).rstrip()


def _manga() -> ListFileError:
    return ListFileError("The file is a list of manga; only lists of anime can be taken.")
