"""The deadline of a request."""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.domain.concurrency import RequestDeadline, released_slot


class DeadlineMiddleware(ASGIMiddleware):
    """Raises TimeoutError in a handler whose response has not begun in time. A slow client holds no slot."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        deadline = RequestDeadline(self._seconds)

        async def send_in_time(message: Message) -> None:
            if message["type"] == "http.response.start":
                deadline.stop()
            elif message.get("more_body"):
                with released_slot():  # while the client reads this piece of a stream
                    await send(message)
                return
            await send(message)

        async with deadline:
            await next_app(scope, receive, send_in_time)
