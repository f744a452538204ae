"""One log line per request, as JSON, without paths, queries and values of the client."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import httpx
import msgspec
import pytest
import structlog
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from kitsu.domain.catalogue.anime import AnimeReader
from kitsu.observability.logs import RequestLines, configure_logs, of_request, with_request
from tests.conftest import execute

UNKNOWN_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Configure the logs as a worker process does, for one test."""
    before = structlog.get_config()
    # The standard library's configuration would outlive the test and its stdout.
    monkeypatch.setattr("logging.config.dictConfig", lambda _: None)
    configure_logs("info")
    structlog.configure(cache_logger_on_first_use=False)
    yield
    structlog.configure(**before)


@contextmanager
def requests_logged() -> Iterator[list[dict[str, Any]]]:
    """Yield the lines of requests in the block. Any other log event fails the test."""
    lines: list[dict[str, Any]] = []
    with (
        patch.object(RequestLines, "write", lambda _, line: lines.append(msgspec.to_builtins(line))),
        capture_logs([with_request]) as others,
    ):
        yield lines
    assert others == []


async def lines_of(client: httpx.AsyncClient, method: str, path: str) -> list[dict[str, Any]]:
    with requests_logged() as lines:
        await client.request(method, path, headers={"X-Request-ID": "the-request"})
    return lines


async def test_successful_liveness_probe_writes_no_line(reader: httpx.AsyncClient) -> None:
    assert await lines_of(reader, "GET", "/health/live") == []
    assert len(await lines_of(reader, "POST", "/health/live")) == 1


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        *(("GET", "/anime?limit=1&status=secret", "/anime", 200), ("GET", "/anime/?genres=secret", "/anime", 200)),
        *(("GET", "/search/anime?q=secret", "/search/anime", 200), ("GET", "/search/anime?q=s", "/search/anime", 400)),
        ("GET", f"/anime/{UNKNOWN_ID}", "/anime/{anime_id}", 404),
        *(("GET", "/anime/secret", "/anime/{anime_id}", 422), ("GET", "/anime?year=secret", "/anime", 422)),
        *(("GET", f"/releases/{UNKNOWN_ID}/", "/releases/{release_id}", 404), ("GET", "/health/", "/health", 200)),
        *(("GET", f"/episodes?release_id={UNKNOWN_ID}", "/episodes", 404), ("GET", "/docs?secret", "/docs", 200)),
        *(("GET", "/docs/assets/secret", "/docs/assets/{name}", 404), ("OPTIONS", "/anime?secret", "/anime", 204)),
        *(("GET", "/secret?secret=secret", None, 404), ("POST", "/secret/secret", None, 404), ("GET", "/", None, 404)),
    ],
)
async def test_request_writes_one_line_without_its_values(
    reader: httpx.AsyncClient, method: str, path: str, route: str | None, status: int
) -> None:
    (line,) = await lines_of(reader, method, path)
    assert isinstance(line.pop("ms"), float)
    assert {line.pop("event"), line.pop("level")} == {"request finished", "info"}
    assert line.pop("time").endswith("Z")
    assert line == {
        "method": method, "route": route, "status": status,
        "request_id": "the-request",
        "ip": "127.0.0.1",
    }  # fmt: skip


async def test_wrong_method_preflight_and_304_write_a_line(reader: httpx.AsyncClient) -> None:
    (line,) = await lines_of(reader, "PATCH", f"/anime?{UNKNOWN_ID}")
    assert (line["method"], line["status"]) == ("PATCH", 405)
    with requests_logged() as lines:
        headers = {"Origin": "https://secret.example", "Access-Control-Request-Method": "GET"}
        await reader.options("/anime?secret", headers=headers)
        await reader.get("/anime", headers={"If-None-Match": "*"})
    assert [line["status"] for line in lines] == [204, 304]
    assert "secret" not in str(lines)


async def test_concurrent_requests_log_the_ids_of_their_responses(reader: httpx.AsyncClient) -> None:
    with requests_logged() as lines:
        responses = await asyncio.gather(*(reader.get(f"/anime?limit={limit}") for limit in range(1, 21)))
    assert sorted(line["request_id"] for line in lines) == sorted(it.headers["x-request-id"] for it in responses)
    assert len({line["request_id"] for line in lines}) == 20
    assert of_request.get() == {}


async def test_lines_on_stdout_are_json_without_personal_data(
    reader: httpx.AsyncClient, configured: None, capsys: pytest.CaptureFixture[str]
) -> None:
    await reader.get(f"/anime/{UNKNOWN_ID}?secret=secret", headers={"X-Request-ID": "one"})
    await reader.get("/nope/secret", headers={"X-Request-ID": "two\n", "User-Agent": "secret", "Cookie": "secret"})
    out = capsys.readouterr().out
    assert "secret" not in out
    assert UNKNOWN_ID not in out
    first, second = (msgspec.json.decode(line, type=dict[str, Any]) for line in out.splitlines())
    assert set(first) == {"event", "method", "route", "status", "ms", "request_id", "ip", "level", "time"}
    assert (first["event"], first["request_id"], first["status"]) == ("request finished", "one", 404)
    assert first["route"] == "/anime/{anime_id}"
    assert first["time"].endswith("Z")
    assert (second["route"], second["status"]) == (None, 404)
    assert second["request_id"] not in {"", "two\n"}


async def test_bug_writes_one_more_line_with_its_traceback(
    reader: httpx.AsyncClient, configured: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("what\nwent wrong")

    monkeypatch.setattr(AnimeReader, "page", fail)
    response = await reader.get("/anime", headers={"X-Request-ID": "one"})
    assert response.status_code == 500
    error, request = (
        msgspec.json.decode(line, type=dict[str, Any]) for line in capsys.readouterr().out.splitlines()
    )  # fmt: skip
    assert (error["level"], error["error"], error["request_id"]) == ("error", "RuntimeError", "one")
    assert "Traceback" in error["exception"]
    assert "what\nwent wrong" in error["exception"]
    assert (request["event"], request["status"], request["request_id"]) == ("request finished", 500, "one")


async def test_failed_statement_logs_no_values(
    database: URL, client: httpx.AsyncClient, configured: None, capsys: pytest.CaptureFixture[str]
) -> None:
    await execute(database, "DROP TABLE anime CASCADE")
    for path in ("/search/anime?q=secret", "/anime?status=secret&genres=secret", f"/anime/{UNKNOWN_ID}"):
        assert (await client.get(path)).status_code == 500
    out = capsys.readouterr().out
    assert out.count('"internal error"') == 3
    assert "secret" not in out
    assert UNKNOWN_ID not in out
