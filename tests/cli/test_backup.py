"""`kitsu backup` and `kitsu restore`: a restore returns the same rows and files."""

import asyncio
import json
import stat
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.db.engine import create_engine
from tests.cli.backups import FILES, PASSWORD, UNFINISHED, USERS, contents, settings_of
from tests.cli.invoke import invoke
from tests.cli.process import kitsu
from tests.databases import column, copy_of, execute
from tests.media_locations import MediaLocation, bucket_of, folder_at


@pytest.fixture
async def source(catalogue_template: URL, server: URL) -> AsyncIterator[URL]:
    """Yield a database with users and the sample catalogue."""
    async with copy_of(catalogue_template, server) as url:
        await execute(url, USERS)
        yield url


@pytest.mark.parametrize("kinds", [("folder", "bucket"), ("bucket", "folder")], ids="-".join)
def test_restore_of_backup_returns_all_rows_and_files(
    source: URL, bare_database: URL, tmp_path: Path, s3: str, credentials: None, kinds: tuple[str, str]
) -> None:
    here, there = (bucket_of(s3) if kind == "bucket" else folder_at(tmp_path / "there" / kind) for kind in kinds)
    for name, data in FILES.items():
        here.put(name, data)
    before = asyncio.run(contents(source))
    file = tmp_path / "backup.tar"
    code, output, errors = invoke(tmp_path, "backup", str(file), database=source, **settings_of(here))
    assert (code, errors) == (0, "")
    assert (
        output == f"Wrote {file}: the database (schema {migrations.head()}) and 7 files, {size(file):,} bytes in all.\n"
    )
    noted = asyncio.run(contents(source))
    assert [row.split(",")[0] for row in noted.pop("command_runs")] == ["(backup"]
    assert noted == {table: rows for table, rows in before.items() if table != "command_runs"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.glob(UNFINISHED)) == []

    code, output, errors = invoke(tmp_path, "restore", "backup.tar", database=bare_database, **settings_of(there))
    assert (code, errors) == (0, "")
    assert output.startswith("Restored backup.tar, taken at 20")
    assert output.endswith(f": the database (schema {migrations.head()}) and 7 files, {size(file):,} bytes in all.\n")
    assert asyncio.run(contents(bare_database)) == before
    assert len(before["anime"]) == 60
    assert len(before["users"]) == 4
    assert there.files() == here.files() == FILES


def size(file: Path) -> int:
    return file.stat().st_size


def test_backup_file_is_tar_with_description_and_checksums(source: URL, tmp_path: Path, folder: MediaLocation) -> None:
    folder.put("first.webp", b"a picture")
    assert invoke(tmp_path, "backup", "b.tar", database=source, **settings_of(folder))[0] == 0
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert tar.getnames() == ["kitsu-backup.json", "database.dump", "media/avatars/first.webp", "checksums.json"]
        members = [member.read() for name in tar.getnames() if (member := tar.extractfile(name))]
    about = json.loads(members[0])
    assert (about["format"], about["revision"]) == (1, migrations.head())
    assert int(about["pg_dump"].split(".")[0]) >= int(about["postgresql"].split(".")[0]) >= 15
    assert members[1].startswith(b"PGDMP")
    assert members[2] == b"a picture"
    assert json.loads(members[3])["media/avatars/first.webp"]["length"] == 9


def test_backup_without_files_of_users_restores_no_avatars(
    source: URL, bare_database: URL, tmp_path: Path, folder: MediaLocation
) -> None:
    folder.put("first.webp", b"a picture")
    code, output, errors = invoke(tmp_path, "backup", "b.tar", database=source, **settings_of(folder))
    assert code == 0
    assert " and 1 file, " in output
    assert errors.startswith("Missing avatars: 3. ")
    there = folder_at(tmp_path / "there")
    code, _, errors = invoke(tmp_path, "restore", "b.tar", database=bare_database, **settings_of(there))
    assert (code, errors) == (0, "Users who lost their avatar: 3. The backup has no file for it.\n")
    avatars = "SELECT avatar FROM users WHERE avatar IS NOT NULL"
    assert asyncio.run(column(bare_database, avatars)) == ["uploads/avatars/first.webp"]
    assert there.files() == {"first.webp": b"a picture"}


async def at_revision(url: URL, revision: str) -> None:
    engine = create_engine(url)
    await migrations.migrate(engine, revision)
    await engine.dispose()


