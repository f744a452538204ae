"""Streamed responses: made while the client reads them."""

from collections.abc import AsyncIterator

STREAM_BYTES = 64 * 1024
"""Larger responses are streamed. A whole one is held in memory until the client has read it."""


async def start_stream(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return the pieces, the first of which is made by now.

    Raises what making the first piece raises, so that the error is a response of its own: a later error can only break
    the connection.
    """
    first = await anext(pieces, b"")

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return all_pieces()


async def stream_bytes(data: bytes) -> AsyncIterator[bytes]:
    """Yield data that several responses share, without a copy of all of it for each."""
    for start in range(0, len(data), STREAM_BYTES):
        yield data[start : start + STREAM_BYTES]
