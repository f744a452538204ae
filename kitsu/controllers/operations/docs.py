"""The documentation of the API: /docs, which is Swagger UI without files from other hosts, and /openapi.json."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

import msgspec
import swagger_ui_bundle
from litestar import Controller, MediaType, Request, Response, get
from litestar.params import FromPath
from litestar.response import Stream

from kitsu.errors import NotFound
from kitsu.web.authentication import PUBLIC
from kitsu.web.middleware.streams import STREAMED, stream_bytes
from kitsu.web.openapi import openapi_schema

_FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon-32x32.png": "image/png"}

_SCRIPT = """
SwaggerUIBundle({url: document.getElementById("docs").dataset.schema, dom_id: "#docs", deepLinking: true,
  validatorUrl: null, tryItOutEnabled: true, persistAuthorization: true, displayRequestDuration: true,
  presets: [SwaggerUIBundle.presets.apis]});
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{base}docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="{base}docs/assets/swagger-ui.css">
</head>
<body>
<div id="docs" data-schema="{base}openapi.json"></div>
<script src="{base}docs/assets/swagger-ui-bundle.js"></script>
<script>{script}</script>
</body>
</html>
"""
# The browser refuses everything from other hosts. Swagger UI sets styles in its elements.
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; "
    f"script-src 'self' 'sha256-{b64encode(sha256(_SCRIPT.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DocsController(Controller):
    path = "/"
    opt = PUBLIC
    include_in_schema = False

    @get("/docs", media_type=MediaType.HTML, sync_to_thread=False)
    def get_docs(self, request: Request[Any, Any, Any]) -> Response[str]:
        """Get Swagger UI."""
        config = request.app.openapi_config
        title = escape(config.title if config else "")
        # Relative to the page: behind a proxy only the browser knows the whole path.
        base = "../" if request.scope["raw_path"].endswith(b"/") else ""
        page = _PAGE.format(title=title, script=_SCRIPT, base=base)
        return Response(page, headers={"Content-Security-Policy": _POLICY})

    @get("/docs/assets/{name:str}", middleware=[STREAMED], sync_to_thread=False)
    def get_docs_asset(self, name: FromPath[str]) -> Stream:
        """Get a file of Swagger UI."""
        if name not in _FILES:
            raise NotFound
        return _stream(_asset(name), _FILES[name], {"Cache-Control": "public, max-age=3600"})

    @get("/openapi.json", middleware=[STREAMED], sync_to_thread=False)
    def get_openapi(self, request: Request[Any, Any, Any]) -> Stream:
        """Get the API description, OpenAPI 3.1."""
        state = request.app.state
        if "openapi_json" not in state:  # takes about 30 ms
            state["openapi_json"] = msgspec.json.encode(openapi_schema(request.app))
        return _stream(state["openapi_json"], MediaType.JSON, {})


@cache
def _asset(name: str) -> bytes:
    # In memory: an open file for each response would use up the worker's file descriptors.
    return Path(swagger_ui_bundle.swagger_ui_path, name).read_bytes()


def _stream(data: bytes, media_type: str, headers: dict[str, str]) -> Stream:
    return Stream(stream_bytes(data), media_type=media_type, headers={"Content-Length": str(len(data)), **headers})
