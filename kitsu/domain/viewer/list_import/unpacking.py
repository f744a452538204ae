"""The bytes of a file as text in UTF-8: unpacked within limits, and decoded."""

import codecs
import io
import re
import struct
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from kitsu.domain.viewer.list_import.entries import ListFileError, ListTooLarge
from kitsu.domain.viewer.list_import.values import clean_text

MAX_BYTES = 32 << 20  # of the unpacked file; a list of all existing anime has about 30 MB
_MAX_ZIP_FILES = 100
_PIECE_BYTES = 1 << 16
_GZIP, _ZIP, _ZIP_DIRECTORY = b"\x1f\x8b", b"PK\x03\x04", b"PK\x01\x02"
_TOO_LARGE = f"The file is larger than {MAX_BYTES >> 20} MiB when it is unpacked."

_DECLARED = re.compile(rb"\s*<\?xml\s[^>]{0,200}?\sencoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})[\"']")
# The names that Python gives the encodings of texts. Its codecs also include compression and the like.
_ENCODING = re.compile(r"ascii|iso8859-\d+|cp125\d|cp866|cp932|koi8-[rut]|mac-\w+|shift_jis|euc_\w+|gb\w+|big5\w*")


def unpack(data: bytes) -> dict[str, bytes]:
    """Return the files of a ZIP archive by name, or one file without a name, each unpacked. Raises ListFileError."""
    if data.startswith(_ZIP):
        return {name: _gunzip(content) for name, content in _unzip(data)}
    data = _gunzip(data)
    if len(data) > MAX_BYTES:
        raise ListTooLarge(f"The file is larger than {MAX_BYTES >> 20} MiB.")
    return {"": data}


def _gunzip(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(data, MAX_BYTES + 1)
    except zlib.error:
        raise ListFileError("The file's compressed data is damaged.") from None
    if len(content) > MAX_BYTES:
        raise ListTooLarge(_TOO_LARGE)
    if not unpacker.eof:
        raise ListFileError("The file is cut short: its compressed data ends in the middle.")
    # This rejects a second gzip member too: no site writes one, and a small file can hold very many empty ones.
    if unpacker.unused_data:
        raise ListFileError("The file has something behind its compressed data.")
    return content


def _unzip(data: bytes) -> Iterator[tuple[str, bytes]]:
    if data.count(_ZIP_DIRECTORY) > _MAX_ZIP_FILES:
        raise ListTooLarge(f"The ZIP archive has more than {_MAX_ZIP_FILES} files.")
    room = MAX_BYTES
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            for member in filter(_is_file, archive.infolist()):
                if member.compress_type not in {ZIP_STORED, ZIP_DEFLATED} or member.flag_bits & 1:
                    raise ListFileError("The ZIP archive is encrypted, or compressed in an unusual way.")
                with archive.open(member) as file:
                    content = file.read(room + 1)
                room -= len(content)
                if room < 0:
                    raise ListTooLarge(_TOO_LARGE)
                yield clean_text(member.filename), content
    except (BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError):
        raise ListFileError("The ZIP archive is damaged or cut short.") from None


def _is_file(member: ZipInfo) -> bool:
    """Return whether it is a file that a user put in, unlike those that operating systems add."""
    *folders, name = member.filename.split("/")
    return bool(name) and not name.startswith(".") and "__MACOSX" not in folders


def to_utf8(data: bytes) -> bytes:
    """Return the text as valid UTF-8, without byte order mark, control characters and noncharacters."""
    pieces = (data[start : start + _PIECE_BYTES] for start in range(0, len(data), _PIECE_BYTES))
    # In pieces: a single character beyond the first plane makes a Python text four times as large.
    texts = codecs.iterdecode(pieces, _encoding(data), "replace")
    return b"".join(clean_text(text).encode() for text in texts).strip()


def _encoding(data: bytes) -> str:
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "utf-16"
    start = data[:4].strip(b"\r\n\t ")
    if len(data) % 2 == 0 and start[1:2] == b"\0" and start[:1] in {b"<", b"{", b"["}:
        return "utf-16-le"
    if start[:1] == b"\0" and start[1:2] in {b"<", b"{", b"["}:
        return "utf-16-be"
    declared = _DECLARED.match(data)
    if declared and not data.startswith(BOM_UTF8) and not _is_utf8(data):
        try:
            name = codecs.lookup(declared[1].decode()).name
        except LookupError:
            name = ""
        if _ENCODING.fullmatch(name):
            return name
    return "utf-8-sig"


def _is_utf8(data: bytes) -> bool:
    """Return whether the text is UTF-8, whatever it claims: texts in other encodings hardly ever are."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _PIECE_BYTES):
            decoder.decode(data[start : start + _PIECE_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
