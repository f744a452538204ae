"""The file formats, read as a stream: memory does not grow with the file.

`.jsonl`: metadata in line 1, then one anime for each line. `.json`: one object with the list under `data`. Both may be
compressed, with `.zst` behind the name.
"""

import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import NamedTuple, cast

import ijson
import msgspec

from kitsu.domain.catalogue.importing.entries import Entry

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_LINE = 1 << 16
"""Bytes; a longer line is no anime: the longest have some 20,000."""

_decoder = msgspec.json.Decoder(Entry)


class CatalogueFileError(Exception):
    """The file as a whole can't be imported; the message is one line for a person."""


class Numbered(NamedTuple):
    """An entry or the reason of its refusal, with its line, or its place in the list of a `.json`; both from 1."""

    number: int
    entry: Entry | None
    reason: str = ""


def read_catalogue(path: Path, progress: Callable[[int], None]) -> Iterator[Numbered]:
    """Yield the file's entries in order; `progress` is called with the number of bytes read.

    Raises CatalogueFileError for a file that is missing, empty, cut short, or not of a known format.
    """
    name = path.name.lower().removesuffix(".zst")
    if not name.endswith((".jsonl", ".json")):
        raise CatalogueFileError(f"{path}: the name of a catalogue ends in .jsonl, .jsonl.zst or .json.")
    read = _read_lines if name.endswith(".jsonl") else _read_object
    with _opened(path) as (raw, content):
        empty = True
        try:
            if content.peek(len(BOM_UTF8)).startswith(BOM_UTF8):
                content.read(len(BOM_UTF8))
            for numbered in read(content):
                empty = False
                yield numbered
                if raw.seekable():
                    progress(raw.tell())
        except EOFError:
            raise CatalogueFileError(f"{path} is cut short: its compressed data ends in the middle.") from None
        except zstd.ZstdError as error:
            raise CatalogueFileError(f"{path} is not zstd-compressed, or damaged: {error}.") from None
        except CatalogueFileError as error:
            raise CatalogueFileError(f"{path}: {error}") from None
        except OSError as error:
            raise CatalogueFileError(f"{path} can't be read: {error.strerror or error}.") from None
        if empty:
            raise CatalogueFileError(f"{path} holds no anime.")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BufferedReader, BufferedReader]]:
    try:
        raw = path.open("rb")
    except FileNotFoundError:
        raise CatalogueFileError(f"{path} does not exist.") from None
    except OSError as error:
        raise CatalogueFileError(f"{path} can't be read: {error.strerror}.") from None
    with raw:
        if not raw.peek(1):
            raise CatalogueFileError(f"{path} is empty.")
        if path.suffix.lower() == ".zst":
            with zstd.open(raw, "rb") as unpacked, BufferedReader(cast("RawIOBase", unpacked)) as content:
                yield raw, cast("BufferedReader", content)
        else:
            yield raw, raw


def _read_lines(content: BufferedReader) -> Iterator[Numbered]:
    number = 0
    while line := content.readline(MAX_LINE + 1):
        number += 1
        complete = line.endswith(b"\n")
        if len(line) > MAX_LINE and not complete:
            if number == 1:
                raise CatalogueFileError(
                    "line 1 is too long for a line of its own; the name of the one-object form ends in .json."
                )
            while (rest := content.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield Numbered(number, None, f"it is longer than {MAX_LINE:,} bytes")
        elif number == 1 and _is_metadata(line):
            continue
        elif line.strip():
            yield _decoded(number, line, complete=complete)


def _is_metadata(line: bytes) -> bool:
    try:
        first = msgspec.json.decode(line)
    except (ValueError, RecursionError):
        first = None
    if not isinstance(first, dict):
        raise CatalogueFileError(
            "line 1 is no JSON object, so this is no catalogue in the anime-offline-database format (JSON Lines)."
        )
    if "data" in first:
        raise CatalogueFileError("this is the one-object form; its name has to end in .json.")
    return "sources" not in first


def _decoded(number: int, line: bytes, *, complete: bool) -> Numbered:
    try:
        return Numbered(number, _decoder.decode(line))
    except (ValueError, RecursionError) as error:
        # An invalid field in a line that is cut short is reported before the cut.
        if not complete and (not isinstance(error, msgspec.ValidationError) or _is_cut(line)):
            raise CatalogueFileError(f"it is cut short: it ends in the middle of line {number}.") from None
        return Numbered(number, None, "it is nested too deep" if isinstance(error, RecursionError) else str(error))


def _is_cut(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    return False


def _read_object(content: BufferedReader) -> Iterator[Numbered]:
    try:
        for number, item in enumerate(ijson.items(content, "data.item", use_float=True), start=1):
            try:
                yield Numbered(number, msgspec.convert(item, Entry))
            except msgspec.ValidationError as error:
                yield Numbered(number, None, str(error))
    except ijson.IncompleteJSONError:
        raise CatalogueFileError("it is cut short, no JSON, or holds a number beyond all bounds.") from None
    except (ijson.JSONError, ValueError) as error:
        raise CatalogueFileError(f"it is no JSON: {str(error).splitlines()[0]}.") from None
