"""From a request to its handler and back.

Litestar declares, finds and documents the handlers, and reads and checks what they ask for. What it does between those
steps for features that Kitsu has no use for - nested layers of error handling, stacks for generators, copies of what is
answered - takes as long as half of the statements do, so the steps are taken here, one after the other.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from litestar import Litestar, Response
from litestar._asgi.utils import is_valid_host
from litestar._kwargs import KwargsModel
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response.streaming import ASGIStreamingResponse
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from litestar.utils import normalize_path

from kitsu.domain.concurrency import RequestDeadline
from kitsu.web.authentication import Authentication
from kitsu.web.exception_handlers import error_answer
from kitsu.web.middleware.plain_query import encode_query
from kitsu.web.request import KitsuRequest
from kitsu.web.responses import JSONResponse
from kitsu.web.streams import start_stream

_is_valid_host = lru_cache(maxsize=256)(is_valid_host)


class FromScope(Provide):
    """A dependency that asks for nothing but the scope, and waits for nothing."""

    def __init__(self, read: Callable[[Scope], Any]) -> None:
        """`read` gets the scope of the request, once it is known who asks."""
        super().__init__(read, sync_to_thread=False)
        self.read = read


def always(value: object) -> FromScope:
    """The same for every request."""

    def read(scope: Scope) -> object:  # noqa: ARG001 - as all are called
        return value

    return FromScope(read)


class _Plan(NamedTuple):
    """What a handler asks for."""

    model: KwargsModel
    """The rest, as Litestar reads it: parameters of the path and the query, dependencies that have such."""
    reserved: frozenset[str]
    headers: tuple[tuple[bytes, str, Any], ...]
    """Those it wants by name, what they are called there, and what they are when they are not sent."""
    from_scope: tuple[tuple[str, Callable[[Scope], Any]], ...]


class Handling:
    """Has the handlers answer. What leads to none - unknown paths and methods - is left to Litestar."""

    def __init__(self, app: Litestar, authentication: Authentication, seconds: float) -> None:
        """For all that is registered by now; each answer has to be found within so many seconds.

        Raises ValueError for a handler with what is not done here.
        """
        self._seconds = seconds
        self._app = app
        self._otherwise: ASGIApp = app.asgi_handler
        self._authentication = authentication
        self._plans: dict[HTTPRouteHandler, _Plan] = {}
        for route in app.routes:
            if isinstance(route, HTTPRoute):
                for handler, model in route.route_handler_map.values():
                    if handler in self._plans:
                        raise ValueError(f"{handler} has two paths, which may ask for different things")
                    self._plans[handler] = _plan(handler, model)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        encode_query(scope)
        # With a prefix to strip Litestar would find handlers that are not found here, and nobody would ask who asks.
        scope["root_path"] = ""
        handler = self._found(scope) if scope["type"] == ScopeType.HTTP else None
        if handler is None:
            await self._otherwise(scope, receive, send)
            return
        request = KitsuRequest(scope, receive, send)
        try:
            try:
                async with RequestDeadline(self._seconds):
                    answer = await self._answer(handler, request)
            except Exception as error:  # noqa: BLE001 - they all are answered
                answer = error_answer(request, error).to_asgi_response(app=None, request=request)
            await answer(scope, receive, send)
        finally:
            await request.close()

    def _found(self, scope: HTTPScope) -> HTTPRouteHandler | None:
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        if not _is_valid_host(host):
            return None
        try:
            _, handler, path, parameters, template = self._app.asgi_router.handle_routing(
                path=normalize_path(scope["path"]), method=scope["method"]
            )
        except HTTPException:
            return None
        scope["path"], scope["path_params"], scope["path_template"] = path, parameters, template
        scope["route_handler"] = handler
        return handler if isinstance(handler, HTTPRouteHandler) else None

    async def _answer(self, handler: HTTPRouteHandler, request: KitsuRequest) -> ASGIApp:
        plan = self._plans[handler]
        await self._authentication.check(request.scope)
        values = await plan.model.to_kwargs(request)
        if "data" in plan.reserved:
            values["data"] = await request.checked_json()
        if "request" in plan.reserved:
            values["request"] = request
        for header, name, default in plan.headers:
            sent = request.header(header)
            values[name] = default if sent is None else sent.decode("latin-1")
        for name, read in plan.from_scope:
            values[name] = read(request.scope)
        if plan.model.dependency_batches:
            await plan.model.resolve_dependencies(request, values)
        values = handler.signature_model.parse_values_from_connection_kwargs(request, values)
        said = handler.fn(**values) if handler.has_sync_callable else await handler.fn(**values)
        if not isinstance(said, Response):
            said = JSONResponse(said)
        if isinstance(said, JSONResponse):
            return said.to_asgi_response(app=None, request=request, status_code=handler.status_code)
        answer: ASGIApp = await handler.to_response(self._app, said, request)
        return await start_stream(answer, request) if isinstance(answer, ASGIStreamingResponse) else answer


def _plan(handler: HTTPRouteHandler, model: KwargsModel) -> _Plan:
    undone = {
        "a guard (name it in `opt`)": handler.resolve_guards(),
        "middleware": handler.resolve_middleware(),
        "before_request": handler.resolve_before_request(),
        "after_request": any(layer.after_request for layer in handler.ownership_layers),
        "after_response": handler.resolve_after_response(),
        "a DTO": handler.resolve_data_dto() or handler.resolve_return_dto(),
        "a cache": handler.cache,
        "a dependency to clean up": any(
            one.provide.has_sync_generator_dependency or one.provide.has_async_generator_dependency
            for batch in model.dependency_batches
            for one in batch
        ),
    }
    for name, it in undone.items():
        if it:
            raise ValueError(f"{handler} has {name}, which no request would pass")
    ordered = [one for batch in model.dependency_batches for one in batch]
    from_scope = {one.key: one.provide.read for one in ordered if isinstance(one.provide, FromScope)}
    # One at a time: of a batch of several Litestar makes a task each, and none of ours waits for anything.
    model.dependency_batches = [{one} for one in ordered if one.key not in from_scope]
    reserved = frozenset(model.expected_reserved_kwargs)
    if others := reserved - {"data", "request", "scope"}:
        raise ValueError(f"{handler} asks for {others}, which is not read")
    headers = tuple(
        (one.field_alias.lower().encode(), one.field_name, one.default) for one in model.expected_header_params
    )
    # What is read here is not to be read there.
    model.expected_reserved_kwargs = set(reserved & {"scope"})
    model.expected_header_params = set()
    model.extractors = model._create_extractors()  # noqa: SLF001 - as it did before
    return _Plan(model, reserved, headers, tuple(from_scope.items()))
