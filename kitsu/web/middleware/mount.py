"""The paths of mounted ASGI applications."""

import re
from urllib.parse import unquote_to_bytes

from litestar.handlers import ASGIRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from kitsu.errors import NotFound

SLASHES = re.compile("/+")


class MountMiddleware(ASGIMiddleware):
    """Puts the prefix of a mounted application in `root_path`, and the rest as the client sent it in `path`.

    Litestar sets no `root_path`, ends each path with a slash, and joins repeated slashes.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        handler = scope["route_handler"]
        if isinstance(handler, ASGIRouteHandler) and handler.is_mount:
            sent = unquote_to_bytes(scope["raw_path"].partition(b"?")[0]).decode("utf-8", "replace")
            routed = SLASHES.sub("/", sent)
            prefix = routed.rstrip("/").removesuffix(scope["path"].rstrip("/")).rstrip("/")
            path = (sent if sent.startswith(prefix) else routed).removeprefix(prefix) or "/"
            if not path.startswith("/"):  # Litestar's match has no end: a mount at /admin gets /administrators
                raise NotFound
            scope["root_path"] = scope.get("root_path", "") + prefix
            scope["path"] = path
            scope["path_template"] = scope["root_path"]  # for the log
        await next_app(scope, receive, send)
