"""Cross-origin requests: CORS headers of all responses for the allowed origins only, and preflights."""

import httpx
import pytest
from structlog.testing import capture_logs

from kitsu.domain.catalogue.anime import AnimeReader
from tests.conftest import ORIGIN

ELSEWHERE = (
    *("https://evil.example", "null", "", ORIGIN.upper(), f"{ORIGIN}/", f"{ORIGIN}:443", f"{ORIGIN}.evil.example"),
    *(
        "http://kitsu.example.org",
        "https://www.kitsu.example.org",
        f"{ORIGIN}, https://evil.example",
        f"{ORIGIN} ",
        "*",
    ),
)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "KITSU")
PATHS = ("/anime", "/anime/", "/anime/x", "/favorites/x", "/nope", "/docs", "/")
EXPOSED = {"x-request-id", "link", "x-total-count", "etag", "ratelimit", "ratelimit-policy", "retry-after"}
ALLOW = "access-control-allow"


def names(value: str) -> set[str]:
    return {name.strip().lower() for name in value.split(",")}


def cors_headers(response: httpx.Response) -> set[str]:
    return {name for name in response.headers if name.startswith("access-control-")}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", "/anime?limit=1", 200), ("GET", "/docs", 200), ("GET", "/health", 200), ("OPTIONS", "/anime", 204)),
        *(("GET", "/nope", 404), ("PATCH", "/anime", 405), ("GET", "/anime/x", 422), ("GET", "/search/anime", 400)),
    ],
)
async def test_response_to_allowed_origin_has_cors_headers(
    reader: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await reader.request(method, path, headers={"Origin": ORIGIN})
    assert response.status_code == status
    assert response.headers.get_list(f"{ALLOW}-origin") == [ORIGIN]
    assert response.headers.get_list(f"{ALLOW}-credentials") == ["true"]
    assert names(response.headers["access-control-expose-headers"]) >= EXPOSED
    assert "origin" in names(response.headers["vary"])


@pytest.mark.parametrize(("error", "status"), [(RuntimeError(), 500), (ConnectionRefusedError(), 503)])
async def test_error_response_to_allowed_origin_has_cors_headers(
    reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(AnimeReader, "page", fail)
    with capture_logs():  # structlog draws a traceback for seconds
        response = await reader.get("/anime", headers={"Origin": ORIGIN})
    assert response.status_code == status
    assert response.headers[f"{ALLOW}-origin"] == ORIGIN
    assert response.headers["x-request-id"]


async def test_304_to_allowed_origin_has_cors_headers(reader: httpx.AsyncClient) -> None:
    response = await reader.get("/anime", headers={"Origin": ORIGIN, "If-None-Match": "*"})
    assert response.status_code == 304
    assert response.headers[f"{ALLOW}-origin"] == ORIGIN
    assert "origin" in names(response.headers["vary"])


@pytest.mark.parametrize("origin", ELSEWHERE)
async def test_response_to_other_origin_has_no_cors_headers(reader: httpx.AsyncClient, origin: str) -> None:
    for path in ("/anime?limit=1", "/nope", "/anime/x"):
        response = await reader.get(path, headers={"Origin": origin})
        assert cors_headers(response) == set()
        # A shared cache must not send this response to an allowed origin.
        assert "origin" in names(response.headers["vary"])


async def test_response_without_origin_has_no_cors_headers(reader: httpx.AsyncClient) -> None:
    response = await reader.get("/anime?limit=1")
    assert response.status_code == 200
    assert cors_headers(response) == set()
    assert "origin" in names(response.headers["vary"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", METHODS)
async def test_preflight_of_allowed_origin_allows_any_method_and_header(
    reader: httpx.AsyncClient, path: str, method: str
) -> None:
    requested = "authorization, content-type, if-none-match, x-anything-at-all"
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": requested}
    response = await reader.options(path, headers=headers)
    assert response.status_code == 204
    assert response.content == b""
    assert response.headers[f"{ALLOW}-origin"] == ORIGIN
    assert response.headers[f"{ALLOW}-credentials"] == "true"
    # With credentials `*` is no wildcard for browsers.
    assert method.lower() in names(response.headers[f"{ALLOW}-methods"])
    assert names(requested) <= names(response.headers[f"{ALLOW}-headers"])
    assert response.headers["access-control-max-age"] == "7200"
    vary = {"origin", "access-control-request-method", "access-control-request-headers"}
    assert vary <= names(response.headers["vary"])
    assert response.headers["x-request-id"]


async def test_preflight_without_requested_headers_succeeds(reader: httpx.AsyncClient) -> None:
    response = await reader.options("/anime", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "DELETE"})
    assert response.status_code == 204
    assert response.headers[f"{ALLOW}-origin"] == ORIGIN
    assert "delete" in names(response.headers[f"{ALLOW}-methods"])


@pytest.mark.parametrize("origin", ELSEWHERE)
async def test_preflight_of_other_origin_has_no_cors_headers(reader: httpx.AsyncClient, origin: str) -> None:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    response = await reader.options("/genres", headers=headers)
    assert response.status_code < 400
    assert cors_headers(response) == set()
    assert "origin" in names(response.headers["vary"])


async def test_options_without_preflight_headers_lists_methods(reader: httpx.AsyncClient) -> None:
    for headers in ({}, {"Origin": ORIGIN}, {"Access-Control-Request-Method": "GET"}):
        response = await reader.options("/genres", headers=headers)
        assert response.status_code == 204
        assert "GET" in response.headers["allow"]
        response = await reader.options("/nope", headers=headers)
        assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")