def test_backup_whose_time_is_not_stored_succeeds_with_warning(
    source: URL, tmp_path: Path, folder: MediaLocation
) -> None:
    asyncio.run(execute(source, "ALTER TABLE command_runs ADD CHECK (false)"))
    code, output, errors = invoke(tmp_path, "backup", "b.tar", database=source, **settings_of(folder))
    assert (code, output[:12]) == (0, "Wrote b.tar:")
    assert "The database could not store the time" in errors
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert tar.getnames()[-1] == "checksums.json"


@pytest.mark.parametrize("revision", ["0007", "0011"])
def test_restore_of_older_schema_reports_needed_migration(
    template: URL, server: URL, bare_database: URL, tmp_path: Path, folder: MediaLocation, revision: str
) -> None:
    async def old() -> dict[str, list[str]]:
        await at_revision(bare_database, revision)
        return await contents(bare_database)

    async def emptied() -> None:
        await execute(bare_database, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")

    before = asyncio.run(old())
    code, _, errors = invoke(tmp_path, "backup", "b.tar", database=bare_database, **settings_of(folder))
    assert (code, errors) == (0, "")
    asyncio.run(emptied())
    code, output, _ = invoke(tmp_path, "restore", "b.tar", database=bare_database, **settings_of(folder))
    assert code == 0
    assert f"(schema {revision})" in output
    assert output.endswith(f"needs the schema {migrations.head()}: run `kitsu migrate`.\n")
    assert asyncio.run(contents(bare_database)) == before
    assert invoke(tmp_path, "migrate", database=bare_database)[0] == 0


def test_backup_and_restore_as_mere_owner_succeed(
    source: URL, server: URL, bare_database: URL, tmp_path: Path, folder: MediaLocation
) -> None:
    """The user owns both databases and has a password with characters that need quoting in a shell or a URL.

    A development server may not check the password, so the test only looks for it in the output. An administrator has
    created the extensions in the empty database.
    """
    role = f"kitsu_{bare_database.database}"
    extensions = ("CREATE EXTENSION pg_trgm", "CREATE EXTENSION unaccent", "CREATE EXTENSION pg_stat_statements")
    literal = PASSWORD.replace("'", "''")

    async def prepare() -> None:
        await execute(server, f"CREATE ROLE {role} LOGIN PASSWORD '{literal}'")
        for url in (source, bare_database):
            await execute(server, f"ALTER DATABASE {url.database} OWNER TO {role}")
        for kind in ("TABLES", "SEQUENCES"):
            await execute(source, f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {role}")
        await execute(bare_database, *extensions)
        await execute(server, f"ALTER ROLE {role} SET idle_in_transaction_session_timeout = 100")

    async def clear() -> None:
        for url in (source, bare_database):
            await execute(server, f"ALTER DATABASE {url.database} OWNER TO CURRENT_USER")
            await execute(url, f"DROP OWNED BY {role} CASCADE")
        await execute(server, f"DROP ROLE {role}")

    asyncio.run(prepare())
    before = asyncio.run(contents(source))
    try:
        for command, url in (("backup", source), ("restore", bare_database)):
            mine = url.set(username=role, password=PASSWORD)
            code, output, errors = invoke(tmp_path, command, "b.tar", database=mine, **settings_of(folder))
            assert code == 0, errors
            assert "hunter2" not in output + errors
        restored = asyncio.run(contents(bare_database))
        assert {**restored, "": before[""]} == before | {"users": restored["users"]}
        assert set(before[""]) <= set(restored[""])
    finally:
        asyncio.run(clear())
    assert b"hunter2" not in (tmp_path / "b.tar").read_bytes()


async def test_backup_and_restore_as_processes_succeed(source: URL, bare_database: URL, tmp_path: Path) -> None:
    def run(command: str, database: URL, media: str) -> None:
        with kitsu(tmp_path, command, "b.tar", database=database, MEDIA_URL=f"file://{tmp_path / media}") as process:
            assert process.ends() == 0, process.errors

    (tmp_path / "here/avatars").mkdir(parents=True)
    for name, data in FILES.items():
        (tmp_path / "here/avatars" / name).write_bytes(data)
    before = await contents(source)
    await asyncio.to_thread(run, "backup", source, "here")
    await asyncio.to_thread(run, "restore", bare_database, "there")
    assert await contents(bare_database) == before
