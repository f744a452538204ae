"""The bytes of a file: unpacked within bounds, and read by the reader of their format."""

import codecs
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE

from kitsu.domain.viewer.list_import.anilist import read_anilist
from kitsu.domain.viewer.list_import.entries import ListEntry, ListFileError, ListTooLarge, Refusal
from kitsu.domain.viewer.list_import.myanimelist import read_myanimelist

MAX_BYTES = 32 << 20
"""Of the unpacked file; a list of all the anime there are has some 30 MB."""

_GZIP = b"\x1f\x8b"
_PIECE = 1 << 16

# XML can't hold them, and a list has no use for them.
_CONTROLS = bytes(set(range(0x20)) - set(b"\t\n\r"))
_NONCHARACTERS = ("\ufffe".encode(), "\uffff".encode())


def read_list(data: bytes) -> list[ListEntry | Refusal]:
    """Return the entries of a viewer's list in the file's order, each once. Raises ListFileError."""
    if data.startswith(_GZIP):
        data = _unpacked(data)
    if len(data) > MAX_BYTES:
        raise ListTooLarge(f"The file is larger than {MAX_BYTES >> 20} MiB.")
    data = _utf8(data).strip()
    if data.startswith(b"{"):
        return read_anilist(data)
    if data.startswith(b"<"):
        return read_myanimelist(data)
    if not data:
        raise ListFileError("The file is empty.")
    raise ListFileError("The file is neither an XML export of MyAnimeList nor a JSON export of AniList.")


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(data, MAX_BYTES + 1)
    except zlib.error:
        raise ListFileError("The file's compressed data is damaged.") from None
    if len(content) > MAX_BYTES:
        raise ListTooLarge(f"The file is larger than {MAX_BYTES >> 20} MiB when it is unpacked.")
    if not unpacker.eof:
        raise ListFileError("The file is cut short: its compressed data ends in the middle.")
    # A second member too: no site writes one, and of empty ones a small file can hold very many.
    if unpacker.unused_data:
        raise ListFileError("The file has something behind its compressed data.")
    return content


def _utf8(data: bytes) -> bytes:
    """Return the text in valid UTF-8, without byte order mark, control characters and noncharacters."""
    encoding = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8"
    pieces = (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
    # Piece by piece: a single character beyond the first plane makes a text four times as large.
    text = b"".join(piece.encode() for piece in codecs.iterdecode(pieces, encoding, "replace"))
    text = text.removeprefix(BOM_UTF8).translate(None, _CONTROLS)
    for each in _NONCHARACTERS:
        text = text.replace(each, b"")
    return text
