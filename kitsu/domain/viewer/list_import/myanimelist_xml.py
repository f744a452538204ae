"""MyAnimeList's XML as rows of texts: what is untidy is put right, what is hostile ends early. No meaning yet."""

import re
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.parsers.expat import errors
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler, LexicalHandler, property_lexical_handler
from xml.sax.xmlreader import AttributesImpl

from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped] # it ships no types
from defusedxml.expatreader import create_parser  # type: ignore[import-untyped] # it ships no types

from kitsu.domain.viewer.list_import.entries import MAX_ENTRIES, ListFileError, ListTooLarge, holdable

MAX_TEXT = 10_000
"""Characters of an element; what is beyond is not kept."""

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

# Bounds that no list comes near, a `<` or `&` being a mark. Without them 100 KB of compressed `<a>` take more than a
# gigabyte while they are parsed, or ten seconds and more.
_MAX_DEPTH = 50
_MAX_NAMES = 1000
_MAX_MARKS = 1_500_000
_BLOCK = 1 << 16

_DECLARATION = re.compile(rb"<\?xml\s[^>]*\?>\s*")
_OPENING = re.compile(rb"<!--|<!\[CDATA\[")
_RAW_AMPERSAND = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});)")
_NUMERIC_REFERENCE = re.compile(rb"&#(?:x([0-9a-fA-F]+)|([0-9]+));")
_LONGEST_REFERENCE = len("&#x10FFFF;")

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
    """The name of one that is longer than MAX_TEXT, or nothing."""


def read_rows(data: bytes) -> Iterator[Row]:
    """The rows of an export in UTF-8, whatever encoding it claims.

    Raises ListFileError, also after rows were given.
    """
    if data.count(b"<") + data.count(b"&") > _MAX_MARKS:
        raise ListTooLarge("The file holds more than a list of anime ever does.")
    reader = _Reader()
    parser = create_parser(forbid_dtd=True)
    parser.setContentHandler(reader)
    parser.setProperty(property_lexical_handler, reader)
    silent = 0
    try:
        for block in _joined(_parts(data)):
            parser.feed(block)
            yield from reader.taken()
            silent = 0 if reader.moved() else silent + len(block)
            # The parser goes over an unfinished tag again with each block.
            if silent > 2 * _BLOCK:
                raise ListTooLarge("The file has a tag that is longer than any in a list of MyAnimeList.")
        parser.close()
    except SAXParseException as error:
        if error.getMessage() in _CUT_SHORT:
            raise ListFileError("The file is cut short: it ends in the middle.") from None
        raise ListFileError(f"The file is no well-formed XML: {error.getMessage()}.") from None
    except DefusedXmlException:
        raise ListFileError("The file defines a document type or entities, which no list needs.") from None
    yield from reader.taken()


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    block = bytearray()
    for part in parts:
        block += part
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _parts(data: bytes) -> Iterator[bytes]:
    """The file as well-formed XML where it is only untidy, and without comments."""
    # It may claim another encoding than the one in which the text is now.
    declaration = _DECLARATION.match(data)
    place = declaration.end() if declaration else 0
    while opening := _OPENING.search(data, place):
        yield from _escaped(data, place, opening.start())
        closing = b"-->" if opening[0] == b"<!--" else b"]]>"
        end = data.find(closing, opening.end())
        place = end + len(closing) if end >= 0 else len(data)
        if closing == b"]]>":
            for start in range(opening.start(), place, _BLOCK):
                yield data[start : min(start + _BLOCK, place)]
    yield from _escaped(data, place, len(data))


def _escaped(data: bytes, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        stop = min(start + _BLOCK, end)
        if stop < end and (ampersand := data.rfind(b"&", stop - _LONGEST_REFERENCE, stop)) >= 0:
            stop = ampersand
        block = _RAW_AMPERSAND.sub(b"&amp;", data[start:stop])
        yield _NUMERIC_REFERENCE.sub(_holdable_reference, block)
        start = stop


def _holdable_reference(found: re.Match[bytes]) -> bytes:
    code = int(found[1], 16) if found[1] else int(found[2])
    return found[0] if code <= sys.maxunicode and holdable(chr(code)) else b""


class _Reader(ContentHandler, LexicalHandler):
    """What the parser tells, made into rows. Keeps the one that is being read, and those that nobody took yet."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Row] = []
        self._number = 0
        self._depth = 0
        self._names: set[str] = set()
        self._moved = False
        self._fields: dict[str, str] | None = None
        self._overlong = ""
        self._field = ""
        self._pieces: list[str] = []
        self._size = 0
        self._cdata: tuple[int, int] | None = None

    def taken(self) -> list[Row]:
        """The rows that are complete since it was last asked."""
        rows, self._rows = self._rows, []
        return rows

    def moved(self) -> bool:
        """Whether the parser told anything since it was last asked."""
        moved, self._moved = self._moved, False
        return moved

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802 - SAX names it
        self._meet(name)
        if len(attrs):
            self._meet(*attrs.getNames())
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
        self._moved = True
        if self._depth == 3 and self._field:
            self._end_field(name)
        elif self._depth == 2 and self._fields is not None:
            self._number += 1
            if self._number > MAX_ENTRIES:
                raise ListTooLarge(f"The file has more than {MAX_ENTRIES:,} entries.")
            self._rows.append(Row(self._number, self._fields, self._overlong))
            self._fields = None
        self._depth -= 1

    def characters(self, content: str) -> None:
        self._moved = True
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
        self._meet(target)

    def _meet(self, *names: str) -> None:
        self._moved = True
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
        # In a CDATA section blanks are the viewer's, around it they are the file's.
        first, last = self._cdata or (len(self._pieces), len(self._pieces))
        before, inside, after = self._pieces[:first], self._pieces[first:last], self._pieces[last:]
        if not self._cdata:
            return "".join(before).strip()
        return "".join(before).lstrip() + "".join(inside) + "".join(after).rstrip()


def _manga() -> ListFileError:
    return ListFileError("The file is a list of manga; only lists of anime can be taken.")
