"""`/metrics` of the real service with two workers: whichever answers, it tells of both, and of those before them."""

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

BOTH = 60
"""Scrapes, each on a connection of its own: as good as surely some are answered by either worker."""
LIMIT = 3.0
"""Of the connections of a worker, with `DB_POOL_SIZE` 3."""


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the service keeps temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def service(catalogue: URL, tmp_path: Path, temporary: Path) -> Iterator[Process]:
    """The service with two workers, once both have told of themselves."""
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
        service.until(lambda: limit_of(service) == 2 * LIMIT, "both workers told of themselves")
        yield service


def limit_of(service: Process) -> float | None:
    """The sum over the living workers; None when a worker dies over the question."""
    with suppress(httpx.TransportError):
        return value(service.get("/metrics").text, "kitsu_db_connections_max", pool="statements")
    return None


def requests(text: str, route: str, status: str, method: str = "GET") -> float | None:
    return value(text, "kitsu_http_requests_total", method=method, route=route, status=status)


def scrapes(service: Process) -> list[str]:
    with ThreadPoolExecutor(4) as pool:
        return [response.text for response in pool.map(service.get, ["/metrics"] * BOTH)]


def workers(service: Process) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(service.pid).children()
    return found


def ask(service: Process, path: str, times: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(service.get, [path] * times))


def test_any_worker_tells_of_all(service: Process) -> None:
    ask(service, "/anime?limit=1", 200)
    ask(service, f"/anime/{UNKNOWN_ID}", 50)
    ask(service, "/anime?limit=0", 30)
    ask(service, "/nope", 20)
    service.until(lambda: requests(service.get("/metrics").text, "unknown", "404") == 20, "all was written down")
    for text in scrapes(service):
        assert requests(text, "/anime", "200") == 200
        assert requests(text, "/anime", "422") == 30
        assert requests(text, "/anime/{anime_id}", "404") == 50
        assert requests(text, "unknown", "404") == 20
        assert value(text, "kitsu_http_request_duration_seconds_count", method="GET", route="/anime") == 230
        assert value(text, "kitsu_db_connections_max", pool="statements") == 2 * LIMIT


def test_logins_of_both_are_one_sum(service: Process) -> None:
    for number in range(12):
        body = CREDENTIALS | {"email": f"{number}@example.org"}
        httpx.post(f"http://{service.address}/auth/login", json=body, trust_env=False)
    wrong = {"outcome": "wrong"}
    service.until(
        lambda: value(service.get("/metrics").text, "kitsu_logins_total", **wrong) == 12, "all was written down"
    )
    assert {value(text, "kitsu_logins_total", **wrong) for text in scrapes(service)} == {12}


def test_of_a_killed_worker_the_counters_stay_and_the_gauges_go(service: Process, temporary: Path) -> None:
    ask(service, "/anime?limit=1", 100)
    service.until(lambda: requests(service.get("/metrics").text, "/anime", "200") == 100, "all was written down")
    first, _ = workers(service)
    first.kill()
    service.until(lambda: limit_of(service) == LIMIT, "its gauges were gone")
    assert requests(service.get("/metrics").text, "/anime", "200") == 100
    # Another one takes its place, and goes on where it stood.
    service.until(lambda: limit_of(service) == 2 * LIMIT, "there was another one")
    ask(service, "/anime?limit=1", 100)
    service.until(lambda: requests(service.get("/metrics").text, "/anime", "200") == 200, "all was written down")


def test_the_folder_goes_with_the_service(service: Process, temporary: Path) -> None:
    (folder,) = temporary.iterdir()
    assert list(folder.glob("histogram_*.db"))
    assert service.ended_by(signal.SIGTERM) == 0
    assert list(temporary.iterdir()) == []


def test_what_a_killed_service_leaves_goes_with_the_next(
    service: Process, catalogue: URL, tmp_path: Path, temporary: Path
) -> None:
    (left,) = temporary.iterdir()
    os.kill(service.pid, signal.SIGKILL)
    until(lambda: not service.left(), "its workers ended")
    with kitsu(tmp_path, "serve", database=catalogue, METRICS_ENABLED="true", TMPDIR=str(temporary)) as second:
        second.serves()
        assert left not in temporary.iterdir()
        assert second.ended_by(signal.SIGTERM) == 0
    assert list(temporary.iterdir()) == []
