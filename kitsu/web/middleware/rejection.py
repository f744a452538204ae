"""Responses to requests that are rejected before they reach Litestar."""

import msgspec
from litestar.types import Scope, Send

from kitsu.errors import AppError
from kitsu.web.middleware.response_headers import HSTS, NO_STORE, SECURITY, VARY, CorsHeaders, Headers
from kitsu.web.request import header


class Rejection:
    """The response to an error, encoded once: a rejection has to be cheap."""

    def __init__(self, error: AppError, cors_headers: CorsHeaders) -> None:
        self._cors_headers = cors_headers
        self._status = error.status
        self._body = msgspec.json.encode(error.body())
        self._headers: Headers = (
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self._body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
            VARY,
            *SECURITY,
            NO_STORE,
        )

    async def send(self, scope: Scope, send: Send, *others: tuple[bytes, bytes]) -> None:
        """Send the response, with other headers too."""
        headers = [*self._headers, *others, *self._cors_headers.get(header(scope, b"origin") or b"", ())]
        if scope["scheme"] == "https":
            headers.append(HSTS)
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
