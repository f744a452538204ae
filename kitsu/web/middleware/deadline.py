"""How long a request may occupy the worker: its response has to begin in time, and a slow reader holds no slot."""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.domain.concurrency import RequestDeadline, released_slot


class DeadlineMiddleware(ASGIMiddleware):
    """Raises TimeoutError in a handler whose response has not begun in time."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Handle one request."""
        deadline = RequestDeadline(self._seconds)

        async def send_in_time(message: Message) -> None:
            if message["type"] == "http.response.start":
                deadline.stop()
            elif message.get("more_body"):
                # While the client reads a part of a stream, the slot is free for other requests.
                with released_slot():
                    await send(message)
                return
            await send(message)

        async with deadline:
            await next_app(scope, receive, send_in_time)
