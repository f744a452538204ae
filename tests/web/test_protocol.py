"""Requests that break or stretch HTTP/1.1, over a socket to the real service: a right status, no 5xx, no hang."""

import json
import re
import socket
from collections.abc import Iterator

import pytest
from sqlalchemy.engine import URL

from tests.cli.process import Process, kitsu

HOST = b"Host: kitsu\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
TIMEOUT_SECONDS = 8
"""Less than the server's timeout for headers."""


@pytest.fixture(scope="module")
def service(catalogue: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Run the service; at the end no request may have been a bug."""
    with kitsu(tmp_path_factory.mktemp("service"), "serve", database=catalogue, METRICS_ENABLED="true") as service:
        service.serves()
        yield service
        service.serves()
        assert '"level":"error"' not in service.output
        assert service.errors == ""


def get(
    target: bytes = b"/anime?limit=1", headers: bytes = HOST, version: bytes = b"1.1", method: bytes = b"GET"
) -> bytes:
    """Return a request without a body."""
    return b"%s %s HTTP/%s\r\n%s%s\r\n" % (method, target, version, headers, CLOSE)


def post(headers: bytes, body: bytes, version: bytes = b"1.1") -> bytes:
    """Return a request with a body."""
    headers = HOST + b"Content-Type: application/json\r\n" + headers
    return get(b"/auth/logout", headers, version, b"POST") + body


def many(count: int) -> bytes:
    """Return a number of headers with different names."""
    return b"".join(b"X-%d: a\r\n" % number for number in range(count))


LOGOUT = b'{"refresh_token":"x"}'
LENGTH = b"Content-Length: %d\r\n" % len(LOGOUT)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(LOGOUT), LOGOUT)

HANDLED: dict[str, tuple[bytes, int]] = {
    # Host
    "one host": (get(), 200),
    "host with port": (get(headers=b"Host: [::1]:8000\r\n"), 200),
    "no host": (get(headers=b""), 400),
    "empty host": (get(headers=b"Host:\r\n"), 400),
    "two hosts": (get(headers=HOST + b"Host: other\r\n"), 400),
    "one host twice": (get(headers=HOST * 2), 400),
    "host with space": (get(headers=b"Host: a b\r\n"), 400),
    "host with markup": (get(headers=b"Host: <script>\r\n"), 400),
    "host with path": (get(headers=b"Host: kitsu/x\r\n"), 400),
    "unknown path without host": (get(b"/nowhere", b""), 400),
    "metrics without host": (get(b"/metrics", b""), 400),
    "HTTP/1.0 without host": (get(headers=b"", version=b"1.0"), 200),
    "HTTP/1.0 with two hosts": (get(headers=HOST * 2, version=b"1.0"), 400),
    # request line
    "absolute target": (get(b"http://kitsu/anime?limit=1"), 200),
    "absolute target of another host": (get(b"http://example.org/anime?limit=1"), 200),
    "asterisk": (get(b"*", method=b"OPTIONS"), 404),
    "authority": (get(b"kitsu:80", method=b"CONNECT"), 404),
    "target without slash": (get(b"anime"), 404),
    "target of 30 KB": (get(b"/anime?x=" + b"a" * 30_000), 422),
    "lower-case method": (get(method=b"get"), 405),
    "unknown method": (get(method=b"BREW"), 405),
    "long method": (get(method=b"A" * 20_000), 405),
    "TRACE": (get(method=b"TRACE"), 405),
    # paths
    "path with NUL": (get(b"/anime/%00"), 422),
    "unknown path with NUL": (get(b"/%00"), 404),
    "path that is not UTF-8": (get(b"/anime/%ff%fe"), 422),
    "unknown path that is not UTF-8": (get(b"/%ff"), 404),
    "path with bad escape": (get(b"/anime/%zz"), 422),
    "two slashes": (get(b"//anime?limit=1"), 200),
    "dots": (get(b"/docs/../anime"), 404),
    "escaped dots": (get(b"/docs/%2e%2e/anime"), 404),
    "dots in media": (get(b"/media/avatars/../../../etc/passwd"), 404),
    "escaped dots in media": (get(b"/media/avatars/..%2f..%2f..%2fetc%2fpasswd"), 404),
    "NUL in media": (get(b"/media/avatars/%00.webp"), 404),
    "query that is not UTF-8": (get(b"/search/anime?q=%ff%fe"), 422),
    "query with NUL": (get(b"/search/anime?q=%00%00"), 422),
    # headers
    "header of 30 KB": (get(headers=HOST + b"X: %s\r\n" % (b"a" * 30_000)), 200),
    "90 headers": (get(headers=HOST + many(90)), 200),
    "header that is not ASCII": (get(headers=HOST + b"X: \xff\xfe\r\n"), 200),
    "request id that is not ASCII": (get(headers=HOST + b"X-Request-ID: \xff\r\n"), 200),
    "upgrade to websocket": (get(headers=HOST + b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"), 200),
    "upgrade to HTTP/2": (get(headers=HOST + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), 200),
    # the length of a body
    "length": (post(LENGTH, LOGOUT), 204),
    "one length twice": (post(LENGTH * 2, LOGOUT), 204),
    "length of 100 GB": (post(b"Content-Length: 99999999999\r\n", b"{}"), 413),
    "chunks": (post(CHUNKED, CHUNKS), 204),
    # RFC 9112 lets the server use the chunks.
    "length and chunks": (post(LENGTH + CHUNKED, CHUNKS), 204),
    "chunks and length": (post(CHUNKED + LENGTH, CHUNKS), 204),
    "chunks with trailer": (post(CHUNKED, CHUNKS[:-2] + b"X: y\r\n\r\n"), 204),
    "chunked twice": (post(CHUNKED * 2, CHUNKS), 400),
    "gzip and chunked": (post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS), 400),
    "chunk without size": (post(CHUNKED, b"zz\r\n{}\r\n0\r\n\r\n"), 400),
    "chunk beyond its size": (post(CHUNKED, b"2\r\n{}xx\r\n0\r\n\r\n"), 400),
    "chunk beyond 64 bits": (post(CHUNKED, b"ffffffffffffffffff\r\n{}"), 400),
    "chunk extension of 40 KB": (post(CHUNKED, b"2;a=%s\r\n{}\r\n0\r\n\r\n" % (b"b" * 40_000)), 400),
    "expectation": (post(LENGTH + b"Expect: 100-continue\r\n", LOGOUT), 100),
    "unknown expectation": (post(LENGTH + b"Expect: x\r\n", LOGOUT), 204),
}
UNREADABLE: dict[str, tuple[bytes, int]] = {
    "no target": (get(b""), 400),
    "control character in target": (get(b"/a\x01"), 400),
    "raw bytes in target": (get(b"/\xff\xfe"), 400),
    "target of 300 KB": (get(b"/anime?x=" + b"a" * 300_000), 431),
    "method with parenthesis": (get(method=b"G(T"), 400),
    "HTTP/0.9": (b"GET /anime\r\n\r\n", 400),
    "HTTP/1.2": (get(version=b"1.2"), 400),
    "HTTP/3.0": (get(version=b"3.0"), 400),
    "TLS": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400),
    "header of 300 KB": (get(headers=HOST + b"X: %s\r\n" % (b"a" * 300_000)), 431),
    "1,000 headers": (get(headers=HOST + many(1000)), 431),
    "header with NUL": (get(headers=HOST + b"X: a\0b\r\n"), 400),
    "header without name": (get(headers=HOST + b": a\r\n"), 400),
    "header without colon": (get(headers=HOST + b"abc\r\n"), 400),
    "space before colon": (get(headers=HOST + b"X : a\r\n"), 400),
    "folded header": (get(headers=HOST + b"X: a\r\n b\r\n"), 400),
    "two lengths": (post(LENGTH + b"Content-Length: 3\r\n", LOGOUT), 400),
    "list of lengths": (post(b"Content-Length: 2, 2\r\n", b"{}"), 400),
    "negative length": (post(b"Content-Length: -2\r\n", b"{}"), 400),
    "length with sign": (post(b"Content-Length: +2\r\n", b"{}"), 400),
    "length beyond 64 bits": (post(b"Content-Length: 99999999999999999999999\r\n", b"{}"), 400),
    "unknown encoding": (post(b"Transfer-Encoding: xchunked\r\n", CHUNKS), 400),
    "identity": (post(b"Transfer-Encoding: identity\r\n", LOGOUT), 400),
    "chunks of HTTP/1.0": (post(CHUNKED, CHUNKS, version=b"1.0"), 400),
}
"""Requests that Granian rejects itself, without a body; docs/api.md says so."""


def response_to(service: Process, request: bytes) -> bytes:
    """Return all that the service sends before it closes the connection."""
    host, _, port = service.address.partition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS) as connection:
        try:
            connection.sendall(request)
            while piece := connection.recv(65_536):
                received += piece
        except ConnectionError:  # it has closed the connection before the end of a long request
            pass
    return received


@pytest.mark.parametrize("name", HANDLED)
def test_request_gets_its_status(service: Process, name: str) -> None:
    request, status = HANDLED[name]
    head, _, body = response_to(service, request).partition(b"\r\n\r\n")
    version = b"1.0" if b" HTTP/1.0\r\n" in request else b"1.1"
    assert head.startswith(b"HTTP/%s %d " % (version, status)), (head[:80], body[:200])
    if status >= 400:
        assert set(json.loads(body)) == {"code", "message", "details"}
        assert b"x-content-type-options: nosniff" in head
        assert b"x-request-id: " in head


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_request_is_rejected_and_its_connection_closed(service: Process, name: str) -> None:
    request, status = UNREADABLE[name]
    head, _, body = response_to(service, request).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), (head[:80], body[:200])
    assert b"connection: close" in head.lower()
    assert body == b""


def test_expected_body_is_read_after_100(service: Process) -> None:
    responses = response_to(service, HANDLED["expectation"][0])
    assert [line for line in responses.split(b"\r\n") if line.startswith(b"HTTP/")] == [
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 204 No Content",
    ]


def test_http2_without_negotiation_is_closed(service: Process) -> None:
    assert response_to(service, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") in {b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"}


def test_pipelined_requests_get_their_responses_in_order(service: Process) -> None:
    kept = [get(target).replace(CLOSE, b"") for target in (b"/health/live", b"/nowhere")]
    responses = response_to(service, b"".join([*kept, get(b"/health")]))
    assert re.findall(rb"HTTP/1.1 (\d+)", responses) == [b"200", b"404", b"200"]


METRICS = (b"/metrics/", b"//metrics", b"/metrics//", b"/metrics%2f", b"/METRICS", b"/./metrics", b"/%6detrics")


@pytest.mark.parametrize("target", [*METRICS, b"/x/../metrics", b"/metrics;x", b"/metrics%00"])
def test_only_the_exact_path_has_the_metrics(service: Process, target: bytes) -> None:
    assert response_to(service, get(b"/metrics")).startswith(b"HTTP/1.1 200")
    assert response_to(service, get(b"/metrics?x=1")).startswith(b"HTTP/1.1 200")
    response = response_to(service, get(target))
    assert response.startswith(b"HTTP/1.1 404")
    assert b"kitsu_" not in response
