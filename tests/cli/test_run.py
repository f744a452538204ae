"""`kitsu run` and `kitsu serve` as processes: preparation, responses and logs."""

import asyncio
import json
import os
import pty
import re
import signal
from pathlib import Path

import psutil
import pytest
from sqlalchemy.engine import URL

from kitsu import errors as kitsu_errors
from kitsu.db import migrations
from tests.cli.process import Process, kitsu, server_folder, until
from tests.databases import execute

ANIME = {
    "sources": ["https://myanimelist.net/anime/9000001", "https://example.org/anime/x"],
    "title": "Zzyzx Road Stories",
    "type": "TV",
    "episodes": 2,
    "status": "ONGOING",
    "animeSeason": {"season": "FALL", "year": 2026},
    "synonyms": [],
    "studios": [],
    "producers": [],
    "tags": [],
    "relatedAnime": [],
}


def workers(service: Process) -> list[int]:
    """Return the ids of the worker processes."""
    return sorted(child.pid for child in psutil.Process(service.pid).children())


def titles(service: Process) -> list[str]:
    """Return the newest 100 titles of the catalogue."""
    return [anime["title"] for anime in service.get("/anime?limit=100").json()]


def test_run_on_empty_machine_prepares_and_serves() -> None:
    """A first start, an import meanwhile, and a second start, all on the embedded PostgreSQL."""
    with server_folder() as folder:
        _from_nothing(folder)


def _from_nothing(folder: Path) -> None:
    with kitsu(folder, "run") as service:
        service.serves()
        assert f"Migrated the database from nothing to {migrations.head()}." in service.output
        assert "Loaded the sample catalogue, 60 anime" in service.output
        assert re.search(rf"the API on http://{service.address}\b.* http://{service.address}/docs\n", service.output)
        assert len(titles(service)) == 60
        assert service.get("/docs").headers["content-type"].startswith("text/html")
        assert service.get("/openapi.json").json()["openapi"].startswith("3.1")

        (folder / "catalogue.jsonl").write_text(json.dumps({"license": {}}) + "\n" + json.dumps(ANIME) + "\n")
        with kitsu(folder, "import-catalogue", "catalogue.jsonl") as importing:
            assert importing.process.wait(30) == 0, importing.errors
            assert "1 added" in importing.output
        assert titles(service)[0] == ANIME["title"]
        assert service.ended_by(signal.SIGTERM) == 0

    with kitsu(folder, "run") as service:
        service.serves()
        assert "Migrated" not in service.output
        assert "Loaded" not in service.output
        assert ANIME["title"] in titles(service)
        assert service.ended_by(signal.SIGINT, group=True) == 0


@pytest.mark.slow
def test_run_with_reload_restarts_worker_after_change_of_file(tmp_path: Path, database: URL) -> None:
    with kitsu(tmp_path, "run", "--reload", database=database) as service:
        service.serves()
        old = workers(service)
        Path(kitsu_errors.__file__).touch()
        service.until(lambda: (new := workers(service)) and not set(new) & set(old), "the worker has restarted")
        service.serves()


@pytest.mark.slow
def test_run_with_filled_catalogue_loads_no_sample(tmp_path: Path, database: URL) -> None:
    asyncio.run(execute(database, "INSERT INTO anime (id, title) VALUES (gen_random_uuid(), 'Mine')"))
    (tmp_path / ".env").write_text("APP_NAME=From the file\nPORT=1\nLOG_LEVEL=warning\n")
    with kitsu(tmp_path, "run", database=database) as service:
        service.serves()
        assert titles(service) == ["Mine"]
        assert service.ended_by(signal.SIGTERM) == 0
        banner, *logged = service.output.splitlines()
    assert banner.startswith("From the file serves the API")
    # No message about a sample and no log line below the level; a slow database may log a warning.
    assert [line for line in logged if '"level":"warning"' not in line] == []


@pytest.mark.slow
def test_serve_with_database_in_parts_passes_url_to_workers(tmp_path: Path, catalogue: URL) -> None:
    """The URL that `serve` makes may have characters that need quoting."""
    socket, name = str(catalogue.query["host"]), str(catalogue.database)
    with kitsu(
        tmp_path, "serve", DB_HOST=socket, DB_NAME=name, DB_USER="postgres", DB_PASSWORD="p@ss:w/rd%?#"
    ) as service:
        service.serves()
        assert len(titles(service)) == 60


@pytest.mark.slow
def test_serve_with_host_name_listens(tmp_path: Path, catalogue: URL) -> None:
    with kitsu(tmp_path, "serve", database=catalogue, HOST="localhost") as service:
        service.serves()
        assert "http://localhost:" in service.output


@pytest.mark.slow
def test_killed_worker_is_replaced(tmp_path: Path, catalogue: URL) -> None:
    with kitsu(tmp_path, "serve", database=catalogue, WORKERS="2") as service:
        for worker in ("worker-1", "worker-2"):
            service.prints(f"Started {worker}")
        first, second = workers(service)
        for number, killed in ((3, first), (4, second)):
            os.kill(killed, signal.SIGKILL)
            service.serves()
            service.until(lambda: service.output.count("Started worker-") == number, "a new worker started")  # noqa: B023
            assert len({*workers(service)} - {killed}) == 2
        assert service.ended_by(signal.SIGTERM) == 0


@pytest.mark.slow
def test_workers_end_with_a_killed_service(tmp_path: Path, catalogue: URL) -> None:
    """Workers that stay would keep the port, and the next start would fail."""
    for moment in ("Spawning worker-1", "Started worker-1"):
        with kitsu(tmp_path, "serve", database=catalogue) as service:
            service.prints(moment)
            os.kill(service.pid, signal.SIGKILL)
            service.process.wait(10)
            until(lambda: not service.left(), "the workers were gone", seconds=5)


def test_logs_without_terminal_are_json_lines(tmp_path: Path, catalogue: URL) -> None:
    with kitsu(tmp_path, "serve", database=catalogue) as service:
        service.serves()
        service.get("/anime?genres=secret-of-the-query")
        assert service.ended_by(signal.SIGTERM) == 0
        assert service.errors == ""
        assert "secret-of-the-query" not in service.output
        banner, *lines = service.output.splitlines()
    assert banner.startswith("Kitsu serves the API")
    events = [json.loads(line) for line in lines]
    assert all({"event", "level", "time"} <= event.keys() for event in events)
    (request,) = (event for event in events if event.get("route") == "/anime")
    assert (request["method"], request["status"]) == ("GET", 200)
    assert request["ms"] > 0
    assert request["request_id"]


def test_logs_on_terminal_are_readable(tmp_path: Path, catalogue: URL) -> None:
    screen, terminal = pty.openpty()
    try:
        with kitsu(tmp_path, "serve", database=catalogue, stdout=terminal) as service:
            service.serves()
            assert service.ended_by(signal.SIGTERM) == 0
        shown = os.read(screen, 1 << 16).decode()
    finally:
        os.close(screen)
        os.close(terminal)
    assert "Kitsu serves the API" in shown
    assert "request" in shown
    assert not re.search(r"^\s*\{", shown, re.MULTILINE)
