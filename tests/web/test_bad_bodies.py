"""Malformed and too large bodies, and the security headers of all responses."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from tests.application import ORIGIN, Applications, client_of
from tests.databases import copy_of

PASSWORD = "a long enough password"
LIMIT = 64 * 1024
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
CODES = {400: "VALIDATION_ERROR", 413: "PAYLOAD_TOO_LARGE", 415: "UNSUPPORTED_MEDIA_TYPE", 422: "VALIDATION_ERROR"}


@pytest.fixture(scope="module")
async def api(server: URL, template: URL) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an application, signed in as its one user."""
    async with copy_of(template, server) as url, client_of(url, rate_limit_enabled=False) as client:
        response = await client.post("/auth/register", json={"email": "a@example.org", "password": PASSWORD})
        client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        yield client


def check_refused(response: httpx.Response, *statuses: int) -> None:
    assert response.status_code in (statuses or CODES), response.text[:200]
    assert response.headers["content-type"] == JSON
    body = response.json()
    assert list(body) == ["code", "message", "details"]
    assert body["code"] == CODES[response.status_code]
    assert all(list(detail) == ["field", "message"] for detail in body["details"] or [])
    assert "Traceback" not in response.text


DEEP = b"[" * 1000 + b"]" * 1000
DEEP_OBJECTS = b'{"a":' * 1000 + b"1" + b"}" * 1000
HUGE = b"1" + b"0" * 400
# Values of the fields `email` or `username`.
VALUES = {
    "bad-utf8": b'"\xff\xfe@example.org"',
    "cut-utf8": b'"\xd0"',
    "overlong-utf8": b'"\xc0\xaf"',
    "surrogate-utf8": b'"\xed\xa0\x80"',
    "levels": DEEP,
    "object-levels": DEEP_OBJECTS,
    "lone-surrogate": b'"\\ud800abc"',
    "lone-low-surrogate": b'"abc\\udc00@example.org"',
    "nan": b"NaN",
    "infinity": b"-Infinity",
    "huge-integer": HUGE,
    "huge-float": b"1e400",
    "nul": b'"ab\\u0000c@example.org"',
    "raw-nul": b'"ab\x00c@example.org"',
    "raw-newline": b'"ab\nc"',
    "number": b"17",
    "boolean": b"true",
    "array": b'["abc"]',
    "object": b"{}",
    "empty": b'""',
}
# Values of an unknown field, which a decoder may skip: these are not valid JSON or text.
SKIPPED = {name: VALUES[name] for name in ("bad-utf8", "surrogate-utf8", "levels", "nan", "lone-surrogate", "raw-nul")}
# Whole bodies instead of an object.
WHOLE = {
    "nothing": b"",
    "space": b" ",
    "array": b"[]",
    "array-of-objects": b'[{"username": "abcd"}]',
    "null": b"null",
    "text": b'"abcd"',
    "number": b"1",
    "nan": b"NaN",
    "huge-integer": HUGE,
    "levels": DEEP,
    "open-levels": b"[" * 1000,
    "open-objects": b'{"a":' * 1000,
    "cut": b'{"username": "abcd"',
    "comma": b'{"username": "abcd",}',
    "more": b'{"username": "abcd"} {}',
    "bytes": b"\xff\xfe\x00\x01",
    "byte-order-mark": b"\xff\xfe{\x00}\x00",
    "nul": b"\x00",
    "single-quotes": b"{'username': 'abcd'}",
    "form": b"username=abcd",
}


async def send(
    api: httpx.AsyncClient, method: str, path: str, content: bytes, media_type: str | None = JSON
) -> httpx.Response:
    with capture_logs() as lines:
        headers = {} if media_type is None else {b"Content-Type": media_type.encode("latin-1")}
        response = await api.request(method, path, content=content, headers=headers)
    assert not [line for line in lines if line["log_level"] == "error"]
    return response


def new_account(email: bytes, more: bytes = b"") -> bytes:
    return b'{"email": ' + email + b', "password": "' + PASSWORD.encode() + b'"' + more + b"}"


async def check_each(api: httpx.AsyncClient, method: str, path: str, bodies: dict[str, bytes]) -> None:
    """Send each body as JSON, and check that its response is 400 or 422."""
    responses = {name: await send(api, method, path, body) for name, body in bodies.items()}
    assert {name: it.status_code for name, it in responses.items() if it.status_code not in {400, 422}} == {}
    for response in responses.values():
        check_refused(response, 400, 422)


async def test_bad_email_is_refused(api: httpx.AsyncClient) -> None:
    await check_each(api, "POST", "/auth/register", {name: new_account(value) for name, value in VALUES.items()})


