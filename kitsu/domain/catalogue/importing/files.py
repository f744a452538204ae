"""Readers of the file formats. They stream: memory does not grow with the file.

`.jsonl`: metadata in line 1, then one anime a line. `.json`: one object with the list under `data`. Both may be
compressed, and then end in `.zst`.
"""

import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, NamedTuple, cast

import ijson
import msgspec

from kitsu.domain.catalogue.importing.entries import Entry, without_wrong_values

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_LINE = 1 << 16
"""Bytes. The longest lines of the database have some 20,000."""

_decoder = msgspec.json.Decoder(Entry)


class CatalogueFileError(Exception):
    """The file as a whole can't be imported; the message is one line."""


class Numbered(NamedTuple):
    """An entry, or why it is invalid; with its line, or its position in the list of a `.json`, from 1."""

    number: int
    entry: Entry | None
    reason: str = ""
    remarks: Sequence[str] = ()
    """What was left out of the entry."""


def read_catalogue(path: Path, progress: Callable[[int], None]) -> Iterator[Numbered]:
    """Yield the entries of a file in order; `progress` is called with the number of bytes read.

    Raises CatalogueFileError for a file that is missing, empty, cut short, or of an unknown format.
    """
    try:
        yield from _read(path, progress)
    except FileNotFoundError:
        raise CatalogueFileError(f"{path}: the file does not exist.") from None
    except EOFError:
        raise CatalogueFileError(f"{path}: the file is cut short: its compressed data ends in the middle.") from None
    except zstd.ZstdError as error:
        raise CatalogueFileError(f"{path}: the file is not zstd-compressed, or damaged: {error}.") from None
    except CatalogueFileError as error:
        raise CatalogueFileError(f"{path}: {error}") from None
    except OSError as error:
        raise CatalogueFileError(f"{path}: the file can't be read: {error.strerror or error}.") from None


def _read(path: Path, progress: Callable[[int], None]) -> Iterator[Numbered]:
    name = path.name.lower().removesuffix(".zst")
    if not name.endswith((".jsonl", ".json")):
        raise CatalogueFileError("the name of a catalogue ends in .jsonl, .jsonl.zst or .json.")
    read = _read_lines if name.endswith(".jsonl") else _read_object
    with ExitStack() as stack:
        content = raw = stack.enter_context(path.open("rb"))
        if not raw.peek(1):
            raise CatalogueFileError("the file is empty.")
        if path.suffix.lower() == ".zst":
            unpacked = cast("RawIOBase", stack.enter_context(zstd.open(raw, "rb")))
            content = stack.enter_context(BufferedReader(unpacked))
        if content.peek(len(BOM_UTF8)).startswith(BOM_UTF8):
            content.read(len(BOM_UTF8))
        numbered = None
        for numbered in read(content):
            yield numbered
            if raw.seekable():
                progress(raw.tell())
        if numbered is None:
            raise CatalogueFileError("the file holds no anime.")


def _read_lines(content: BufferedReader) -> Iterator[Numbered]:
    for number, line in enumerate(iter(partial(content.readline, MAX_LINE + 1), b""), start=1):
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            if number == 1:
                raise CatalogueFileError(
                    "line 1 is too long for JSON Lines. The name of a file with one JSON object ends in .json."
                )
            while (rest := content.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield Numbered(number, None, f"it is longer than {MAX_LINE:,} bytes")
        elif number == 1 and _is_metadata(line):
            continue
        elif line.strip():
            yield _decoded(number, line)


def _is_metadata(line: bytes) -> bool:
    try:
        first = msgspec.json.decode(line)
    except (ValueError, RecursionError):
        first = None
    if not isinstance(first, dict):
        raise CatalogueFileError(
            "line 1 is not a JSON object, so this is not a catalogue in the anime-offline-database format (JSON Lines)."
        )
    if "data" in first:
        raise CatalogueFileError("this is one JSON object, so the name of the file must end in .json.")
    return "sources" not in first


def _decoded(number: int, line: bytes) -> Numbered:
    try:
        try:
            return Numbered(number, _decoder.decode(line))
        except msgspec.ValidationError:
            return _salvaged(number, msgspec.json.decode(line))
    except (ValueError, RecursionError) as error:
        if not line.endswith(b"\n") and not _is_json(line):
            raise CatalogueFileError(f"the file is cut short: it ends in the middle of line {number}.") from None
        return Numbered(number, None, "it is nested too deep" if isinstance(error, RecursionError) else str(error))


def _salvaged(number: int, item: Any) -> Numbered:
    try:
        entry, remarks = without_wrong_values(item)
    except msgspec.ValidationError as error:
        return Numbered(number, None, str(error))
    return Numbered(number, entry, remarks=remarks)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _read_object(content: BufferedReader) -> Iterator[Numbered]:
    try:
        for number, item in enumerate(ijson.items(content, "data.item", use_float=True), start=1):
            yield _salvaged(number, item)
    except ijson.IncompleteJSONError:
        raise CatalogueFileError("the file is cut short, no JSON, or holds a number that is too large.") from None
    except (ijson.JSONError, ValueError) as error:
        raise CatalogueFileError(f"the file is not JSON: {str(error).splitlines()[0]}.") from None
