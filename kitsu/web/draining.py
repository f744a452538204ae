"""The first steps of a stop: proxies and clients leave before the server closes their connections.

A proxy that checks the health of instances finds out by a failed request that one has stopped, and some can't send a
request with a body again. So after SIGTERM the worker first fails the health checks for a notice period, in which it
serves as before.

A server that closes a kept connection may do so while the client sends the next request, which then gets no response.
So the worker then serves on for a moment in which each response has `Connection: close`.
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
HEALTH_CHECKS = ("/health/live", "/health/ready")
STOPPING: tuple[Message, Message] = (
    {
        "type": "http.response.start",
        "status": 503,
        "headers": [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), CLOSE],
    },
    {"type": "http.response.body", "body": b'{"status":"error"}', "more_body": False},
)


class Draining:
    """Delays the stop of the server until all clients have closed their connections, for DRAIN_SECONDS at most."""

    def __init__(self, app: Litestar, connections: ClientConnections, notice_seconds: int) -> None:
        self._app = app
        self._notice_seconds = notice_seconds
        self._connections = connections
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Handle SIGTERM in place of the server, which has set its handlers before; it also stops on SIGINT."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._begin)

    async def stop(self) -> None:
        """Do nothing: the server stops after the drain."""

    def _begin(self) -> None:
        if self._task is None:
            # No layer for each request: it would cost time, and is of use for seconds.
            self._app.asgi_handler = _unhealthy(self._app.asgi_handler)
            self._task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await asyncio.sleep(self._notice_seconds)
            self._app.asgi_handler = _closing(self._app.asgi_handler)
            self._connections.refuse_new()
            self._connections.shorten()
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._connections.are_open():  # noqa: ASYNC110 - there is no event
                    await asyncio.sleep(CHECK_SECONDS)
        except TimeoutError:
            pass
        finally:
            signal.raise_signal(signal.SIGINT)


def _unhealthy(app: ASGIApp) -> ASGIApp:
    """Return the application with a failure of its health checks."""

    async def fail_health_checks(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"].rstrip("/") in HEALTH_CHECKS:
            for message in STOPPING:
                await send(message)
        else:
            await app(scope, receive, send)

    return fail_health_checks


def _closing(app: ASGIApp) -> ASGIApp:
    """Return the application with `Connection: close` in its responses."""

    async def close_after_response(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        await app(scope, receive, send_last if scope["type"] == ScopeType.HTTP else send)

    return close_after_response
