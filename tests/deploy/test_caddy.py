"""Debian's Caddy with the shipped Caddyfile, in front of the real service."""

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

# CI installs Caddy and sets KITSU_CADDY, so that nothing is skipped there.
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
"""The Caddyfile's read_header."""


class Site(NamedTuple):
    """The service, and Caddy in front of it."""

    server: Process
    proxy: Proxy


@pytest.fixture(scope="module")
def site(catalogue: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The service as an operator runs it."""
    folder = tmp_path_factory.mktemp("site")
    service = kitsu(folder, "serve", database=catalogue, TRUSTED_PROXIES="127.0.0.1", METRICS_ENABLED="true")
    with service as server, caddy(folder, server.address) as proxy:
        server.serves()
        yield Site(server, proxy)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, int]]:
    """Caddy, and the port where nothing listens yet that it passes requests to."""
    port = free_port()
    with caddy(tmp_path_factory.mktemp("alone"), f"127.0.0.1:{port}") as proxy:
        yield proxy, port


def test_http_is_sent_to_https(site: Site) -> None:
    answer = CLIENT.get(f"http://localhost:{site.proxy.http_port}/anime?limit=1")
    assert answer.status_code == 308
    # Without the port, which is 443 for all that Caddy knows of the outside.
    assert answer.headers["location"] == "https://localhost/anime?limit=1"


def test_the_api_answers_over_tls(site: Site) -> None:
    with site.proxy.client() as client:
        answer = client.get("/search/anime", params={"q": "steins"})
    assert answer.status_code == 200
    assert answer.json()


def test_an_answer_has_each_security_header_once_and_no_name_of_a_server(site: Site) -> None:
    with site.proxy.client() as client:
        for path in ("/health", "/anime", "/nowhere", "/metrics"):
            headers = client.get(path).headers
            assert {name: headers.get_list(name) for name in SECURITY} == {n: [v] for n, v in SECURITY.items()}, path
            assert "server" not in headers


def test_what_kitsu_says_of_a_page_stays(site: Site) -> None:
    with site.proxy.client() as client:
        assert "script-src 'self'" in client.get("/docs").headers["content-security-policy"]
        # Unchanged, so that If-Match of what a client has still holds.
        tags = {client.get("/anime", headers={"Accept-Encoding": e}).headers["etag"] for e in ("gzip", "identity")}
    assert tags == {site.server.get("/anime").headers["etag"]}


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/", "/metrics?name=x", "//metrics", "/%6detrics", "/metrics%2f", "/METRICS", "/x/../metrics"],
)
def test_figures_are_for_nobody_outside(site: Site, path: str) -> None:
    assert site.server.get("/metrics").status_code == 200
    with socket.create_connection(("127.0.0.1", site.proxy.port)) as plain:
        tls = site.proxy.trust.wrap_socket(plain, server_hostname="localhost")
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost:{site.proxy.port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: tls.recv(65536), b""))
        tls.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    assert json.loads(body) == {"code": NotFound.code, "message": NotFound.message, "details": None}


def test_a_clients_word_on_its_address_and_scheme_is_not_believed(site: Site) -> None:
    mark = f"mark-{time.time_ns()}"
    claims = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "X-Request-ID": mark}
    with site.proxy.client("127.0.0.2") as client:
        assert "strict-transport-security" in client.get("/anime", headers=claims).headers
    line = until(lambda: [line for line in site.server.output.splitlines() if mark in line], "the request was logged")
    assert json.loads(line[0])["ip"] == "127.0.0.2"


def test_whoever_says_nothing_or_half_a_header_is_cut_off(site: Site) -> None:
    silent = socket.create_connection(("127.0.0.1", site.proxy.port))
    tls = [
        site.proxy.trust.wrap_socket(
            socket.create_connection(("127.0.0.1", site.proxy.port)), server_hostname="localhost"
        )
        for _ in range(2)
    ]
    half = tls[1]
    half.sendall(b"GET /anime HTTP/1.1\r\nHost: localhost\r\nX-Half: ")
    for waiting in (silent, *tls):
        waiting.settimeout(4 * HEADER_SECONDS)
        while waiting.recv(4096):
            pass
        waiting.close()


def test_a_request_waits_for_a_service_that_starts(alone: tuple[Proxy, int]) -> None:
    proxy, port = alone
    with ThreadPoolExecutor(1) as pool, proxy.client() as client:
        asked = pool.submit(client.get, "/anime")
        time.sleep(0.5)
        with sink(port):
            assert asked.result(20).status_code == 200


def test_a_service_that_is_away_is_503_in_the_form_of_kitsus(alone: tuple[Proxy, int]) -> None:
    with alone[0].client() as client:
        answer = client.get("/anime")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == ServiceUnavailable.headers["Retry-After"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"code": "SERVICE_UNAVAILABLE", "message": ServiceUnavailable.message, "details": None}
    assert {name: answer.headers[name] for name in SECURITY} == SECURITY


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
def test_a_body_is_as_large_as_its_path_takes(
    alone: tuple[Proxy, int], path: str, size: int, status: int, chunked: bool
) -> None:
    # Behind it is what reads whatever comes: Kitsu would refuse most of these before Caddy has to.
    proxy, port = alone
    body = bytes(size)
    with sink(port), proxy.client() as client:
        answer = client.post(path, content=iter([body]) if chunked else body)
    assert answer.status_code == status
    if status == 413:
        assert answer.json()["code"] == "PAYLOAD_TOO_LARGE"
        assert {name: answer.headers[name] for name in SECURITY} == SECURITY
    else:
        assert answer.text == str(size)
