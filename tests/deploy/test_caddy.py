"""Debian's Caddy with the Caddyfile of deploy/, as a proxy of the real service."""

import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from sqlalchemy.engine import URL

from kitsu.errors import NotFound, ServiceUnavailable
from tests.cli.process import CLIENT, Process, free_port, kitsu, until
from tests.deploy.proxy import CADDY, Proxy, caddy, sink

# CI installs Caddy and sets KITSU_CADDY, so that it skips no test.
pytestmark = pytest.mark.skipif(
    CADDY is None and not os.environ.get("KITSU_CADDY"), reason="no Caddy on this machine (Debian: apt install caddy)"
)

SECURITY = {
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "cross-origin-opener-policy": "same-origin",
}
HEADER_SECONDS = 5
"""`read_header` of the Caddyfile."""


class Site(NamedTuple):
    """The service and its proxy."""

    server: Process
    proxy: Proxy


@pytest.fixture(scope="module")
def site(catalogue: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the service with Caddy as its proxy."""
    folder = tmp_path_factory.mktemp("site")
    service = kitsu(folder, "serve", database=catalogue, TRUSTED_PROXIES="127.0.0.1", METRICS_ENABLED="true")
    with service as server, caddy(folder, server.address) as proxy:
        server.serves()
        yield Site(server, proxy)


@pytest.fixture(scope="module")
def without_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, int]]:
    """Run Caddy without an upstream, and yield it with the free port of the upstream."""
    port = free_port()
    with caddy(tmp_path_factory.mktemp("caddy"), f"127.0.0.1:{port}") as proxy:
        yield proxy, port


def test_http_is_redirected_to_https(site: Site) -> None:
    response = CLIENT.get(f"http://localhost:{site.proxy.http_port}/anime?limit=1")
    assert response.status_code == 308
    # Caddy assumes the port 443, and omits it.
    assert response.headers["location"] == "https://localhost/anime?limit=1"


def test_api_responds_over_tls(site: Site) -> None:
    with site.proxy.client() as client:
        response = client.get("/search/anime", params={"q": "steins"})
    assert response.status_code == 200
    assert response.json()


def test_response_has_each_security_header_once_and_no_server_header(site: Site) -> None:
    with site.proxy.client() as client:
        for path in ("/health", "/anime", "/nowhere", "/metrics"):
            headers = client.get(path).headers
            assert {name: headers.get_list(name) for name in SECURITY} == {n: [v] for n, v in SECURITY.items()}, path
            assert "server" not in headers


def test_headers_of_kitsu_are_kept(site: Site) -> None:
    with site.proxy.client() as client:
        assert "script-src 'self'" in client.get("/docs").headers["content-security-policy"]
        # A changed ETag would break If-Match.
        tags = [client.get("/anime", headers={"Accept-Encoding": e}).headers["etag"] for e in ("gzip", "identity")]
    assert tags == [f"W/{tags[1]}", site.server.get("/anime").headers["etag"].removeprefix("W/")]


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/", "/metrics?name=x", "//metrics", "/%6detrics", "/metrics%2f", "/METRICS", "/x/../metrics"],
)
def test_metrics_path_from_outside_is_404(site: Site, path: str) -> None:
    assert site.server.get("/metrics").status_code == 200
    with socket.create_connection(("127.0.0.1", site.proxy.port)) as plain:
        tls = site.proxy.tls.wrap_socket(plain, server_hostname="localhost")
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost:{site.proxy.port}\r\nConnection: close\r\n\r\n".encode())
        response = b"".join(iter(lambda: tls.recv(65536), b""))
        tls.close()
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    assert json.loads(body) == {"code": NotFound.code, "message": NotFound.message, "details": None}


def test_forwarded_headers_of_client_are_ignored(site: Site) -> None:
    request_id = f"request-{time.time_ns()}"
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "X-Request-ID": request_id}
    with site.proxy.client("127.0.0.2") as client:
        assert "strict-transport-security" in client.get("/anime", headers=forged).headers
    line = until(
        lambda: [line for line in site.server.output.splitlines() if request_id in line], "the request was logged"
    )
    assert json.loads(line[0])["ip"] == "127.0.0.2"


def test_client_without_complete_header_is_disconnected(site: Site) -> None:
    silent = socket.create_connection(("127.0.0.1", site.proxy.port))
    tls = [
        site.proxy.tls.wrap_socket(
            socket.create_connection(("127.0.0.1", site.proxy.port)), server_hostname="localhost"
        )
        for _ in range(2)
    ]
    tls[1].sendall(b"GET /anime HTTP/1.1\r\nHost: localhost\r\nX-Incomplete: ")
    for connection in (silent, *tls):
        connection.settimeout(4 * HEADER_SECONDS)
        while connection.recv(4096):
            pass
        connection.close()


def test_request_waits_for_starting_service(without_upstream: tuple[Proxy, int]) -> None:
    proxy, port = without_upstream
    with ThreadPoolExecutor(1) as pool, proxy.client() as client:
        pending = pool.submit(client.get, "/anime")
        time.sleep(0.5)
        with sink(port):
            assert pending.result(20).status_code == 200


def test_unavailable_service_is_503_in_the_format_of_kitsu(without_upstream: tuple[Proxy, int]) -> None:
    with without_upstream[0].client() as client:
        response = client.get("/anime")
    assert response.status_code == 503
    assert response.headers["retry-after"] == ServiceUnavailable.headers["Retry-After"]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"code": "SERVICE_UNAVAILABLE", "message": ServiceUnavailable.message, "details": None}
    assert {name: response.headers[name] for name in SECURITY} == SECURITY


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/users/me/avatar", 5_900_000, 200),
        ("/users/me/avatar", 6_100_000, 413),
        ("/library/import?policy=keep", (32 << 20) + 65_536, 200),
        ("/library/import", 35_000_000, 413),
        ("/library/import/x", 6_100_000, 413),
    ],
)
def test_body_above_limit_of_its_path_is_413(
    without_upstream: tuple[Proxy, int], path: str, size: int, status: int, chunked: bool
) -> None:
    # The sink accepts every body; Kitsu would reject most of these before Caddy does.
    proxy, port = without_upstream
    body = bytes(size)
    with sink(port), proxy.client() as client:
        response = client.post(path, content=iter([body]) if chunked else body)
    assert response.status_code == status
    if status == 413:
        assert response.json()["code"] == "PAYLOAD_TOO_LARGE"
        assert {name: response.headers[name] for name in SECURITY} == SECURITY
    else:
        assert response.text == str(size)
