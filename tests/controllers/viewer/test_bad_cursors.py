"""Cursors that are invalid, hostile or of another list are rejected; base64 padding is accepted."""

import json
from base64 import urlsafe_b64encode
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.assertions import assert_error
from tests.controllers.viewer.crowd import EACH, MOMENTS, SHAPES, Crowd, asking, cursor_at, next_of

FITS_ELSEWHERE = {
    ("year", "score"),
    ("year", "position"),
    ("position", "year"),
    ("position", "score"),
    ("time", "text"),
}
"""JSON types of a sort value: an integer is a valid float, and a time is a text."""


def refused_for(response: httpx.Response, field: str) -> None:
    assert_error(response, 422)
    assert [detail["field"] for detail in response.json()["details"] or []] == [field]


@pytest.mark.parametrize(("shape", "path"), EACH)
async def test_cursor_with_offset_is_422(crowd: Crowd, shape: str, path: str) -> None:
    path, viewer = path.format(**crowd.names), crowd.reader(path)
    target = str(next_of(await viewer.request("GET", asking(path, limit=3))))
    for offset in (1, 5, 2**63 - 1):
        refused_for(await viewer.request("GET", asking(target, offset=offset)), "offset")
    assert await viewer.read(asking(target, offset=0)) == await viewer.read(target)


def encoded(place: bytes) -> str:
    return urlsafe_b64encode(place).rstrip(b"=").decode()


NO_JSON = (b"", b"x", b"[", b"NaN", b"\xff\xfe", b'["2024-05-06T07:08:09Z"', b"[[" * 1400)
OTHER_JSON: tuple[Any, ...] = (
    *(None, True, 1, "x", {}, [], [None], [[]], [{}], [None] * 2, [None] * 3, [[], []], [{}, {}, {}]),
    *({"0": MOMENTS[0].isoformat(), "1": str(UUID(int=0))}, [str(UUID(int=0))], [MOMENTS[0].isoformat()]),
    *([str(UUID(int=0)), MOMENTS[0].isoformat()], [MOMENTS[0].isoformat(), None], [MOMENTS[0].isoformat(), "x"]),
    *([1, 1], ["a", "a"], [1.5, None], [1, None, None], [2000, str(UUID(int=0)), str(UUID(int=0))]),
)
BAD = [
    *("", "x", "null", "None", "!", "%25", "é", "\0", "🦊", "====", "A" * 20_000, "A" * 20_001, "[]", "0"),
    *(encoded(place) for place in NO_JSON),
    *(encoded(json.dumps(place).encode()) for place in OTHER_JSON),
]


@pytest.mark.parametrize(("shape", "path"), EACH)
async def test_invalid_cursor_is_422(crowd: Crowd, shape: str, path: str) -> None:
    path, viewer = path.format(**crowd.names), crowd.reader(path)
    # The lists of a shape share the parser, so the first of them is tested with all values.
    for cursor in BAD if path == SHAPES[shape][0].format(**crowd.names) else ("", "x", "🦊"):
        refused_for(await viewer.request("GET", asking(path, cursor=cursor)), "cursor")


@pytest.mark.parametrize(("shape", "path"), EACH)
async def test_cursor_of_another_list_is_422(crowd: Crowd, shape: str, path: str) -> None:
    path, viewer = path.format(**crowd.names), crowd.reader(path)
    for other, (there, *_) in SHAPES.items():
        if other != shape and (other, shape) not in FITS_ELSEWHERE:
            elsewhere = asking(there.format(**crowd.names), limit=1)
            cursor = cursor_at(await crowd.reader(there).request("GET", elsewhere))
            refused_for(await viewer.request("GET", asking(path, cursor=cursor)), "cursor")


@pytest.mark.parametrize("path", ["/favorites", "/watch/progress", "/views", "/library", "/collections"])
async def test_cursor_of_list_is_invalid_for_its_changes(crowd: Crowd, path: str) -> None:
    changes = asking(path, updated_since="2001-01-01T00:00:00Z", limit=2)
    of_list = cursor_at(await crowd.viewer.request("GET", asking(path, limit=2)))
    of_changes = cursor_at(await crowd.viewer.request("GET", changes))
    refused_for(await crowd.viewer.request("GET", asking(path, cursor=of_changes)), "cursor")
    refused_for(await crowd.viewer.request("GET", asking(changes, cursor=of_list)), "cursor")


