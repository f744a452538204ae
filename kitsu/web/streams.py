"""Answers of many pieces, which are made while their client reads them."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.domain.concurrency import released_slot
from kitsu.web.exception_handlers import error_answer


async def start_stream(answer: ASGIStreamingResponse, request: Request[Any, Any, Any]) -> ASGIApp:
    """What sends the pieces, the first of which is made by now: raises what that raises, so that it can be answered."""
    pieces: AsyncIterator[Any] = aiter(answer.iterator)
    first = await anext(pieces, b"")

    async def all_pieces() -> AsyncIterator[Any]:
        yield first
        async for piece in pieces:
            yield piece

    answer.iterator = all_pieces()

    async def send_pieces(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_aside(message: Message) -> None:
            # While the client reads one, other requests go on.
            with released_slot():
                await send(message)

        try:
            await answer(scope, receive, send_aside)
        except ExceptionGroup as errors:
            # What was begun as 200 can't become an error. It is left without its end, so that the connection breaks.
            for error in errors.exceptions:
                error_answer(request, error)

    return send_pieces
