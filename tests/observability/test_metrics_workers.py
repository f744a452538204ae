"""`/metrics` of two workers: each response has the sums of both, and of workers that have ended."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy.engine import URL

from tests.cli.process import Process, kitsu, until
from tests.observability.test_metrics import CREDENTIALS, UNKNOWN_ID, value

pytestmark = pytest.mark.slow

SCRAPES = 60
"""On new connections: enough that both workers get some."""
POOL_SIZE = 3.0
"""Connections of a worker."""


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Create the folder of the service's temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def service(catalogue: URL, tmp_path: Path, temporary: Path) -> Iterator[Process]:
    """Run the service with two workers, and wait until `/metrics` includes both."""
    with kitsu(
        tmp_path,
        "serve",
        database=catalogue,
        METRICS_ENABLED="true",
        WORKERS="2",
        DB_POOL_SIZE="3",
        LOGIN_REFUSAL_MS="0",
        TMPDIR=str(temporary),
    ) as service:
        service.serves()
        service.until(lambda: max_connections(service) == 2 * POOL_SIZE, "/metrics includes both workers")
        yield service


def max_connections(service: Process) -> float | None:
    """Return the sum of the running workers; None if the worker ended during the request."""
    with suppress(httpx.TransportError):
        return value(service.get("/metrics").text, "kitsu_db_connections_max", pool="statements")
    return None


def requests(text: str, route: str, status: str, method: str = "GET") -> float | None:
    return value(text, "kitsu_http_requests_total", method=method, route=route, status=status)


def scrape_both(service: Process) -> list[str]:
    with ThreadPoolExecutor(4) as pool:
        return [response.text for response in pool.map(service.get, ["/metrics"] * SCRAPES)]


def workers(service: Process) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(service.pid).children()
    return found


def send_requests(service: Process, path: str, times: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(service.get, [path] * times))


def test_each_worker_returns_requests_of_both(service: Process) -> None:
    send_requests(service, "/anime?limit=1", 200)
    send_requests(service, f"/anime/{UNKNOWN_ID}", 50)
    send_requests(service, "/anime?limit=0", 30)
    send_requests(service, "/nope", 20)
    service.until(lambda: requests(service.get("/metrics").text, "unknown", "404") == 20, "all requests are counted")
    for text in scrape_both(service):
        assert requests(text, "/anime", "200") == 200
        assert requests(text, "/anime", "422") == 30
        assert requests(text, "/anime/{anime_id}", "404") == 50
        assert requests(text, "unknown", "404") == 20
        assert value(text, "kitsu_http_request_duration_seconds_count", method="GET", route="/anime") == 230
        assert value(text, "kitsu_db_connections_max", pool="statements") == 2 * POOL_SIZE


def test_each_worker_returns_logins_of_both(service: Process) -> None:
    for number in range(12):
        body = CREDENTIALS | {"email": f"{number}@example.org"}
        httpx.post(f"http://{service.address}/auth/login", json=body, trust_env=False)
    wrong = {"outcome": "wrong"}
    service.until(
        lambda: value(service.get("/metrics").text, "kitsu_logins_total", **wrong) == 12, "all requests are counted"
    )
    assert {value(text, "kitsu_logins_total", **wrong) for text in scrape_both(service)} == {12}


def test_killed_worker_keeps_counters_and_loses_gauges(service: Process, temporary: Path) -> None:
    send_requests(service, "/anime?limit=1", 100)
    service.until(lambda: requests(service.get("/metrics").text, "/anime", "200") == 100, "all requests are counted")
    first, _ = workers(service)
    first.kill()
    service.until(lambda: max_connections(service) == POOL_SIZE, "its gauges are removed")
    assert requests(service.get("/metrics").text, "/anime", "200") == 100
    # Its replacement continues the counters.
    service.until(lambda: max_connections(service) == 2 * POOL_SIZE, "its replacement runs")
    send_requests(service, "/anime?limit=1", 100)
    service.until(lambda: requests(service.get("/metrics").text, "/anime", "200") == 200, "all requests are counted")


def test_stopped_service_removes_its_folder(service: Process, temporary: Path) -> None:
    (folder,) = temporary.iterdir()
    assert list(folder.glob("histogram_*.db"))
    assert service.ended_by(signal.SIGTERM) == 0
    assert list(temporary.iterdir()) == []


def test_folder_of_killed_service_is_removed_at_next_start(
    service: Process, catalogue: URL, tmp_path: Path, temporary: Path
) -> None:
    (abandoned,) = temporary.iterdir()
    os.kill(service.pid, signal.SIGKILL)
    until(lambda: not service.left(), "its workers ended")
    with kitsu(tmp_path, "serve", database=catalogue, METRICS_ENABLED="true", TMPDIR=str(temporary)) as second:
        second.serves()
        assert abandoned not in temporary.iterdir()
        assert second.ended_by(signal.SIGTERM) == 0
    assert list(temporary.iterdir()) == []
