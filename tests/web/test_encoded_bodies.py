"""Bodies with `Content-Encoding`, and JSON with a byte order mark."""

import gzip
import json
import zlib
from codecs import BOM_UTF8

import httpx
import pytest

from tests.assertions import assert_error
from tests.factories import Backend, Viewer

LIMIT = 64 * 1024
NAME = json.dumps({"name": "Дождь"}).encode()


def zipped(body: bytes) -> bytes:
    """Return the same bytes for the same body: the names of tests contain them."""
    return gzip.compress(body, mtime=0)


async def create(viewer: Viewer, body: bytes, encoding: str) -> httpx.Response:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return await viewer.request("POST", "/collections", content=body, headers=headers)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        *((zipped(NAME), encoding) for encoding in ("gzip", "GZIP", "x-gzip", " gzip ")),
        (NAME, "identity"),
        (BOM_UTF8 + NAME, "identity"),
        (zipped(BOM_UTF8 + NAME), "gzip"),
        (zipped(NAME + b" " * (LIMIT - len(NAME))), "gzip"),
    ],
)
async def test_encoded_body_is_read(viewer: Viewer, body: bytes, encoding: str) -> None:
    response = await create(viewer, body, encoding)
    assert (response.status_code, response.json()["name"]) == (201, "Дождь")


@pytest.mark.parametrize(
    "body",
    [
        *(NAME, b"", zipped(NAME)[:-1], zipped(NAME)[:9], zipped(NAME) + b"x"),
        *(zipped(NAME[:-1]), zipped(zipped(NAME)), zlib.compress(NAME), zipped(b"")),
    ],
)
async def test_damaged_gzip_is_422(viewer: Viewer, body: bytes) -> None:
    assert_error(await create(viewer, body, "gzip"), 422)
    assert await viewer.read("/collections") == []


@pytest.mark.parametrize("body", [zipped(NAME + b" " * LIMIT), zipped(b" " * 10_000_000)])
async def test_body_above_the_limit_when_decompressed_is_413(viewer: Viewer, body: bytes) -> None:
    assert (await create(viewer, body, "gzip")).status_code == 413


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x"])
async def test_unknown_encoding_is_415_that_names_gzip(viewer: Viewer, encoding: str) -> None:
    response = await create(viewer, NAME, encoding)
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "gzip")
    assert response.json()["code"] == "UNSUPPORTED_MEDIA_TYPE"


async def test_gzipped_form_is_read(viewer: Viewer) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Encoding": "gzip"}
    body = zipped(b"username=zipped-name")
    response = await viewer.request("PATCH", "/users/me", content=body, headers=headers)
    assert (response.status_code, response.json()["username"]) == (200, "zipped-name")


async def test_gzipped_list_file_is_decompressed_once(backend: Backend, viewer: Viewer) -> None:
    export = json.dumps({"lists": []}).encode()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    for body in (export, zipped(export)):
        response = await viewer.request("POST", "/library/import", content=zipped(body), headers=headers)
        assert response.status_code == 200, response.text
