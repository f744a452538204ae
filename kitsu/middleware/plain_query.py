"""Query strings as curl and old browsers send them: letters beyond ASCII as they are, not percent-encoded."""

import re

from litestar.types import ASGIApp, Receive, Scope, Send

_RAW = re.compile(rb"[^\x00-\x7f]")


class PlainQuery:
    """Percent-encodes raw bytes of the query. Litestar would take them for Latin-1, and fail on what is no UTF-8."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        query = scope.get("query_string", b"")
        if not query.isascii():
            scope["query_string"] = _RAW.sub(lambda found: b"%%%02X" % found[0][0], query)
        await self._app(scope, receive, send)
