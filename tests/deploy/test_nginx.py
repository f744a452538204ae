"""Debian's nginx with the nginx.conf of deploy/, as a proxy of the real service."""

import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from sqlalchemy.engine import URL

from kitsu.errors import ServiceUnavailable
from tests.cli.process import Process, free_port, kitsu
from tests.deploy.proxy import NGINX, Proxy, nginx, sink

pytestmark = pytest.mark.skipif(
    NGINX is None and not os.environ.get("KITSU_NGINX"), reason="no nginx on this machine (Debian: apt install nginx)"
)

AWAY = {"code": "SERVICE_UNAVAILABLE", "message": ServiceUnavailable.message, "details": None}


@pytest.fixture(scope="module")
def site(catalogue: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Run the service with nginx as its proxy."""
    folder = tmp_path_factory.mktemp("site")
    service = kitsu(folder, "serve", database=catalogue, TRUSTED_PROXIES="127.0.0.1", METRICS_ENABLED="true")
    with service as server, nginx(folder, server.address) as proxy:
        server.serves()
        assert server.get("/metrics").status_code == 200
        yield proxy


def send(proxy: Proxy, request: bytes) -> tuple[int, bytes]:
    """Send a request as it is; return the status and the body of the response."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(request)
        response = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def get(path: str, headers: str = "Host: localhost\r\n") -> bytes:
    return f"GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode()


LONG = "a" * 40_000


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (get("/anime/x"), 422, "VALIDATION_ERROR"),
        (get("/anime?limit=1", ""), 400, "VALIDATION_ERROR"),
        (get("/anime?limit=1", "Host: a\r\nHost: b\r\n"), 400, "VALIDATION_ERROR"),
        (get("/anime?limit=1", "Host: a b\r\n"), 400, "VALIDATION_ERROR"),
        (b"\x16\x03\x01\x00\xa5\r\n\r\n", 400, "VALIDATION_ERROR"),
        (get("/errors/503"), 404, "NOT_FOUND"),
        (get("/anime?limit=1", "Host: a\r\nContent-Length: -1\r\n"), 400, "VALIDATION_ERROR"),
        (get(f"/anime?x={LONG}"), 431, "VALIDATION_ERROR"),
        (get("/anime", f"Host: a\r\nX: {LONG}\r\n"), 431, "VALIDATION_ERROR"),
        (get("/anime", "Host: a\r\nContent-Length: 7000000\r\n"), 413, "PAYLOAD_TOO_LARGE"),
        *(
            (get(path), 404, "NOT_FOUND")
            for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics", "/metrics%2f")
        ),
        *((get(path), 404, "NOT_FOUND") for path in ("/METRICS", "/x/../metrics", "/./metrics", "/metrics?x=1")),
    ],
)
def test_error_has_the_body_of_kitsu(site: Proxy, request_: bytes, status: int, code: str) -> None:
    response, body = send(site, request_)
    assert response == status
    error = json.loads(body)
    assert error.keys() == {"code", "message", "details"}
    assert error["code"] == code


def test_api_responds_also_to_http_1_0_without_host(site: Proxy) -> None:
    with site.client() as client:
        response = client.get("/search/anime", params={"q": "steins"})
    assert response.status_code == 200
    assert response.json()
    assert send(site, b"GET /anime?limit=1 HTTP/1.0\r\n\r\n")[0] == 200


def test_unavailable_service_is_503_in_the_format_of_kitsu(tmp_path: Path) -> None:
    with nginx(tmp_path, f"127.0.0.1:{free_port()}") as proxy, proxy.client() as client:
        response = client.get("/anime")
    assert (response.status_code, response.json()) == (503, AWAY)
    assert response.headers["retry-after"] == ServiceUnavailable.headers["Retry-After"]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/users/me/avatar", 5_900_000, 200),
        ("/library/import?policy=keep", 33_000_000, 200),
        ("/anime", 6_400_000, 413),
    ],
)
def test_body_above_limit_of_its_path_is_413(tmp_path: Path, path: str, size: int, status: int) -> None:
    port = free_port()
    with sink(port), nginx(tmp_path, f"127.0.0.1:{port}") as proxy, proxy.client() as client:
        assert client.post(path, content=bytes(size)).status_code == status


@contextmanager
def load(proxy: Proxy) -> Iterator[Counter[tuple[str, int]]]:
    """Send requests by four clients, and yield the number of responses by method and status."""
    counts: Counter[tuple[str, int]] = Counter()
    is_over = Event()

    def work() -> None:
        with proxy.client() as client:
            while not is_over.is_set():
                for request in (
                    client.build_request("GET", "/anime?limit=1"),
                    client.build_request("POST", "/auth/logout", json={"refresh_token": "x"}),
                ):
                    response = client.send(request)
                    counts[request.method, response.status_code] += 1
                    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                        assert response.json() == AWAY

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [Thread(target=guarded) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_restart_behind_nginx_is_never_502(catalogue: URL, tmp_path: Path, number: int) -> None:
    ports = [str(free_port()) for _ in range(number)]

    def start(stack: ExitStack, port: str) -> Process:
        service = stack.enter_context(kitsu(tmp_path, "serve", database=catalogue, PORT=port, WORKERS="2"))
        service.serves()
        return service

    with ExitStack() as stack:
        services = [start(stack, port) for port in ports]
        first, *others = [f"127.0.0.1:{port}" for port in ports]
        proxy = stack.enter_context(nginx(tmp_path, first, others=others))
        with load(proxy) as counts:
            for service, port in zip(services, ports, strict=True):
                assert service.ended_by(signal.SIGTERM) == 0
                start(stack, port)
    accepted = {("GET", 200), ("POST", 204)}
    assert counts.keys() >= accepted
    assert counts.keys() - accepted <= {("GET", 503), ("POST", 503)}
    if number == 2:
        assert counts["GET", 503] == 0
        # The old one may end just before a POST that was sent is read; nginx sends none twice.
        assert counts["POST", 503] <= counts["POST", 204] / 1000
