"""Streamed responses: made while the client reads them."""

from collections.abc import AsyncIterator


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
