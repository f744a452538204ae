"""Answers as JSON. Litestar's own copy what they are given several times on the way, for cookies that nobody sets."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import MediaType, Request, Response
from litestar.types import ASGIApp, HTTPResponseStartEvent, Receive, Scope, Send

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


class JSONResponse(Response[T]):
    """The answer of a handler, with its own headers: encoded here, and sent in one piece."""

    def __init__(self, content: T, *, status_code: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        """Without a status it has the one that its handler declares."""
        self.content = content
        self.status_code = status_code
        self.headers = dict(headers) if headers else {}
        # Of Litestar's answers, which a tool of Litestar's may look at.
        self.media_type, self.background, self.cookies, self.encoding = MediaType.JSON, None, [], "utf-8"
        self.response_type_encoders = {}

    def to_asgi_response(  # type: ignore[override] # what it takes beyond this is never set
        self,
        app: None,  # noqa: ARG002 - Litestar's signature
        request: Request[Any, Any, Any],  # noqa: ARG002
        *,
        status_code: int | None = None,
        **_: Any,
    ) -> ASGIApp:
        """What sends it."""
        status = self.status_code or status_code or 200
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        body = b""
        if status != 204:
            body = _encoder.encode(self.content)
            headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": status, "headers": headers}

        async def send_whole(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
            await send(start)
            await send({"type": "http.response.body", "body": body, "more_body": False})

        return send_whole