ID = str(UUID(int=2**127))
TIMES = (
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    *("0001-01-01T00:00:00", "9999-12-31T23:59:59", "2024-05-06T07:08:09", "2024-05-06T07:08:60Z", "2024-02-30T00:00Z"),
    *("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "infinity", "", 0, -1, 1e308, None, True),
)
INTEGERS = (
    *(0, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400, -(10**2000)),
    *(1.0, 1.5, 1e308, True, "1", None, float("nan"), float("inf")),
)
TEXTS = ("", "a\0b", "\0", "\ud800", "a\udc00b", "\udfff\ud800", "🦊" * 300, "'; --", "%", "\\", "\x7f\x1b", 1, None)
FLOATS = (*INTEGERS, -1e308, 5e-324, -0.0, float("-inf"))
IDS = (str(UUID(int=0)), str(UUID(int=2**128 - 1)), ID.replace("-", ""), ID.upper(), f"{{{ID}}}", "x", "\0", 1, None)
PLACES: dict[str, list[list[Any]]] = {
    "time": [*([value, ID] for value in TIMES), *([TIMES[0], row] for row in IDS)],
    "text": [*([value, ID] for value in TEXTS), *(["eclair", row] for row in IDS)],
    "year": [*([value, ID] for value in INTEGERS), *([value, row] for row in IDS for value in (2000, None))],
    "score": [*([value, ID] for value in FLOATS), *([value, row] for row in IDS for value in (8.1, None))],
    "rank": [*([value, TIMES[0], ID] for value in INTEGERS), *([1, value, ID] for value in TIMES)],
    "position": [*([value, ID] for value in INTEGERS), *([3, row] for row in IDS)],
}
RAW = {
    "time": [b'["\xff","x"]', b"[1e400,1]"],
    "text": [b'["\xed\xa0\x80","%s"]' % ID.encode(), b'["\xff","%s"]' % ID.encode(), b'["a\0","%s"]' % ID.encode()],
    "year": [b'[1e400,"%s"]' % ID.encode(), b'[-0,"%s"]' % ID.encode(), b'[2e3,"%s"]' % ID.encode()],
    "score": [b'[1e400,"%s"]' % ID.encode(), b'[-1e400,"%s"]' % ID.encode(), b'[1e-400,"%s"]' % ID.encode()],
}


@pytest.mark.parametrize(("shape", "path"), [*{shape: (shape, path) for shape, path in reversed(EACH)}.values()])
async def test_hostile_cursor_is_never_500(crowd: Crowd, shape: str, path: str) -> None:
    path, viewer = path.format(**crowd.names), crowd.reader(path)
    places = [json.dumps(place).encode() for place in PLACES[shape]] + RAW.get(shape, [])
    statuses = {}
    for place in places:
        response = await viewer.request("GET", asking(path, cursor=encoded(place), limit=2))
        statuses[place[:200]] = response.status_code
        if response.status_code == 422:
            assert_error(response, 422)
            # The database refuses some places, without a name.
            assert {detail["field"] for detail in response.json()["details"]} <= {"cursor", ""}
    assert {place: status for place, status in statuses.items() if status not in {200, 422}} == {}
    assert set(statuses.values()) == {200, 422}


async def test_cursor_with_padding_is_accepted(crowd: Crowd) -> None:
    for path in ("/anime", "/anime?sort=title", "/anime?sort=year", "/search/anime?q=ec"):
        for limit in range(1, 12):
            response = await crowd.guest.request("GET", asking(path, limit=limit))
            cursor = cursor_at(response)
            padded = cursor + "=" * (-len(cursor) % 4)
            expected = await crowd.guest.read(asking(path, cursor=cursor))
            assert await crowd.guest.read(asking(path, cursor=padded)) == expected
