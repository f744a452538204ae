"""Health, liveness, readiness."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from tests.application import client_of
from tests.assertions import statements
from tests.databases import execute


async def test_healthy_service_is_ok(reader: httpx.AsyncClient) -> None:
    for path in ("/health", "/health/", "/health/live"):
        response = await reader.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
    response = await reader.get("/health/ready")
    assert (response.status_code, response.json()) == (
        200,
        {
            "status": "ok",
            "checks": {"database": "ok", "migrations": "ok", "media": "ok"},
            "clock_difference_seconds": 0.0,
        },
    )


async def test_service_without_database_is_503(server: URL) -> None:
    async with client_of(server.set(host="127.0.0.1", port=1, query={})) as client:
        response = await client.get("/health")
        assert (response.status_code, response.json()) == (503, {"status": "error"})
        assert (await client.get("/health/live")).status_code == 200
        response = await client.get("/health/ready")
        assert response.status_code == 503
        checks = {"database": "error", "migrations": "error", "media": "ok"}
        assert response.json() == {"status": "error", "checks": checks, "clock_difference_seconds": None}
        response = await client.get("/anime")
        assert response.status_code == 503
        assert response.headers["retry-after"].isdecimal()
        assert response.json() == {
            "code": "SERVICE_UNAVAILABLE",
            "message": "Service temporarily unavailable",
            "details": None,
        }


async def test_concurrent_requests_share_a_statement(reader: httpx.AsyncClient) -> None:
    with statements() as sent:
        responses = await asyncio.gather(*(reader.get("/health") for _ in range(50)))
    assert {response.status_code for response in responses} == {200}
    assert 1 <= len(sent) <= 2


async def test_service_without_media_store_is_not_ready(database: URL, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    async with client_of(database, media_url=f"file://{tmp_path}/file/media") as client:
        response = await client.get("/health/ready")
        checks = {"database": "ok", "migrations": "ok", "media": "error"}
        assert (response.status_code, response.json()["status"], response.json()["checks"]) == (503, "error", checks)
        assert (await client.get("/health")).status_code == 200


async def test_service_with_another_schema_is_not_ready(database: URL) -> None:
    await execute(database, "UPDATE alembic_version SET version_num = '9999'")
    async with client_of(database) as client:
        response = await client.get("/health/ready")
        assert response.status_code == 503
        checks = {"database": "ok", "migrations": "error", "media": "ok"}
        assert (response.json()["status"], response.json()["checks"]) == ("error", checks)
        assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize("seconds", [-30, 30])
async def test_difference_of_clocks_is_reported_and_logged_once(
    reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    for difference, events in ((seconds, 1), (seconds, 0), (0, 0), (seconds, 1), (0, 0)):
        clock = SimpleNamespace(time=lambda: time.time() + difference)  # noqa: B023 - called within this turn
        monkeypatch.setattr("kitsu.domain.operations.clock.time", clock)
        with capture_logs() as lines:
            response = await reader.get("/health/ready")
        assert (response.status_code, response.json()["status"]) == (200, "ok")
        assert response.json()["clock_difference_seconds"] == pytest.approx(difference, abs=5)
        logged = [line for line in lines if line["event"] == "clock difference found"]
        assert [line["log_level"] for line in logged] == ["warning"] * events
