"""The bodies of streamed responses."""

from collections.abc import AsyncIterator

STREAM_BYTES = 64 * 1024
"""Larger responses are streamed: a whole one stays in memory until the client has read it."""


async def start_stream(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Make the first piece of a body, and return all of them.

    An error of the first piece is raised here, so it becomes a response. A later error breaks the connection.
    """
    first = await anext(pieces, b"")

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return all_pieces()


async def stream_bytes(data: bytes) -> AsyncIterator[bytes]:
    """Yield data that several responses share, without a copy of it for each response."""
    for start in range(0, len(data), STREAM_BYTES):
        yield data[start : start + STREAM_BYTES]
