"""The API description: its configuration, and what Litestar can't know of the operations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import ResponseHeader
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, spec
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import ParameterKwarg, QueryParameter
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ControllerRouterHandler, Method
from litestar.types.internal_types import PathParameterDefinition

from kitsu import __version__
from kitsu.errors import AppError, ErrorBody, InvalidRequest, RateLimited, ServiceUnavailable
from kitsu.web.openapi_schemas import add_examples, complete_schemas, describe_success
from kitsu.web.request import MAX_BODY_BYTES

DESCRIPTION = """\
The REST API of an anime catalogue and tracking site.

**Authentication.** `POST /auth/register` and `POST /auth/login` return an access token and a refresh token. Send the
access token as `Authorization: Bearer <token>`. When a response is 401, get new tokens from `POST /auth/refresh`.

**Lists** are arrays. `limit` and `offset` select a page. The `Link` header has the URL of the next page, which starts
behind the last item even if items were added meanwhile.

**Errors** have the body `ErrorBody`: `code` for programs, `message` for developers, and on 422 `details` with the wrong
fields. After a 429 or 503 wait for the seconds in `Retry-After`.

Every path works with and without a trailing slash. Times are RFC 3339 in UTC. Each response has an `X-Request-ID`.
"""
TAGS = {
    "Accounts": "Registration, login and sessions, the user's own account, and the administration of users.",
    "Catalogue": "Anime, releases, episodes and the search for anime. Reading needs no token; changes need the role "
    "`editor` or `admin`.",
    "Viewer": "A viewer's favourites, progress, history, collections, library and statistics, and public profiles. "
    "Lists take `updated_since` and `deleted`, so that a device fetches only what changed.",
    "Front end": "What the front end calls beside the API.",
    "Media": "Files of users: their avatars.",
    "Health": "For load balancers and operators.",
}


def documented_header(name: str, description: str, *, required: bool = True) -> ResponseHeader:
    """Return a response header for the API description; the handler or a middleware sets it."""
    # The value gives the header its schema.
    return ResponseHeader(name=name, value="", description=description, documentation_only=True, required=required)


def parameter(kind: type[ParameterKwarg], description: str, *examples: Any, **limits: Any) -> ParameterKwarg:
    """Return a parameter of a kind such as QueryParameter, with its description, examples and limits."""
    # Litestar leaves out a minimum of 0, and rounds large limits.
    extra = {name: limits[key] for key, name in {"ge": "minimum", "le": "maximum"}.items() if key in limits}
    shown = [spec.Example(value=value) for value in examples]
    return kind(description=description, examples=shown, schema_extra=extra, **limits)


query = partial(parameter, QueryParameter)


def file(description: str | None = None) -> spec.Schema:
    """Return the schema of a file in a body."""
    return spec.Schema(type=spec.OpenAPIType.STRING, format=spec.OpenAPIFormat.BINARY, description=description)


def form(title: str, description: str, required: Sequence[str] | None = None, **fields: spec.Schema) -> spec.Schema:
    """Return the schema of a form, or of JSON with its fields."""
    kind = spec.OpenAPIType.OBJECT
    return spec.Schema(type=kind, title=title, description=description, properties={**fields}, required=required)


def operation_with_body(schemas: Mapping[str, spec.Schema], **attributes: Any) -> type[spec.Operation]:
    """Return the class of an operation whose body, by media type, the handler's signature can't describe."""

    @dataclass
    class OperationWithBody(spec.Operation):
        def __post_init__(self) -> None:
            content = {media_type: spec.OpenAPIMediaType(schema) for media_type, schema in schemas.items()}
            self.request_body = spec.RequestBody(content, **attributes)

    return OperationWithBody


def body_of(kind: type[Any] | None, description: str, media_type: str = "application/json") -> ResponseSpec:
    """Return a response for the API description, beside the one of the handler's signature."""
    return ResponseSpec(kind, description=description, media_type=media_type, generate_examples=False)


CATALOGUE_HEADERS: Sequence[ResponseHeader] = (
    documented_header("ETag", "Send it as `If-None-Match` to get a 304 while nothing has changed."),
    documented_header("Cache-Control", "`public, no-cache`."),
)
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Any text of the client. A request that repeats it within a day gets the first response again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "examples": ["3f1c9a0e-play-42"]},
}
RETRY_AFTER = {
    "Retry-After": {
        "description": "The seconds to wait before the next request.",
        "required": True,
        "schema": {"type": "integer", "examples": [2]},
    }
}
NOT_MODIFIED = {304: body_of(None, "The client's `If-None-Match` still matches.")}
_BY_STATUS = {kind.status: kind for kind in AppError.__subclasses__()}


