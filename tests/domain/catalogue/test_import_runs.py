"""Imports of uploaded files as jobs: upload, dry run with its changes, confirmation, progress, failures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import Timeouts
from kitsu.db.statements import StatementRunner
from kitsu.domain import progress
from kitsu.domain.catalogue.importing import runs, steps
from kitsu.domain.catalogue.importing.runs import ImportRunDetail, ImportRunReader, ImportRunService
from kitsu.domain.pagination import PageRequest
from kitsu.errors import Conflict, InvalidRequest, NotFound, PayloadTooLarge
from kitsu.jobs import catalogue
from kitsu.jobs.registry import JOBS
from tests.databases import column, engine_of, execute
from tests.domain.catalogue.test_import import METADATA, dump, entry, import_entries, line_of
from tests.factories import sign_in
from tests.jobs.test_jobs import jobs, retry
from tests.jobs.working import finished, until, working

IMPORT_LOCK = 0x696D706F7274


class Imports:
    """The imports of an editor."""

    def __init__(self, database: URL, editor_id: UUID) -> None:
        self.database, self.editor_id = database, editor_id

    @asynccontextmanager
    async def service(self) -> AsyncIterator[ImportRunService]:
        async with engine_of(self.database) as engine, AsyncSession(engine, expire_on_commit=False) as session:
            yield ImportRunService(session)

    async def upload(self, content: bytes, name: str = "new.jsonl", piece: int = 700_000) -> UUID:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(content), piece):
                yield content[start : start + piece]

        async with self.service() as service:
            return await service.upload(self.editor_id, name, pieces())

    async def upload_entries(self, *lines: dict[str, Any] | bytes) -> UUID:
        return await self.upload(b"".join(line_of(line) for line in (METADATA, *lines)))

    async def start(self, run_id: UUID) -> None:
        async with self.service() as service:
            await service.start(run_id)

    async def discard(self, run_id: UUID) -> None:
        async with self.service() as service:
            await service.discard(run_id)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[ImportRunReader]:
        runner = StatementRunner(self.database, size=1, recycle=-1, timeouts=Timeouts())
        try:
            yield ImportRunReader(runner)
        finally:
            runner.close()

    async def get(self, run_id: UUID) -> ImportRunDetail:
        async with self.reader() as reader:
            return await reader.get(run_id)

    async def reaches(self, run_id: UUID, state: str) -> ImportRunDetail:
        """Wait until a run has this state, and return it."""
        await until(lambda: self._has(run_id, state))
        return await self.get(run_id)

    async def _has(self, run_id: UUID, state: str) -> bool:
        return (await self.get(run_id)).state == state

    async def chunks(self) -> int:
        return int((await column(self.database, "SELECT count(*) FROM import_chunks"))[0])


async def catalogue_rows(database: URL) -> dict[str, list[str]]:
    tables = ("anime", "releases", "episodes", "external_ids", "catalogue_imports", "catalogue_changes")
    return {table: rows for table, rows in (await dump(database)).items() if table in tables}


@pytest.fixture
async def imports(database: URL, rows: asyncpg.Connection) -> Imports:
    return Imports(database, (await sign_in(rows, "editor")).user_id)


async def test_upload_is_checked_confirmed_and_imported(imports: Imports, database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1), entry(2))
    before = await catalogue_rows(database)
    run_id = await imports.upload_entries(entry(1, title="Renamed"), entry(2), entry(3), b"no JSON")
    run = await imports.get(run_id)
    assert (run.state, run.file_name, run.by, run.result) == ("uploaded", "new.jsonl", imports.editor_id.hex, None)

    async with working(database):
        run = await imports.reaches(run_id, "checked")
        assert run.bytes_read == run.size > 0
        assert run.result is not None
        counts = run.result.counts
        assert (counts.added, counts.updated, counts.unchanged) == (1, 1, 1)
        assert [number for number, _ in counts.refused] == [5]
        assert {(each.entity, each.action, each.count) for each in run.result.changes} == {
            ("anime", "create", 1),
            ("anime", "update", 1),
            ("release", "update", 1),
        }
        (renamed,) = (each for each in run.result.first_changes if (each.entity, each.action) == ("anime", "update"))
        assert renamed.title == "Renamed"
        assert {name: (each.before, each.after) for name, each in renamed.fields.items()} == {
            "title": ("Anime 1", "Renamed")
        }
        assert await catalogue_rows(database) == before

        await imports.start(run_id)
        run = await imports.reaches(run_id, "done")
    assert run.result is not None
    assert (run.result.counts.added, run.result.counts.updated) == (1, 1)
    assert run.finished_at is not None
    assert run.bytes_read == run.size
    assert await imports.chunks() == 0
    titles = await column(database, "SELECT title FROM anime ORDER BY title")
    assert titles == ["Anime 2", "Anime 3", "Renamed"]
    changed_by = "SELECT DISTINCT user_id FROM catalogue_changes WHERE fields ? 'title' AND action = 'update'"
    assert await column(database, changed_by) == [imports.editor_id]


async def test_report_lists_the_first_changes_and_counts_all(
    imports: Imports, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "MAX_CHANGES", 2)
    run_id = await imports.upload_entries(*(entry(number) for number in range(1, 6)))
    async with working(database):
        run = await imports.reaches(run_id, "checked")
    assert run.result is not None
    assert [each.title for each in run.result.first_changes] == ["Anime 1", "Anime 2"]
    assert [each.count for each in run.result.changes] == [5]


@pytest.mark.slow
async def test_progress_grows_while_a_file_is_read(
    imports: Imports, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.01)
    run_id = await imports.upload_entries(*(entry(number, synonyms=["x" * 500] * 10) for number in range(1, 3000)))
    seen = set()
    async with working(database):
        while (run := await imports.get(run_id)).state in ("uploaded", "checking"):
            seen.add(run.bytes_read)
    assert run.state == "checked"
    assert len([each for each in seen if 0 < each < run.size]) > 1


BROKEN: list[tuple[str, bytes, str]] = [
    ("cut.jsonl", line_of(METADATA) + line_of(entry(1)) + b'{"sources": ["ht', "the file is cut short"),
    ("picture.jsonl", b"\x89PNG\r\n" * 100, "line 1 is not a JSON object"),
    ("picture.jsonl.zst", b"\x89PNG\r\n" * 100, "the file is not zstd-compressed, or damaged"),
    ("list.json", b"[1, 2, 3]", "the file holds no anime"),
    ("none.jsonl", line_of(METADATA) + b"[]\n", "none.jsonl holds no anime: all entries are refused"),
]


@pytest.mark.parametrize(("name", "content", "error"), BROKEN)
async def test_file_that_is_no_catalogue_fails_with_the_reason(
    imports: Imports, database: URL, name: str, content: bytes, error: str
) -> None:
    run_id = await imports.upload(content, name)
    async with working(database):
        run = await imports.reaches(run_id, "failed")
        await finished(database)
    assert run.error is not None
    assert run.error.startswith(error)
    assert "/" not in run.error
    assert await imports.chunks() == 0
    assert await jobs(database) == []
    with pytest.raises(Conflict):
        await imports.start(run_id)
    await imports.discard(run_id)
    with pytest.raises(NotFound):
        await imports.get(run_id)


@pytest.mark.parametrize(
    ("name", "content"),
    [("cat.png", b"x"), ("catalogue.jsonl.gz", b"x"), ("", b"x"), ("x" * 255 + ".jsonl", b"x"), ("a.jsonl", b"")],
)
async def test_upload_of_another_type_or_of_nothing_is_refused(imports: Imports, name: str, content: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await imports.upload(content, name)
    assert await column(imports.database, "SELECT count(*) FROM import_runs") == [0]


async def test_path_of_a_browser_is_not_stored(imports: Imports) -> None:
    run_id = await imports.upload(b"x", r"C:\Users\kaguya\new.jsonl")
    assert (await imports.get(run_id)).file_name == "new.jsonl"


async def test_upload_beyond_the_limit_stores_nothing(imports: Imports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_FILE_BYTES", 3_000_000)
    await imports.upload(b"x" * 3_000_000)
    with pytest.raises(PayloadTooLarge):
        await imports.upload(b"x" * 3_000_001)
    assert await column(imports.database, "SELECT size FROM import_runs") == [3_000_000]
    assert await imports.chunks() == 3


async def test_same_file_twice_at_once_is_imported_one_after_the_other(imports: Imports, database: URL) -> None:
    first, second = [await imports.upload_entries(entry(1), entry(2)) for _ in range(2)]
    async with working(database), working(database):
        for run_id in (first, second):
            run = await imports.reaches(run_id, "checked")
            assert run.result is not None
            assert run.result.counts.added == 2
        await asyncio.gather(imports.start(first), imports.start(second))
        reports = [(await imports.reaches(run_id, "done")).result for run_id in (first, second)]
        await finished(database)
    assert sorted(each.counts.added for each in reports if each) == [0, 2]
    assert await column(database, "SELECT count(*) FROM anime") == [2]


async def test_run_waits_for_an_import_of_the_command(
    imports: Imports, database: URL, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "BUSY_DELAY", timedelta(seconds=0.1))
    run_id = await imports.upload_entries(entry(1))
    async with working(database):
        async with rows.transaction():
            await rows.execute("SELECT pg_advisory_xact_lock($1)", IMPORT_LOCK)
            await until(lambda: _is_postponed(database))
            assert (await imports.get(run_id)).state == "checking"
        await imports.reaches(run_id, "checked")


async def _is_postponed(database: URL) -> bool:
    return any("Another import runs" in (job.error or "") for job in await jobs(database))


async def test_run_is_started_once(imports: Imports, database: URL) -> None:
    run_id = await imports.upload_entries(entry(1))
    with pytest.raises(Conflict):
        await imports.start(run_id)
    async with working(database):
        await imports.reaches(run_id, "checked")
    outcomes = await asyncio.gather(*(imports.start(run_id) for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in outcomes if each] == [Conflict] * 4
    with pytest.raises(Conflict):
        await imports.discard(run_id)
    with pytest.raises(NotFound):
        await imports.start(uuid4())


async def test_discarded_run_is_not_checked(imports: Imports, database: URL) -> None:
    run_id = await imports.upload_entries(entry(1))
    await imports.discard(run_id)
    async with working(database):
        await finished(database)
    assert await jobs(database) == []
    assert await imports.chunks() == 0


async def test_run_that_failed_for_good_can_be_retried_by_hand(
    imports: Imports, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_retries = replace(JOBS["import-catalogue"], retries=0)
    monkeypatch.setitem(JOBS, "import-catalogue", without_retries)
    run_id = await imports.upload_entries(entry(1))
    await execute(database, "ALTER TABLE catalogue_changes RENAME TO away")
    async with working(database):
        run = await imports.reaches(run_id, "failed")
        assert run.error is not None
        assert "catalogue_changes" in run.error
        await finished(database)
        await execute(database, "ALTER TABLE away RENAME TO catalogue_changes")
        (job,) = await jobs(database)
        await retry(database, job.id)
        assert (await imports.reaches(run_id, "checked")).error is None


async def test_import_after_the_commit_of_a_killed_worker_changes_nothing(imports: Imports, database: URL) -> None:
    run_id = await imports.upload_entries(entry(1))
    async with working(database):
        await imports.reaches(run_id, "checked")
        await imports.start(run_id)
        done = await imports.reaches(run_id, "done")
    async with engine_of(database) as engine:
        assert await steps.run_step(engine, run_id, dry_run=False) is None
    assert await imports.get(run_id) == done


async def test_page_lists_newest_first(imports: Imports) -> None:
    ids = [await imports.upload(b"x", f"{number}.jsonl") for number in range(3)]
    async with imports.reader() as reader:
        page = await reader.page(PageRequest(limit=2))
        rest = await reader.page(PageRequest(limit=2, cursor=page.cursor))
    assert [run.id for run in [*page.items, *rest.items]] == ids[::-1]
