"""The first step of a stop: clients close their kept connections before the server does.

A server that closes a kept connection may do so while the client sends the next request, which then gets no response.
So after SIGTERM the worker serves on for a moment, and each response has `Connection: close`.
"""

import asyncio
import signal

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.web.connections import ClientConnections

DRAIN_SECONDS = 1.0
"""How long clients may take to send the next request on a connection; others find it closed."""
CHECK_SECONDS = 0.05
CLOSE = (b"connection", b"close")


class Draining:
    """Delays the stop of the server until all clients have closed their connections, for DRAIN_SECONDS at most."""

    def __init__(self, app: Litestar, connections: ClientConnections) -> None:
        self._app = app
        self._connections = connections
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Handle SIGTERM in place of the server, which has set its handlers before; it also stops on SIGINT."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._begin)

    async def stop(self) -> None:
        """Do nothing: the server stops after the drain."""

    def _begin(self) -> None:
        if self._task is None:
            # No layer for each request: it would cost time, and is of use for a second.
            self._app.asgi_handler = _closing(self._app.asgi_handler)
            self._connections.refuse_new()
            self._connections.shorten()
            self._task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._connections.are_open():  # noqa: ASYNC110 - there is no event
                    await asyncio.sleep(CHECK_SECONDS)
        except TimeoutError:
            pass
        finally:
            signal.raise_signal(signal.SIGINT)


def _closing(app: ASGIApp) -> ASGIApp:
    """Return the application with `Connection: close` in its responses."""

    async def close_after_response(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        await app(scope, receive, send_last if scope["type"] == ScopeType.HTTP else send)

    return close_after_response
