"""Health, liveness, readiness."""

import asyncio
from pathlib import Path

import httpx
from sqlalchemy.engine import URL

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
        {"status": "ok", "checks": {"database": "ok", "migrations": "ok", "media": "ok"}},
    )


async def test_service_without_database_is_503(server: URL) -> None:
    async with client_of(server.set(host="127.0.0.1", port=1, query={})) as client:
        response = await client.get("/health")
        assert (response.status_code, response.json()) == (503, {"status": "error"})
        assert (await client.get("/health/live")).status_code == 200
        response = await client.get("/health/ready")
        assert response.status_code == 503
        checks = {"database": "error", "migrations": "error", "media": "ok"}
        assert response.json() == {"status": "error", "checks": checks}
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
        assert (response.status_code, response.json()) == (503, {"status": "error", "checks": checks})
        assert (await client.get("/health")).status_code == 200


async def test_service_with_another_schema_is_not_ready(database: URL) -> None:
    await execute(database, "UPDATE alembic_version SET version_num = '9999'")
    async with client_of(database) as client:
        response = await client.get("/health/ready")
        assert response.status_code == 503
        checks = {"database": "ok", "migrations": "error", "media": "ok"}
        assert response.json() == {"status": "error", "checks": checks}
        assert (await client.get("/health")).status_code == 200
