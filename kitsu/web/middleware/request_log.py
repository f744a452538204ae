"""The request id, and one log line per request, for unknown paths and failures too."""

import re
import time
from collections.abc import Callable
from random import getrandbits

import structlog
from litestar.enums import ScopeType
from litestar.status_codes import HTTP_200_OK
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from kitsu.db.errors import cause_of, is_unavailable, place_of
from kitsu.observability.bursts import BurstLog
from kitsu.observability.logs import RequestLine, of_request, request_lines
from kitsu.web.request import header

HEADER = b"x-request-id"
LIVENESS = "/health/live"
_ACCEPTABLE = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")  # the id goes into logs and headers

log = structlog.get_logger("kitsu.request")
burst_log = BurstLog(log)


class RequestLog:
    """Sends `X-Request-ID`, logs each request, and puts its id and the client's address in all its log events."""

    def __init__(self, app: ASGIApp, count: Callable[[str, str | None, int, float], None] | None) -> None:
        """`count` takes the method, the route, the status (0 without a response) and the seconds of a request."""
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        sent_id = request_id(scope)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER, sent_id)]
            await send(message)

        client = scope.get("client")
        id_, ip = sent_id.decode(), client[0] if client else None
        token = of_request.set({"request_id": id_, "ip": ip})
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if not status:
                raise
            # The response has begun and can't become an error. Without its end it breaks the connection.
            name = type(error).__name__
            if is_unavailable(error):
                cause, where = cause_of(error), place_of(error)
                burst_log.warning("response interrupted", error=name, cause=cause, where=where)
            else:
                log.warning("response interrupted", error=name, exc_info=error)
        finally:
            of_request.reset(token)
            seconds = time.perf_counter() - started
            route = scope.get("path_template")  # not the path, which may hold personal data
            method, ms = scope["method"], round(seconds * 1000, 2)
            if self._count is not None:
                self._count(method, route, status, seconds)
            if route != LIVENESS or status != HTTP_200_OK:  # proxies send several a second
                line = RequestLine(request_id=id_, ip=ip, method=method, route=route, status=status or None, ms=ms)
                request_lines.write(line)


def request_id(scope: Scope) -> bytes:
    """Return the request's `X-Request-ID` if it has an acceptable one, otherwise a new id."""
    sent = header(scope, HEADER)
    return sent if sent is not None and _ACCEPTABLE.fullmatch(sent) else b"%032x" % getrandbits(128)
