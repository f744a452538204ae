"""GET /media/avatars/{name}: files, headers, ranges, and names that never reach the store."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from kitsu.domain.media.store import MediaStore
from tests.application import client_of
from tests.cli.process import free_port
from tests.images import HTML
from tests.media_locations import MediaLocation, folder_at

DATA = bytes(range(100))
NAME = "0123456789abcdef.webp"
PATH = f"/media/avatars/{NAME}"
NO_DATABASE = URL.create("postgresql+asyncpg", host="127.0.0.1", port=1, database="nowhere")
NOT_FOUND = {"code": "NOT_FOUND", "message": "Not found", "details": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> MediaLocation:
    """A folder with a file."""
    location = folder_at(tmp_path_factory.mktemp("uploads"))
    location.put(NAME, DATA)
    return location


@pytest.fixture(scope="module")
async def api(folder: MediaLocation) -> AsyncIterator[httpx.AsyncClient]:
    """The application on that folder, without a database."""
    async with client_of(NO_DATABASE, **folder.settings) as client:
        yield client


async def test_folder_and_bucket_serve_the_same(location: MediaLocation) -> None:
    location.put(NAME, DATA)
    async with client_of(NO_DATABASE, **location.settings) as client:
        whole = await client.get(PATH)
        assert (whole.status_code, whole.content) == (200, DATA)
        for byte_range, status, content in (("5-9", 206, DATA[5:10]), ("-3", 206, DATA[-3:]), ("200-", 416, None)):
            response = await client.get(PATH, headers={"Range": f"bytes={byte_range}"})
            assert (response.status_code, content in {None, response.content}) == (status, True)
        again = await client.get(PATH, headers={"If-None-Match": whole.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        response = await client.get("/media/avatars/unknown.webp")
        assert (response.status_code, response.json()) == (404, NOT_FOUND)


async def test_avatar_is_served_with_its_headers(api: httpx.AsyncClient) -> None:
    for path in (PATH, f"{PATH}/"):
        response = await api.get(path)
        assert (response.status_code, response.content) == (200, DATA)
        headers = response.headers
        assert (headers["content-type"], headers["content-length"]) == ("image/webp", "100")
        assert headers.get_list("cache-control") == ["public, max-age=31536000, immutable"]
        assert (headers["accept-ranges"], headers["x-content-type-options"]) == ("bytes", "nosniff")
        assert headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert "content-disposition" not in headers


async def test_matching_etag_returns_304(api: httpx.AsyncClient) -> None:
    tag = (await api.get(PATH)).headers["etag"]
    assert re.fullmatch('"[0-9a-f]{24}"', tag)
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        response = await api.get(PATH, headers={"If-None-Match": known, "Range": "bytes=0-1"})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", tag)
        assert response.headers.get_list("cache-control") == ["public, max-age=31536000, immutable"]
        assert "content-type" not in response.headers
    assert (await api.get(PATH, headers={"If-None-Match": '"x"'})).content == DATA


@pytest.mark.parametrize(
    ("byte_range", "start", "end"),
    [
        *(("0-0", 0, 0), ("0-99", 0, 99), ("10-19", 10, 19), ("90-1000", 90, 99), ("99-", 99, 99), ("0-", 0, 99)),
        *(("-1", 99, 99), ("-100", 0, 99), ("-1000", 0, 99)),
    ],
)
async def test_range_returns_206(api: httpx.AsyncClient, byte_range: str, start: int, end: int) -> None:
    tag = (await api.get(PATH)).headers["etag"]
    for more in ({}, {"If-Range": tag}, {"If-None-Match": '"x"'}):
        response = await api.get(PATH, headers={"Range": f"bytes={byte_range}", **more})
        assert (response.status_code, response.content) == (206, DATA[start : end + 1])
        assert response.headers["content-range"] == f"bytes {start}-{end}/100"
        assert (response.headers["etag"], response.headers["content-type"]) == (tag, "image/webp")


@pytest.mark.parametrize("byte_range", ["bytes=100-", "bytes=100-200", "bytes=999999999999999999-", "bytes=-0"])
async def test_range_after_the_end_returns_416(api: httpx.AsyncClient, byte_range: str) -> None:
    response = await api.get(PATH, headers={"Range": byte_range})
    assert (response.status_code, response.headers["content-range"]) == (416, "bytes */100")
    assert response.json() == {"code": "RANGE_NOT_SATISFIABLE", "message": "Range not satisfiable", "details": None}
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "byte_range",
    [
        *("bytes=0-1,5-6", "bytes=0-1, -1", "bytes=-", "bytes=5-4", "bytes=a-b", "bytes", "items=0-1", "bytes=0-1x"),
        *("0-1", "bytes=--1", "bytes=1-2-3", "", "bytes=" + "9" * 5000 + "-"),
    ],
    ids=lambda byte_range: byte_range[:20],
)
async def test_invalid_or_multiple_ranges_are_ignored(api: httpx.AsyncClient, byte_range: str) -> None:
    response = await api.get(PATH, headers={"Range": byte_range})
    assert (response.status_code, response.content) == (200, DATA)


@pytest.mark.parametrize("known", ['"x"', "Sun, 22 Nov 2026 10:00:00 GMT", ""])
async def test_range_with_another_if_range_is_ignored(api: httpx.AsyncClient, known: str) -> None:
    response = await api.get(PATH, headers={"Range": "bytes=0-1", "If-Range": known})
    assert (response.status_code, response.content) == (200, DATA)


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [
        *((".webp", "image/webp"), (".jpg", "image/jpeg"), (".JPEG", "image/jpeg"), (".Png", "image/png")),
        *((".gif", "image/gif"), (".bmp", "image/bmp")),
    ],
)
async def test_picture_of_the_older_service_has_its_type(
    api: httpx.AsyncClient, folder: MediaLocation, suffix: str, media_type: str
) -> None:
    folder.put(f"abc{suffix}", DATA)
    response = await api.get(f"/media/avatars/abc{suffix}")
    assert (response.content, response.headers["content-type"]) == (DATA, media_type)
    assert "content-disposition" not in response.headers


@pytest.mark.parametrize("suffix", ["", ".html", ".svg", ".xml", ".js", ".jpg.html", ".pdf", ".webp_"])
async def test_other_file_is_served_as_attachment(api: httpx.AsyncClient, folder: MediaLocation, suffix: str) -> None:
    folder.put(f"abc{suffix}", HTML)
    for more in ({}, {"Range": "bytes=0-"}):
        response = await api.get(f"/media/avatars/abc{suffix}", headers=more)
        assert response.content == HTML
        assert response.headers["content-type"] == "application/octet-stream"
        assert response.headers["content-disposition"] == "attachment"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"


ODD = ["..", "%2e%2e", "..%2f..%2fsecret", "%2fetc%2fpasswd", "a%00.webp", "a%0a", "..webp", "a..webp", ".webp", "-a"]
ODD += ["a%5cb", "a%20b", "a:b", "a%25b", "a%23b", "a%3fb", "%d1%84.webp", "%ff", "a%2fb", "~", "a*", "x" * 129, "_a"]


@pytest.mark.parametrize("name", ODD)
async def test_invalid_name_does_not_reach_the_store(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def get(_self: MediaStore, key: str) -> None:
        raise AssertionError(f"the store was asked for {key!r}")

    monkeypatch.setattr(MediaStore, "get", get)
    response = await api.get(httpx.URL(f"http://kitsu.test/media/avatars/{name}"))
    assert (response.status_code, response.json()) == (404, NOT_FOUND)


@pytest.mark.parametrize("name", ["unknown.webp", "0123456789abcdef", "0123456789ABCDEF.webp", "x" * 128])
async def test_missing_file_returns_404(api: httpx.AsyncClient, name: str) -> None:
    response = await api.get(f"/media/avatars/{name}", headers={"If-None-Match": "*"})
    assert (response.status_code, response.json()) == (404, NOT_FOUND)
    assert response.headers["cache-control"] == "no-store"


async def test_unreachable_store_returns_503(credentials: None) -> None:
    there = {"media_url": "s3://bucket", "media_s3_endpoint": f"http://127.0.0.1:{free_port()}"}
    async with client_of(NO_DATABASE, **there) as client:
        with capture_logs():
            response = await client.get(PATH)
    assert (response.status_code, response.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert "127.0.0.1" not in response.text
