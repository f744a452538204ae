"""The API's description: what all operations have in common, and the configuration of its making."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from litestar import Litestar, Router
from litestar.config.app import AppConfig
from litestar.datastructures import ResponseHeader
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, Example, SecurityScheme, Server, Tag
from litestar.plugins import InitPlugin
from litestar.routes import HTTPRoute
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from kitsu import __version__
from kitsu.errors import (
    AppError,
    ErrorBody,
    InternalError,
    InvalidRequest,
    PayloadTooLarge,
    ServiceUnavailable,
    Unauthorized,
    UnsupportedMediaType,
)

DESCRIPTION = """\
Accounts, and the catalogue of anime, their releases and episodes.

Every path answers with and without a trailing slash. Lists are bare arrays; `limit` and `offset` page through them, and
the `Link` header holds the next page, which begins right behind the last item whatever is added meanwhile. Errors all
have the same body: `code`, `message` and `details`, which names the fields on 422. Times are RFC 3339 in UTC.
"""


def documented_header(name: str, description: str, *, required: bool = True) -> ResponseHeader:
    """Return a response header for the API description; the handler or a middleware sets it."""
    return ResponseHeader(name=name, description=description, documentation_only=True, required=required)


CATALOGUE_HEADERS: Sequence[ResponseHeader] = (
    documented_header("ETag", "send it as `If-None-Match` for a 304 while nothing has changed"),
    documented_header("Cache-Control", "`public, no-cache`"),
)
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Any text of the client. A request that repeats it within a day gets the first response again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}

_ERROR_BODY = {"$ref": "#/components/schemas/ErrorBody"}

NOT_MODIFIED: dict[int, ResponseSpec] = {
    304: ResponseSpec(None, description="The client's `If-None-Match` is still right.", generate_examples=False)
}


def errors(*kinds: type[AppError]) -> dict[int, ResponseSpec]:
    """Return the error responses of an operation, beside those that follow from its declaration."""
    return {kind.status: _spec(kind) for kind in kinds}


def openapi_config(title: str) -> OpenAPIConfig:
    """Litestar's OpenAPI configuration. `controllers/operations/docs.py` serves what it makes."""
    return OpenAPIConfig(
        title=title,
        version=__version__,
        description=DESCRIPTION,
        use_handler_docstrings=True,
        operation_id_creator=operation_id,
        servers=[Server(url="/")],
        tags=[
            Tag(
                name="Accounts", description="Signing in and staying so, one's own account, and all for administrators."
            ),
            Tag(name="Catalogue", description="Anime, releases, episodes and the search in them; open to everyone."),
            Tag(
                name="Viewer",
                description="What a viewer keeps: favourites, progress, history, collections, the library. Lists take "
                "`updated_since` and `deleted`, so that a device fetches only what changed.",
            ),
            Tag(name="Media", description="Files of users: their avatars."),
            Tag(name="Health", description="For load balancers and operators."),
        ],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http", scheme="bearer", bearer_format="JWT", description="The access token of a login."
                )
            }
        ),
        openapi_router=Router("/openapi", route_handlers=[]),
    )


def without_own_pages(config: AppConfig) -> AppConfig:
    """Litestar's own pages load from other hosts and answer an unknown path with HTML: leave them out."""
    config.plugins.append(_WithoutOwnPages())  # behind the plugin that adds them
    return config


class _WithoutOwnPages(InitPlugin):
    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        own_pages = app_config.openapi_config and app_config.openapi_config.openapi_router
        app_config.route_handlers = [handler for handler in app_config.route_handlers if handler is not own_pages]
        return app_config


def operation_id(handler: HTTPRouteHandler, _: Method, __: list[str | PathParameterDefinition]) -> str:
    """Return the name of a handler in camel case, as generated clients call it."""
    first, *rest = handler.handler_name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def openapi_schema(app: Litestar) -> dict[str, Any]:
    """Return the description of the API: Litestar's, with what it can't know or gets wrong.

    The first line of a handler's docstring is the summary of its operation. Each operation gets its security and the
    errors that follow from its `opt`, its guards and its parameters.
    """
    schema = app.openapi_schema.to_schema()
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            operations = schema["paths"].get(route.path_format, {})
            for method in handler.http_methods:
                if operation := operations.get(method.lower()):
                    _finish(operation, handler)
    return schema


def _finish(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    responses = operation["responses"]
    summary, _, description = operation.get("description", "").partition("\n")
    operation["summary"] = summary.removesuffix(".")
    operation["description"] = " ".join(description.split()) or summary
    # Litestar adds a 400 of its own shape, headers without a schema, and drops null.
    if _schema_of(responses.get("400", {})) != _ERROR_BODY:
        responses.pop("400", None)
    for status, response in responses.items():
        if int(status) < 300:
            response["description"] = HTTPStatus(int(status)).phrase
        for header in response.get("headers", {}).values():
            header.setdefault("schema", {"type": "string"})
        for content in response.get("content", {}).values():
            for example in content.get("examples", {}).values():
                example.pop("id", None)
                example["value"].setdefault("details", None)
    if not handler.opt.get("public"):
        operation["security"] = [*([{}] if handler.opt.get("guests") else []), {"bearer": []}]
    if handler.opt.get("idempotent"):
        operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    for kind in _errors_of(operation, handler):
        responses.setdefault(str(kind.status), _response(kind))
    operation["responses"] = dict(sorted(responses.items()))


def _errors_of(operation: dict[str, Any], handler: HTTPRouteHandler) -> Iterator[type[AppError]]:
    yield from (InternalError, ServiceUnavailable)
    if not handler.opt.get("public"):
        yield Unauthorized
    for guard in handler.resolve_guards():
        yield from getattr(guard, "errors", ())
    checked = (each for each in operation.get("parameters", ()) if each["in"] != "path" or "format" in each["schema"])
    if any(checked) or "requestBody" in operation:
        yield InvalidRequest
    if "requestBody" in operation:
        yield from (PayloadTooLarge, UnsupportedMediaType)


def _schema_of(response: dict[str, Any]) -> Any:
    return response.get("content", {}).get("application/json", {}).get("schema")


def _example(kind: type[AppError]) -> dict[str, object]:
    details = [{"field": "limit", "message": "Expected `int` <= 100"}] if kind is InvalidRequest else None
    return {"code": kind.code, "message": kind.message, "details": details}


def _description(kind: type[AppError]) -> str:
    return (kind.__doc__ or "").strip()


def _spec(kind: type[AppError]) -> ResponseSpec:
    return ResponseSpec(
        ErrorBody,
        description=_description(kind),
        generate_examples=False,
        examples=[Example(id=kind.__name__, summary=kind.code, value=_example(kind))],
    )


def _response(kind: type[AppError]) -> dict[str, Any]:
    examples = {kind.__name__: {"summary": kind.code, "value": _example(kind)}}
    return {
        "description": _description(kind),
        "headers": {},
        "content": {"application/json": {"schema": _ERROR_BODY, "examples": examples}},
    }
