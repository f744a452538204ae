"""Answers of many pieces: an error before the first is an answer of its own, a later one breaks them off."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from litestar import get
from litestar.response import Stream
from structlog.testing import capture_logs

from tests.web.test_handling import handling

REQUEST: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "scheme": "http",
    "method": "GET",
    "path": "/",
    "raw_path": b"/",
    "root_path": "",
    "query_string": b"",
    "headers": [(b"host", b"kitsu.test")],
    "client": ("127.0.0.1", 1),
    "server": ("kitsu.test", 80),
    "state": {},
}


async def sent(*pieces: bytes | Exception) -> list[Any]:
    """What is sent for a stream of these, which raises where there is an error."""

    async def iterate() -> AsyncIterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    @get("/")
    async def handler() -> Stream:
        return Stream(iterate())

    messages: list[Any] = []
    is_over = asyncio.Event()

    async def receive() -> Any:
        await is_over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)
        if message.get("more_body") is False:
            is_over.set()

    request: Any = REQUEST.copy()
    async with asyncio.timeout(10):
        await handling(handler)(request, receive, send)
    return messages


def bodies(messages: list[Any]) -> list[tuple[bytes, bool]]:
    """The pieces, and whether more are to come."""
    return [(message["body"], message["more_body"]) for message in messages[1:]]


@pytest.mark.parametrize("pieces", [(), (b"one",), (b"one", b"two", b"three")])
async def test_all_pieces(pieces: tuple[bytes, ...]) -> None:
    messages = await sent(*pieces)
    assert messages[0]["status"] == 200
    assert b"".join(body for body, _ in bodies(messages)) == b"".join(pieces)
    assert [more for _, more in bodies(messages)] == [True] * (len(messages) - 2) + [False]


@pytest.mark.parametrize(("error", "status"), [(TimeoutError(), 503), (RuntimeError(), 500)])
async def test_an_error_before_the_first(error: Exception, status: int) -> None:
    with capture_logs():
        messages = await sent(error)
    assert messages[0]["status"] == status
    ((body, is_more),) = bodies(messages)
    assert msgspec.json.decode(body).keys() == {"code", "message", "details"}
    assert not is_more


@pytest.mark.parametrize(
    ("error", "level", "event"),
    [(TimeoutError(), "warning", "service unavailable"), (RuntimeError(), "error", "internal error")],
)
async def test_an_error_later(error: Exception, level: str, event: str) -> None:
    with capture_logs() as lines:
        messages = await sent(b"one", error, b"two")
    assert messages[0]["status"] == 200
    assert bodies(messages) == [(b"one", True)]
    assert [(line["log_level"], line["event"]) for line in lines] == [(level, event)]
