"""The bytes of a file: unpacked within limits, and passed to the reader of their format."""

import codecs
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE

from kitsu.domain.viewer.list_import.anilist import read_anilist
from kitsu.domain.viewer.list_import.entries import ListEntry, ListFileError, ListTooLarge, NotImported
from kitsu.domain.viewer.list_import.myanimelist import read_entry
from kitsu.domain.viewer.list_import.myanimelist_xml import read_rows
from kitsu.domain.viewer.list_import.values import clean_text

MAX_BYTES = 32 << 20  # of the unpacked file; a list of all existing anime has about 30 MB
_PIECE_BYTES = 1 << 16


def read_list(data: bytes) -> list[ListEntry | NotImported]:
    """Return the entries of a list in the file's order, each once. Raises ListFileError."""
    if data.startswith(b"\x1f\x8b"):
        data = _unpack(data)
    if len(data) > MAX_BYTES:
        raise ListTooLarge(f"The file is larger than {MAX_BYTES >> 20} MiB.")
    data = _to_utf8(data).strip()
    if data.startswith(b"{"):
        return read_anilist(data)
    if data.startswith(b"<"):
        return read_rows(data, read_entry)
    if not data:
        raise ListFileError("The file is empty.")
    raise ListFileError("The file is neither an XML export of MyAnimeList nor a JSON export of AniList.")


def _unpack(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(data, MAX_BYTES + 1)
    except zlib.error:
        raise ListFileError("The file's compressed data is damaged.") from None
    if len(content) > MAX_BYTES:
        raise ListTooLarge(f"The file is larger than {MAX_BYTES >> 20} MiB when it is unpacked.")
    if not unpacker.eof:
        raise ListFileError("The file is cut short: its compressed data ends in the middle.")
    # This rejects a second gzip member too: no site writes one, and a small file can hold very many empty ones.
    if unpacker.unused_data:
        raise ListFileError("The file has something behind its compressed data.")
    return content


def _to_utf8(data: bytes) -> bytes:
    """Return the text as valid UTF-8, without byte order mark, control characters and noncharacters."""
    encoding = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    pieces = (data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES))
    # In pieces: a single character beyond the first plane makes a Python text four times as large.
    return b"".join(clean_text(piece).encode() for piece in codecs.iterdecode(pieces, encoding, "replace"))
