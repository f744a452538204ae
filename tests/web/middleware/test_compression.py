"""Compressed responses: for whom, which, and how they are told from others."""

import gzip
import sys
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.web.middleware.compression import MIN_BYTES
from tests.application import ORIGIN
from tests.factories import Backend, Viewer, backend_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONG = "x" * 4 * MIN_BYTES


async def raw(client: httpx.AsyncClient, path: str, accepted: str | None, **headers: str) -> tuple[Any, bytes]:
    """Return a response and its body as it was sent."""
    sent = {"Accept-Encoding": accepted or "", **headers}
    async with client.stream("GET", path, headers=sent) as response:
        return response, b"".join([piece async for piece in response.aiter_raw()])


def unpacked(encoding: str | None, body: bytes) -> bytes:
    if encoding == "zstd":
        return bytes(zstd.decompress(body))
    return gzip.decompress(body) if encoding == "gzip" else body


@pytest.fixture(scope="module")
async def backend(server: URL, template: URL) -> AsyncIterator[Backend]:
    async with backend_of(server, template, admin_enabled=True) as backend:
        yield backend


@pytest.fixture
async def path(backend: Backend) -> str:
    return f"/anime/{await backend.anime(title='Compressed', description=LONG)}"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("GZIP;q=0.5", "gzip"),
        ("zstd;q=0, gzip;q=1.0", "gzip"),
        ("zstd; q=0.000", None),
        ("identity", None),
        ("gzipped", None),
        ("br", None),
        ("", None),
    ],
)
async def test_encoding_is_one_that_the_client_accepts(
    backend: Backend, path: str, accepted: str, encoding: str | None
) -> None:
    plain, body = await raw(backend.client, path, None)
    assert "content-encoding" not in plain.headers
    for _ in range(2):  # the second one finds the compressed body
        response, sent = await raw(backend.client, path, accepted)
        assert response.headers.get("content-encoding") == encoding
        assert unpacked(encoding, sent) == body
        assert int(response.headers["content-length"]) == len(sent)
        assert (len(sent) < len(body) / 4) == bool(encoding)
        assert "Accept-Encoding" in response.headers["vary"]
        assert response.headers["etag"] == ("W/" if encoding else "") + plain.headers["etag"]


async def test_weak_tag_of_a_compressed_response_is_one_of_the_resource(
    backend: Backend, viewer: Viewer, path: str
) -> None:
    response, _ = await raw(backend.client, path, "gzip")
    tag = {"If-None-Match": response.headers["etag"]}
    assert (await backend.client.get(path, headers={**tag, "Accept-Encoding": "gzip"})).status_code == 304
    entry = f"/library/{path.removeprefix('/anime/')}"
    await viewer.write("PUT", entry, {"status": "watching", "notes": LONG})
    response, _ = await raw(backend.client, entry, "zstd", Authorization=f"Bearer {viewer.token}")
    assert response.headers["etag"].startswith("W/")
    change = {"json": {"score": 5}, "headers": {"If-Match": response.headers["etag"]}}
    assert [(await viewer.request("PATCH", entry, **change)).status_code for _ in range(2)] == [200, 412]


async def test_short_empty_and_other_responses_are_sent_as_they_are(backend: Backend, path: str) -> None:
    for short in ("/health", f"/anime/{path[7:-1]}", "/media/avatars/x.webp"):
        response, body = await raw(backend.client, short, "gzip")
        assert "content-encoding" not in response.headers
        assert len(body) < MIN_BYTES
    for method in ("HEAD", "OPTIONS"):
        response = await backend.client.request(method, path, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in response.headers


async def test_responses_with_secrets_are_not_compressed(backend: Backend, viewer: Viewer) -> None:
    """The length of a compressed body tells whether a text that an attacker sends is in it twice."""
    for _ in range(30):
        await backend.rows.execute(
            "INSERT INTO auth_sessions (id, user_id, expires_at)"
            " VALUES (gen_random_uuid(), $1, now() + interval '1 day')",
            viewer.id,
        )
    token = {"Authorization": f"Bearer {viewer.token}"}
    for path, headers in (("/auth/sessions", token), ("/auth/sessions/", token), ("/admin/sign-in", {})):
        response, body = await raw(backend.client, path, "gzip, zstd", **headers)
        assert len(body) > MIN_BYTES
        assert "content-encoding" not in response.headers


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_streams_are_compressed_piece_by_piece(backend: Backend, viewer: Viewer, encoding: str) -> None:
    for _ in range(120):
        anime_id = await backend.anime()
        await viewer.write("PUT", f"/library/{anime_id}", {"status": "watching", "notes": "n" * 100})
    token = {"Authorization": f"Bearer {viewer.token}"}
    _, plain = await raw(backend.client, "/library/export", None, **token)
    response, sent = await raw(backend.client, "/library/export", encoding, **token)
    assert response.headers["content-encoding"] == encoding
    assert "content-length" not in response.headers
    body = zlib.decompress(sent, wbits=31) if encoding == "gzip" else zstd.decompress(sent)
    entries = plain.index(b'"entries"')  # behind the time of the export
    assert body[entries:] == plain[entries:]


async def test_headers_of_other_layers_stay(backend: Backend, path: str) -> None:
    response, _ = await raw(backend.client, path, "gzip", Origin=ORIGIN)
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["vary"] == "Origin, Accept-Encoding"
    assert response.headers["cache-control"] == "public, no-cache"
