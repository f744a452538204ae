"""A JSON file that is decoded row by row, so that a large one takes little memory."""

import json
from typing import Any

import msgspec
from msgspec import Raw

from kitsu.domain.viewer.list_import.entries import ListFileError, ListTooLarge

MAX_VALUES = 2_000_000
"""In the whole file. The API's response of AniList for 30,000 anime has fewer."""
_MAX_DECODED_VALUES = 1_000_000  # at once: each takes up to 200 bytes of memory

Value = Any
"""A value of the file: a `Raw` that is not decoded yet, or a decoded one."""


def open_json(data: bytes) -> Value:
    """Return the file's object or array, its values not decoded. Raises ListFileError."""
    values = sum(map(data.count, (b",", b"{", b"[")))
    if values > MAX_VALUES:
        raise ListTooLarge("The file holds more than a list of anime ever does.")
    try:
        return msgspec.json.decode(data, type=dict[str, Raw] | list[Raw])
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        pass  # also for a NaN or half an emoji in one entry, which Python's decoder takes
    if values > _MAX_DECODED_VALUES:
        raise ListTooLarge("The file is no valid JSON, or holds more than a list of anime ever does.")
    return _decode(data)


def members(value: Value) -> dict[str, Value]:
    """Return the members of an object; none of anything else."""
    if isinstance(value, Raw):
        value = _opened(value, b"{")
    return value if isinstance(value, dict) else {}


def items(value: Value) -> list[Value]:
    """Return the items of an array; none of anything else."""
    if isinstance(value, Raw):
        value = _opened(value, b"[")
    return value if isinstance(value, list) else []


def pages(document: Value) -> list[Value]:
    """Return the responses of an API that are in a file, which is one of them or an array."""
    return items(document) or [document]


def decoded(value: Value) -> Any:
    """Return the whole value as Python's objects. Raises ListFileError."""
    if not isinstance(value, Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.MsgspecError, RecursionError):
        return _decode(bytes(value))


def mapping(value: Any) -> dict[str, Any]:
    """Return a decoded object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def _opened(value: Raw, bracket: bytes) -> Any:
    if bytes(memoryview(value)[:1]) != bracket:
        return None
    return msgspec.json.decode(value, type=dict[str, Raw] if bracket == b"{" else list[Raw])


def _decode(data: bytes) -> Any:
    try:
        return json.loads(data, parse_int=_parse_int)
    except RecursionError:
        raise ListFileError("The file is nested too deep for a list.") from None
    except ValueError as error:
        raise ListFileError(f"The file is cut short, or no JSON: {error}.") from None


def _parse_int(digits: str) -> float:
    # int() raises for 5,000 digits, for the whole file; as a float only its value is left out.
    return int(digits) if len(digits) <= 18 else float(digits)
