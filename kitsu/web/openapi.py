"""The API's description: what all operations have in common, and the configuration of its making."""

from collections.abc import Sequence
from typing import Any

from litestar import Router
from litestar.config.app import AppConfig
from litestar.datastructures import ResponseHeader
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, Example, SecurityScheme, Server, Tag
from litestar.plugins import InitPlugin

from kitsu import __version__
from kitsu.errors import AppError, ErrorBody, InternalError, InvalidRequest, ServiceUnavailable

DESCRIPTION = """\
Accounts, and the catalogue of anime, their releases and episodes.

Every path answers with and without a trailing slash. Lists are bare arrays; `limit` and `offset` page through them, and
the `Link` header holds the next page, which begins right behind the last item whatever is added meanwhile. Errors all
have the same body: `code`, `message` and `details`, which names the fields on 422. Times are RFC 3339 in UTC.
"""

CATALOGUE_HEADERS: Sequence[ResponseHeader] = (
    ResponseHeader(
        name="ETag",
        description="send it back as `If-None-Match` for a 304 while nothing has changed",
        documentation_only=True,
    ),
    ResponseHeader(name="Cache-Control", description="`public, no-cache`", documentation_only=True),
)


BEARER: Sequence[dict[str, list[str]]] = [{"bearer": []}]
OPTIONAL_BEARER: Sequence[dict[str, list[str]]] = [{}, *BEARER]

NOT_MODIFIED: dict[int, ResponseSpec] = {
    304: ResponseSpec(None, description="The client's `If-None-Match` is still right.", generate_examples=False)
}


def errors(*kinds: type[AppError]) -> dict[int, ResponseSpec]:
    """The error answers of an operation, beside those that every operation has."""
    every: tuple[type[AppError], ...] = (*kinds, InternalError, ServiceUnavailable)
    return {kind.status: _spec(kind) for kind in every}


def openapi_config(title: str) -> OpenAPIConfig:
    """Litestar's OpenAPI configuration. `controllers/docs.py` serves what it makes."""
    return OpenAPIConfig(
        title=title,
        version=__version__,
        description=DESCRIPTION,
        use_handler_docstrings=True,
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


def finished(schema: dict[str, Any]) -> dict[str, Any]:
    """Litestar's description, mended: it adds a 400 of its own shape, headers without a schema, and drops null."""
    for path in schema["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            if _schema_of(responses.get("400", {})) != {"$ref": "#/components/schemas/ErrorBody"}:
                responses.pop("400", None)
            for response in responses.values():
                for header in response.get("headers", {}).values():
                    header.setdefault("schema", {"type": "string"})
                for content in response.get("content", {}).values():
                    for example in content.get("examples", {}).values():
                        example.pop("id", None)
                        example["value"].setdefault("details", None)
    return schema


def _schema_of(response: dict[str, Any]) -> Any:
    return response.get("content", {}).get("application/json", {}).get("schema")


def _spec(kind: type[AppError]) -> ResponseSpec:
    value: dict[str, object] = {"code": kind.code, "message": kind.message, "details": None}
    if kind is InvalidRequest:
        value["details"] = [{"field": "limit", "message": "Expected `int` <= 100"}]
    return ResponseSpec(
        ErrorBody,
        description=(kind.__doc__ or "").strip(),
        generate_examples=False,
        examples=[Example(id=kind.__name__, summary=kind.code, value=value)],
    )