def errors(*kinds: type[AppError]) -> dict[int, ResponseSpec]:
    """Return the error responses of an operation, beside those that follow from its declaration."""
    return {kind.status: body_of(ErrorBody, kind.__doc__ or "") for kind in kinds}


def openapi_config(title: str) -> OpenAPIConfig:
    """Return Litestar's OpenAPI configuration. `controllers/operations/docs.py` serves the description."""
    token = spec.SecurityScheme(type="http", scheme="bearer", bearer_format="JWT", description="The access token.")
    return OpenAPIConfig(
        title=title,
        version=__version__,
        description=DESCRIPTION,
        use_handler_docstrings=True,
        operation_id_creator=operation_id,
        servers=[spec.Server(url="/")],
        tags=[spec.Tag(name=name, description=description) for name, description in TAGS.items()],
        components=spec.Components(security_schemes={"bearer": token}),
        openapi_router=_NoPages("/openapi", route_handlers=[]),
    )


class _NoPages(Router):
    """Registers none of Litestar's pages: they load from other hosts, and send HTML for unknown paths."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:  # noqa: ARG002 - Litestar's signature
        return []


def operation_id(handler: HTTPRouteHandler, method: Method, _: list[str | PathParameterDefinition]) -> str:
    """Return the name of a handler in camel case, for generated clients."""
    first, *rest = handler.handler_name.split("_")
    return first + "".join(word.capitalize() for word in rest) + "Head" * (method == "HEAD")


def openapi_schema(app: Litestar) -> dict[str, Any]:
    """Return the API description: Litestar's, with what it can't know or gets wrong.

    Each operation gets its security, and the errors that follow from its `opt`, its guards and its parameters.
    """
    document = app.openapi_schema.to_schema()
    for path in document["paths"].values():
        path.pop("head", None)  # generators would make a second function of each GET
    operations = list(_operations(app, document))
    complete_schemas(document, [handler for handler, _ in operations])
    for handler, operation in operations:
        for status, response in operation["responses"].items():
            # The default of Litestar, whose own 400 goes below.
            if int(status) < 300 and response["description"] == HTTPStatus(int(status)).description:
                response["description"] = describe_success(document, response)
        add_examples(document, [operation.get("requestBody", {}), *operation["responses"].values()])
        _finish(operation, handler)
    return document


def _operations(app: Litestar, document: dict[str, Any]) -> Iterator[tuple[HTTPRouteHandler, dict[str, Any]]]:
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            known = document["paths"].get(route.path_format, {})
            yield from ((handler, known[each.lower()]) for each in handler.http_methods if each.lower() in known)


def _finish(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    summary, _, description = " ".join(operation.pop("description", "").split()).partition(". ")
    if summary:
        operation["summary"] = summary.removesuffix(".")
    if description:
        operation["description"] = description
    if not handler.opt.get("public"):
        operation["security"] = [*([{}] if handler.opt.get("guests") else []), {"bearer": []}]
    if handler.opt.get("idempotent"):
        operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    responses = operation["responses"]
    responses.pop("400", None)  # of Litestar's own shape
    responses |= {str(kind.status): _response(kind) for kind in _errors_of(operation, handler)}
    operation["responses"] = dict(sorted(responses.items()))


def _errors_of(operation: dict[str, Any], handler: HTTPRouteHandler) -> Iterator[type[AppError]]:
    declared = handler.responses or {}
    yield from (_BY_STATUS[status] for status, body in declared.items() if body.data_container is ErrorBody)
    implied = {500, 503}
    if not (handler.opt.get("public") or handler.opt.get("lenient")):
        implied.add(401)
    for guard in handler.resolve_guards():
        implied |= {kind.status for kind in getattr(guard, "errors", ())}
    checked = (each for each in operation.get("parameters", ()) if each["in"] != "path" or "format" in each["schema"])
    if any(checked) or "requestBody" in operation:
        implied.add(422)
    if "requestBody" in operation:
        implied |= {408, 413, 415}
        if handler.opt.get("idempotent") or (handler.resolve_request_max_body_size() or 0) > MAX_BODY_BYTES:
            implied.add(429)  # many keys, or several large bodies, of one user
    yield from (_BY_STATUS[status] for status in implied - declared.keys())


def _response(kind: type[AppError]) -> dict[str, Any]:
    details = [{"field": "limit", "message": "Expected `int` <= 100"}] if kind is InvalidRequest else None
    example = {"code": kind.code, "message": kind.message, "details": details}
    content = {
        "schema": {"$ref": "#/components/schemas/ErrorBody"},
        "examples": {kind.__name__: {"summary": kind.code, "value": example}},
    }
    response = {"description": kind.__doc__, "content": {"application/json": content}}
    return response | {"headers": RETRY_AFTER} if kind in {RateLimited, ServiceUnavailable} else response
