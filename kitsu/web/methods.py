"""HEAD for all paths with GET, and the methods that OPTIONS lists."""

import inspect
from collections.abc import Iterable

from litestar import Controller
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Message, Receive, Scope, Send


def add_head(controllers: Iterable[type[Controller]]) -> None:
    """Let the GET handlers of controllers take HEAD requests. The layer `Client` leaves out the body."""
    for controller in controllers:
        for _, handler in inspect.getmembers(controller, lambda member: isinstance(member, HTTPRouteHandler)):
            if "GET" in handler.http_methods:
                handler.http_methods.add("HEAD")


class AllowMiddleware(ASGIMiddleware):
    """Completes `Allow` of OPTIONS: Litestar lists only the methods of the handler that was registered first."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if scope.get("method") != "OPTIONS":
            await next_app(scope, receive, send)
            return

        async def send_allow(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [pair for pair in message["headers"] if pair[0] != b"allow"]
                message["headers"] = [*others, (b"allow", ", ".join(sorted(_methods(scope))).encode())]
            await send(message)

        await next_app(scope, receive, send_allow)


def _methods(scope: Scope) -> set[str]:
    """Return the methods of the route of a request."""
    return {
        str(method)
        for route in scope["litestar_app"].routes
        if isinstance(route, HTTPRoute) and route.path_format == scope["path_template"]
        for method in route.methods
    }
