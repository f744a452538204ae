"""`Link` behind a proxy that removes a prefix from the path."""

from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.application import client_of

PROXY = {"trusted_proxies": ("127.0.0.1/32",)}


@pytest.fixture(scope="module")
async def proxied(catalogue: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client that the application takes for a trusted proxy."""
    async with client_of(catalogue, **PROXY) as client:
        yield client


async def next_path(client: httpx.AsyncClient, **headers: str) -> str:
    response = await client.get("/anime?limit=3&_=a", headers=headers)
    return str(response.headers["link"].partition("?")[0])


@pytest.mark.parametrize("memory", [0, 8])
async def test_link_has_the_prefix_that_a_trusted_proxy_sends(catalogue: URL, memory: int) -> None:
    async with client_of(catalogue, catalogue_memory_mb=memory, **PROXY) as client:
        for prefix, expected in (("/api", "/api"), ("", ""), ("/api/v1/", "/api/v1"), ("/api", "/api")):
            for _ in range(2):
                assert await next_path(client, **{"X-Forwarded-Prefix": prefix}) == f"<{expected}/anime"


@pytest.mark.parametrize(
    "prefix", ["x", "//", "//evil.example", "/a>;", "/a b", "https://evil.example", "/ä", "/a/../b?"]
)
async def test_malformed_prefix_is_ignored(proxied: httpx.AsyncClient, prefix: str) -> None:
    response = await proxied.get("/anime?limit=3", headers=[(b"X-Forwarded-Prefix", prefix.encode())])
    assert response.headers["link"].startswith("</anime?")


async def test_prefix_of_other_clients_is_ignored(reader: httpx.AsyncClient) -> None:
    assert await next_path(reader, **{"X-Forwarded-Prefix": "/evil"}) == "</anime"


async def test_link_has_the_path_of_the_public_url(catalogue: URL) -> None:
    async with client_of(catalogue, public_url="https://kitsu.example.org/api") as client:
        assert await next_path(client) == "</api/anime"
