"""Imports of lists that are too large for a request: jobs, their progress and their failures."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy.engine import URL

from kitsu.domain.jobs import QUEUE
from kitsu.domain.viewer.list_import.steps import import_upload
from kitsu.jobs import viewer as viewer_jobs
from tests.controllers.viewer.imported_lists import as_json, bring, fields_of, known_anime, row
from tests.databases import engine_of, execute
from tests.factories import Backend, Viewer, backend_of
from tests.jobs.working import finished, until, working

ROWS = 5_001
NO_LIST = b" " * (5 << 20) + b"{}"


@pytest.fixture
async def backend(server: URL, template: URL) -> AsyncIterator[Backend]:
    async with backend_of(server, template) as backend:
        yield backend


def large_list() -> bytes:
    """Return a list of more rows than a request imports; the anime of the first one is known."""
    return as_json(row(1, score=7.5, notes="a note"), *(row(number) for number in range(2, ROWS + 1)))


async def state_of(viewer: Viewer, path: str) -> str:
    return str((await viewer.read(path))["state"])


async def reaches(viewer: Viewer, path: str, state: str) -> None:
    """Wait until an import has this state."""

    async def is_reached() -> bool:
        return await state_of(viewer, path) == state

    await until(is_reached)


async def test_large_list_is_imported_by_a_job(backend: Backend) -> None:
    viewer, other = await backend.viewer(), await backend.viewer()
    anime_id = await known_anime(backend, 1)
    response = await viewer.request("POST", "/library/import?policy=replace", content=large_list())
    assert response.status_code == 202
    path = response.headers["location"]
    waiting = response.json()
    assert path == f"/library/imports/{waiting['id']}"
    assert (waiting["state"], waiting["policy"], waiting["report"]) == ("waiting", "replace", None)
    assert await viewer.read("/library") == []
    for file in ("rows", "not-imported"):
        assert (await viewer.request("GET", f"{path}/{file}")).status_code == 404
    assert (await other.request("GET", path)).status_code == 404

    async with working(backend.url):
        await reaches(viewer, path, "done")
    done = await viewer.read(path)
    assert (done["rows_done"], done["rows_total"], done["error"]) == (ROWS, ROWS, None)
    assert done["finished_at"] is not None
    assert (done["report"]["added"], done["report"]["unknown_count"]) == (1, ROWS - 1)
    assert len(await viewer.read(f"{path}/rows")) == ROWS
    assert len((await viewer.read(f"{path}/not-imported"))["entries"]) == ROWS - 1
    stored = await fields_of(viewer, anime_id)
    assert (stored["score"], stored["notes"]) == (7.5, "a note")
    assert await backend.rows.fetchval("SELECT count(*) FROM library_import_chunks WHERE file = 'upload'") == 0


async def test_second_large_list_is_409_until_the_first_is_done(backend: Backend) -> None:
    viewer, other = await backend.viewer(), await backend.viewer()
    first = await bring(viewer, large_list(), "?dry_run=true", status=202)
    assert (await bring(viewer, large_list(), status=409))["code"] == "CONFLICT_ERROR"
    await bring(other, large_list(), status=202)
    # A small one does not wait.
    await bring(viewer, as_json())
    async with working(backend.url):
        await finished(backend.url)
    assert await state_of(viewer, f"/library/imports/{first['id']}") == "done"
    await bring(viewer, large_list(), status=202)


async def test_file_that_is_no_list_fails_with_the_reason(backend: Backend) -> None:
    viewer = await backend.viewer()
    path = f"/library/imports/{(await bring(viewer, NO_LIST, status=202))['id']}"
    async with working(backend.url):
        await reaches(viewer, path, "failed")
        await finished(backend.url)
    failed = await viewer.read(path)
    assert failed["error"].startswith("The JSON is not a list of ")
    assert (failed["report"], failed["rows_total"]) == (None, None)
    assert await backend.rows.fetchval("SELECT count(*) FROM library_import_chunks") == 0
    await bring(viewer, NO_LIST, status=202)


async def test_import_of_killed_worker_runs_again_and_once(backend: Backend) -> None:
    viewer = await backend.viewer()
    anime_id = await known_anime(backend, 1)
    import_id = (await bring(viewer, large_list(), status=202))["id"]
    await execute(backend.url, "UPDATE library_imports SET state = 'running', rows_done = 1000")
    async with engine_of(backend.url) as engine:
        for _ in range(2):
            await import_upload(engine, UUID(import_id))
    assert (await viewer.read(f"/library/imports/{import_id}"))["report"]["added"] == 1
    assert (await viewer.read(f"/library/{anime_id}"))["version"] == 1


async def test_import_of_deleted_user_ends_without_error(backend: Backend) -> None:
    viewer = await backend.viewer()
    await bring(viewer, large_list(), status=202)
    await execute(backend.url, "DELETE FROM users")
    async with working(backend.url):
        await finished(backend.url)
    assert await backend.rows.fetchval(f"SELECT count(*) FROM {QUEUE.name}") == 0
    assert await backend.rows.fetchval("SELECT count(*) FROM library_import_chunks") == 0


async def test_import_that_fails_for_good_can_be_retried(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = await backend.viewer()
    path = f"/library/imports/{(await bring(viewer, large_list(), status=202))['id']}"

    async def fail(*_: object) -> None:
        raise ValueError("the moon is full")

    with monkeypatch.context() as patch:
        patch.setattr(viewer_jobs, "import_upload", fail)
        await execute(backend.url, f"UPDATE {QUEUE.name} SET attempts = 3")
        async with working(backend.url):
            await reaches(viewer, path, "failed")
            await finished(backend.url)
    failed = await viewer.read(path)
    assert failed["error"] == "The import failed for a reason of the service. Try it again later."
    assert "moon" not in str(failed)
    async with engine_of(backend.url) as engine:
        await import_upload(engine, UUID(failed["id"]))
    done = await viewer.read(path)
    assert (done["state"], done["error"], done["rows_done"]) == ("done", None, ROWS)