async def test_bad_username_is_refused(api: httpx.AsyncClient) -> None:
    bodies = {name: b'{"username": ' + value + b"}" for name, value in VALUES.items()}
    await check_each(api, "PATCH", "/users/me", bodies)


async def test_bad_password_is_refused(api: httpx.AsyncClient) -> None:
    head = b'{"email": "b@example.org", "password": '
    values = {name: VALUES[name] for name in VALUES.keys() - {"nul", "empty", "raw-newline"}}
    await check_each(api, "POST", "/auth/register", {name: head + value + b"}" for name, value in values.items()})


async def test_bad_value_of_an_unknown_field_is_refused(api: httpx.AsyncClient) -> None:
    email = f'"{uuid4()}@example.org"'.encode()
    more = {name: b', "more": ' + value for name, value in SKIPPED.items()}
    await check_each(api, "POST", "/auth/register", {name: new_account(email, it) for name, it in more.items()})
    bodies = {name: b'{"username": "abcd"' + it + b"}" for name, it in more.items()}
    await check_each(api, "PATCH", "/users/me", bodies)


@pytest.mark.parametrize(("method", "path"), [("POST", "/auth/register"), ("PATCH", "/users/me")])
async def test_body_that_is_not_an_object_is_refused(api: httpx.AsyncClient, method: str, path: str) -> None:
    await check_each(api, method, path, WHOLE)


async def test_duplicate_keys_of_an_account_are_refused(api: httpx.AsyncClient) -> None:
    email = f'"{uuid4()}@example.org"'.encode()
    for body in (
        new_account(b'"first@example.org", "email": ' + email),
        new_account(email, b', "password": "another long password"'),
    ):
        check_refused(await send(api, "POST", "/auth/register", body), 400, 422)


async def test_duplicate_keys_of_a_change_are_refused(api: httpx.AsyncClient) -> None:
    body = b'{"username": "first-name", "username": "second-name"}'
    check_refused(await send(api, "PATCH", "/users/me", body), 400, 422)
    check_refused(await send(api, "PATCH", "/users/me", b"username=first-name&username=second-name", FORM), 400, 422)


@pytest.mark.parametrize(
    "media_type",
    [
        *("text/plain", "application/xml", "application/octet-stream", "application/x-www-form-urlencoded"),
        *("multipart/form-data; boundary=x", "multipart/form-data", "json", "application/msgpack", "\xff", ";", ""),
    ],
    ids=repr,
)
async def test_registration_with_other_content_type_is_refused(api: httpx.AsyncClient, media_type: str | None) -> None:
    body = new_account(f'"{uuid4()}@example.org"'.encode())
    check_refused(await send(api, "POST", "/auth/register", body, media_type), 400, 415, 422)


@pytest.mark.parametrize(
    "media_type", [None, "text/plain", "application/xml", "application/octet-stream", "application/msgpack", "x", ";"]
)
async def test_change_with_unknown_content_type_gets_415(api: httpx.AsyncClient, media_type: str | None) -> None:
    check_refused(await send(api, "PATCH", "/users/me", b'{"username": "abcd"}', media_type), 415)


def part(name: bytes, value: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n"


END = b"--x--\r\n"
FORMS = {
    "missing-boundary": ("multipart/form-data", part(b"username", b"abcd") + END),
    "empty-boundary": ("multipart/form-data; boundary=", part(b"username", b"abcd") + END),
    "long-boundary": ("multipart/form-data; boundary=" + "x" * 5000, part(b"username", b"abcd") + END),
    "other-boundary": ("multipart/form-data; boundary=y", part(b"username", b"abcd") + END),
    "no-multipart": ("multipart/form-data; boundary=x", b"username=abcd"),
    "cut": ("multipart/form-data; boundary=x", part(b"username", b"abcd")),
    "no-name": ("multipart/form-data; boundary=x", b"--x\r\n\r\nabcd\r\n" + END),
    "1001-parts": ("multipart/form-data; boundary=x", b"".join(part(b"f%d" % it, b"v") for it in range(1001)) + END),
    "nul": ("multipart/form-data; boundary=x", part(b"username", b"ab\0cd") + END),
    "bad-utf8": ("multipart/form-data; boundary=x", part(b"username", b"ab\xff\xfe") + END),
    "file": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="username"; filename="a.txt"\r\n\r\nabcd\r\n' + END,
    ),
    "twice": ("multipart/form-data; boundary=x", part(b"username", b"abcd") + part(b"username", b"efgh") + END),
    "form-nul": (FORM, b"username=ab%00cd"),
    "form-bad-utf8": (FORM, b"username=ab%ff%fe"),
    "form-raw-bytes": (FORM, b"username=ab\xff\xfe"),
    "form-surrogate": (FORM, b"username=ab%ed%a0%80"),
    "form-empty-name": (FORM, b"username="),
    "form-1001-fields": (FORM, b"&".join(b"f%d=v" % it for it in range(1001)) + b"&username=x"),
    "charset": (f"{FORM}; charset=nonsense", b"username=\xff"),
}


