"""The limits of bodies: of the time in which they arrive, and of the large ones that a worker holds."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import structlog
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from kitsu.deadlines import Deadline, Deadlines
from kitsu.domain.concurrency import released_slot
from kitsu.domain.rate_limits import network_of
from kitsu.errors import IncompleteBody, RateLimited, RequestTimeout, ServiceUnavailable
from kitsu.web.request import body_owner

BODILESS = {"GET", "OPTIONS"}
SMALL_BODY_BYTES = 64 * 1024  # bodies up to this size are not limited in number
USERS_BUDGET_BYTES = 96 << 20
"""Bytes of larger bodies of users that a worker holds at once. Handlers copy them, some twice."""
USER_SHARE_BYTES = 33 << 20
"""Bytes of it for several bodies of one user. The largest list fits, and 63 MiB are left for all others."""
GUESTS_BUDGET_BYTES = 16 << 20
"""Bytes of larger bodies of guests, who send lists of 5 MiB to `/api/import`. Users don't share it."""
GUEST_SHARE_BYTES = 6 << 20
"""Bytes of it for several bodies of one network."""
DRAIN_SECONDS = 1.0  # how long a response waits for the rest of a small body that the handler has not read

log = structlog.get_logger("kitsu.load")


class BodyLimits:
    """Limits the bodies of requests, reads those that a handler has not read, and leaves out the body after HEAD."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        """`seconds` is the time in which a body has to arrive."""
        self._app = app
        self._bodies = Bodies(seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body_owner.set(None)
        client = scope.get("client")
        body = Body(self._bodies, client[0] if client else "", receive)

        async def send_behind_body(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.is_complete:
                await body.drain()
            await send(message)

        method = scope.get("method")
        send_response = send if method in BODILESS else _head_of(send) if method == "HEAD" else send_behind_body
        try:
            await self._app(scope, body.receive, send_response)
        finally:
            body.release()


class Budget:
    """The bytes for large bodies, and how many of them each owner holds."""

    def __init__(self, budget: int, share: int) -> None:
        self._free = budget
        self._share = share
        self._of_owner: Counter[str] = Counter()

    def reserve(self, owner: str, held: int, more: int) -> str | None:
        """Reserve more bytes for a body, which has `held` already. Return why it gets none, or None."""
        of_owner = self._of_owner[owner]
        # A body that is alone may have the size that its handler allows.
        if of_owner > held and of_owner + more > self._share:
            return "large_bodies_of_client"
        if more > self._free:
            return "large_bodies"
        self._free -= more
        self._of_owner[owner] += more
        return None

    def release(self, owner: str, held: int) -> None:
        """Return the bytes of a body."""
        self._free += held
        self._of_owner[owner] -= held
        if not self._of_owner[owner]:
            del self._of_owner[owner]


class Bodies:
    """The large bodies that a worker holds, and the limit of the time of all."""

    def __init__(self, seconds: float) -> None:
        """`seconds` is the time in which a body has to arrive."""
        self.seconds = seconds
        self.deadlines = Deadlines()
        self.of_users = Budget(USERS_BUDGET_BYTES, USER_SHARE_BYTES)
        self.of_guests = Budget(GUESTS_BUDGET_BYTES, GUEST_SHARE_BYTES)


class Body:
    """The body of a request."""

    __slots__ = ("_address", "_bodies", "_budget", "_deadline", "_held", "_owner", "_receive", "_size", "is_complete")

    def __init__(self, bodies: Bodies, address: str, receive: Receive) -> None:
        """`address` is that of the client."""
        self._bodies = bodies
        self._address = address
        self._receive = receive
        self._deadline: Deadline | None = None
        self._size = 0
        self._budget: Budget | None = None
        self._owner = ""
        self._held = 0
        self.is_complete = False

    async def receive(self) -> ReceiveMessage:
        """Return the next message. Raises IncompleteBody, RequestTimeout.

        For a large body that gets no bytes of the budget: RateLimited while the client holds others, or
        ServiceUnavailable. Litestar logs a disconnect as a bug, and has no time limit. Granian reports a
        malformed chunk as a disconnect.
        """
        if self.is_complete:
            return await self._receive()
        if self._deadline is None:
            self._deadline = self._bodies.deadlines.after(self._bodies.seconds)
        try:
            with released_slot(), self._deadline:
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout from None
        if message["type"] == "http.request":
            self.is_complete = not message.get("more_body", False)
            self._size += len(message.get("body", b""))
            if self._size > SMALL_BODY_BYTES:
                self._reserve()
        elif message["type"] == "http.disconnect":
            raise IncompleteBody
        return message

    def _reserve(self) -> None:
        if self._budget is None:
            user_id = body_owner.get()
            self._budget = self._bodies.of_guests if user_id is None else self._bodies.of_users
            self._owner = network_of(self._address) if user_id is None else str(user_id)
        reason = self._budget.reserve(self._owner, self._held, self._size - self._held)
        if reason is not None:
            log.warning("request rejected", reason=reason)
            if reason == "large_bodies":
                raise ServiceUnavailable
            raise RateLimited(int(self._bodies.seconds), "Other large requests of yours are in progress")
        self._held = self._size

    def release(self) -> None:
        """Return the bytes of a large body to the budget, at the end of the request."""
        if self._budget is not None:
            self._budget.release(self._owner, self._held)

    async def drain(self) -> None:
        """Read the rest of a small body: the server closes connections with unread bodies, which can cut a response."""
        with suppress(TimeoutError), released_slot():
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.is_complete and self._size <= SMALL_BODY_BYTES:
                    message: Any = await self._receive()
                    self.is_complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
                    self._size += len(message.get("body", b""))


def _head_of(send: Send) -> Send:
    """Return a `send` that leaves out the body of a response. A stream ends with its first message."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_head
