"""What a mounted ASGI application is told of its place."""

from urllib.parse import unquote_to_bytes

from litestar.handlers import ASGIRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send


class MountMiddleware(ASGIMiddleware):
    """Puts the prefix of a mounted application in `root_path`, and its path as the client sent it in `path`.

    Litestar sets no `root_path` and ends each path with a slash.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Handle one request."""
        handler = scope["route_handler"]
        if isinstance(handler, ASGIRouteHandler) and handler.is_mount:
            whole = unquote_to_bytes(scope["raw_path"].partition(b"?")[0]).decode("utf-8", "replace")
            prefix = whole.rstrip("/").removesuffix(scope["path"].rstrip("/"))
            scope["root_path"] = scope.get("root_path", "") + prefix
            scope["path"] = whole.removeprefix(prefix) or "/"
        await next_app(scope, receive, send)