@pytest.mark.parametrize("name", FORMS)
async def test_bad_form_is_refused(api: httpx.AsyncClient, name: str) -> None:
    media_type, body = FORMS[name]
    check_refused(await send(api, "PATCH", "/users/me", body, media_type), 400, 413, 415, 422)


async def chunks(size: int) -> AsyncIterator[bytes]:
    head = b'{"username": "'
    yield head
    for start in range(len(head), size, 4096):
        yield b"x" * min(4096, size - start)


@pytest.mark.parametrize(("method", "path"), [("POST", "/auth/register"), ("PATCH", "/users/me")])
@pytest.mark.parametrize("media_type", [JSON, FORM, "multipart/form-data; boundary=x"])
async def test_body_of_more_than_64_kib_gets_413(
    api: httpx.AsyncClient, method: str, path: str, media_type: str
) -> None:
    if method == "PATCH" and media_type.startswith("multipart"):
        return  # may have a file, see tests/controllers/media/test_avatars.py
    for content in (b"x" * (LIMIT + 1), chunks(LIMIT + 1), chunks(10 * LIMIT)):
        response = await api.request(method, path, content=content, headers={"Content-Type": media_type})
        check_refused(response, 413)
    for content in (b"x" * LIMIT, chunks(LIMIT)):
        response = await api.request(method, path, content=content, headers={"Content-Type": media_type})
        if media_type != FORM or method == "POST":  # a form may have unknown fields
            check_refused(response, 400, 415, 422)


async def test_wrong_content_length_is_refused(api: httpx.AsyncClient) -> None:
    headers = {"Content-Type": JSON, "Content-Length": str(LIMIT + 1)}
    check_refused(await api.post("/auth/register", content=b"{}", headers=headers), 413)
    headers["Content-Length"] = "5"
    check_refused(await api.post("/auth/register", content=b"x" * (LIMIT + 1), headers=headers), 400, 413, 422)
    for length in ("x", "-1", "1e3", ""):
        headers["Content-Length"] = length
        check_refused(await api.post("/auth/register", content=b"{}", headers=headers), 400, 413, 422)


RESPONSES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "list": ("GET", "/anime", {}, 200),
    "account": ("GET", "/users/me", {}, 200),
    "page": ("GET", "/docs", {}, 200),
    "asset": ("GET", "/docs/assets/swagger-ui.css", {}, 200),
    "schema": ("GET", "/openapi.json", {}, 200),
    "health": ("GET", "/health/live", {}, 200),
    "unknown": ("GET", "/nope", {}, 404),
    "method": ("PUT", "/anime", {}, 405),
    "invalid": ("POST", "/auth/register", {"content": json.dumps([])}, 422),
    "wrong": ("POST", "/auth/refresh", {"json": {"refresh_token": "x"}}, 401),
    "forbidden": ("GET", "/users", {}, 403),
    "nothing": ("POST", "/auth/logout", {"json": {"refresh_token": "x"}}, 204),
    "long": ("POST", "/auth/register", {"content": b"x" * (LIMIT + 1)}, 413),
    "preflight": ("OPTIONS", "/anime", {"headers": {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}}, 204),
}


@pytest.mark.parametrize("name", RESPONSES)
async def test_response_has_the_security_headers(api: httpx.AsyncClient, name: str) -> None:
    method, path, more, status = RESPONSES[name]
    response = await api.request(method, path, **more)
    assert response.status_code in ({200, 204} if name == "preflight" else {status})
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-frame-options"] == "DENY"
    assert "strict-transport-security" not in response.headers
    if path.startswith(("/auth", "/users")):
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("trusted", "proto", "expected"),
    [
        (("127.0.0.0/8",), "https", True),
        (("127.0.0.0/8",), "http", False),
        (("127.0.0.0/8",), None, False),
        (("127.0.0.0/8",), "HTTPS,", False),
        (("10.0.0.0/8",), "https", False),
        ((), "https", False),
    ],
)
async def test_hsts_is_sent_only_for_https_of_trusted_proxy(
    applications: Applications, trusted: tuple[str, ...], proto: str | None, expected: bool
) -> None:
    async with applications.client_of(trusted_proxies=trusted) as client:
        for path in ("/anime", "/nope", "/users/me"):
            response = await client.get(path, headers={} if proto is None else {"X-Forwarded-Proto": proto})
            assert ("strict-transport-security" in response.headers) is expected
