"""HEAD requests, which are GET requests without the body, and `Allow`."""

import httpx
import pytest
from litestar.routes import HTTPRoute
from sqlalchemy.engine import URL

from kitsu.app import create_app
from kitsu.settings import Settings
from tests.factories import Backend, Viewer

VARYING = {"set-cookie", "x-request-id", "ratelimit"}
PUBLIC = (
    *("/anime", "/anime/", "/anime?limit=1&total=true", "/releases", "/genres", "/search/anime?q=death"),
    *("/search/suggest?q=death", "/health", "/health/live", "/health/ready", "/docs", "/openapi.json"),
    *("/docs/assets/swagger-ui-bundle.js", "/admin", "/admin/sign-in", "/admin/static/admin.css"),
    *("/nope", "/anime/x", "/anime?limit=0", "/favorites", "/search/anime", "/media/avatars/none.webp"),
)


def headers_of(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name not in VARYING}


@pytest.mark.parametrize("path", PUBLIC)
async def test_head_has_status_and_headers_of_get_without_body(reader: httpx.AsyncClient, path: str) -> None:
    got, head = await reader.get(path), await reader.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert headers_of(head) == headers_of(got)


@pytest.mark.parametrize(
    "path", ["/users/me", "/favorites?total=true", "/library", "/users/me/export", "/library/export"]
)
async def test_head_of_viewers_paths_has_headers_of_get(viewer: Viewer, backend: Backend, path: str) -> None:
    got, head = await viewer.request("GET", path), await viewer.request("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert headers_of(head) == headers_of(got)
    assert (await backend.client.head(path)).status_code == 401


async def test_allow_of_options_and_405_lists_all_methods(reader: httpx.AsyncClient) -> None:
    app = create_app(Settings(secret_key="k" * 32, database_url=URL.create("postgresql+asyncpg")))
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            methods = {str(method) for handler in route.route_handlers for method in handler.http_methods}
            assert ("GET" in methods) is ("HEAD" in methods)
            path = route.path_format.replace("{", "").replace("}", "")
            for response in (await reader.options(path), await reader.request("TRACE", path)):
                assert set(response.headers["allow"].split(", ")) == methods, path
