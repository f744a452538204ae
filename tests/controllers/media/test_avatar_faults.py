"""Avatars under faults of the database, the store or Kitsu: no file is left without a user, no user loses one."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy.engine import URL
from structlog.testing import capture_logs

from tests.application import client_of
from tests.cli.invoke import invoked
from tests.controllers.accounts.test_users import PASSWORD, Person, person, refused
from tests.controllers.media.test_avatars import NOTES, upload, uploaded
from tests.databases import column, execute
from tests.images import plain
from tests.media_locations import MediaLocation, bucket_of, folder_at, s3_server

LATER = "UPDATE stray_files SET since = since - interval '61 minutes'"


async def purged(folder: Path, database: URL, location: MediaLocation) -> str:
    """Return what `kitsu purge` prints about stray files."""
    settings = {name.upper(): value for name, value in location.settings.items()}
    settings |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    code, output, errors = await invoked(folder, "purge", database=database, **settings)
    return output.rpartition(", ")[2].strip() if code == 0 else errors


FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
CREATE CONSTRAINT TRIGGER fail AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()
"""


async def test_failed_commit_leaves_no_file(database: URL, location: MediaLocation) -> None:
    async with client_of(database, **location.settings) as client:
        member = await person(client, "member")
        await uploaded(member)
        user, files = (await member.request("GET", "/users/me")).json(), location.files()
        await execute(database, FAIL)
        with capture_logs():
            refused(await upload(member, plain(), username="another"), 500)
        assert (await member.request("GET", "/users/me")).json() == user
        assert location.files() == files
        assert await column(database, NOTES) == []


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()
"""


@asynccontextmanager
async def losing_commits(database: URL) -> AsyncIterator[URL]:
    """Yield the address of a database that loses the response to the commit of a changed user, and the connection."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, watch: bool) -> None:
        changed = False
        while data := await reader.read(65_536):
            writer.write(data)
            changed |= watch and b"UPDATE users" in data
            if changed and b"COMMIT" in data:
                return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_unix_connection(f"{database.query['host']}/.s.PGSQL.5432")
        ways = (pump(reader, there[1], watch=True), pump(there[0], writer, watch=False))
        _, other = await asyncio.wait([asyncio.create_task(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        for way in other:
            way.cancel()
        for end in (writer, there[1]):
            end.close()
            with suppress(ConnectionError):
                await end.wait_closed()

    with TemporaryDirectory() as folder:  # its path is short enough for a socket, unlike tmp_path
        server = await asyncio.start_unix_server(serve, f"{folder}/.s.PGSQL.5432")
        try:
            yield database.set(query={"host": folder})
        finally:
            server.close()  # `async with` waits from Python 3.12 on for connections, some of which were lost


@pytest.mark.parametrize("commit", ["done", "under way"])
async def test_commit_of_unknown_outcome_loses_no_file(
    database: URL, folder: MediaLocation, tmp_path: Path, commit: str
) -> None:
    folder.put("old.jpg", plain("JPEG"))
    async with client_of(database, **folder.settings) as client, losing_commits(database) as lossy:
        member = await person(client, "member")
        await execute(database, "UPDATE users SET avatar = 'uploads/avatars/old.jpg'")
        if commit == "under way":
            await execute(database, SLOW)
        async with client_of(lossy, **folder.settings) as other:
            with capture_logs():
                refused(await upload(Person(other, member.tokens, member.user), plain()), 503)
        user = (await member.request("GET", "/users/me")).json()
        assert (user["avatar"] == "uploads/avatars/old.jpg") is (commit == "under way")
        await asyncio.sleep(0.6 if commit == "under way" else 0)
        user = (await member.request("GET", "/users/me")).json()
        name = user["avatar"].removeprefix("uploads/avatars/")
        assert name.endswith(".webp")
        assert set(folder.files()) == {"old.jpg", name}
        assert await column(database, NOTES) == ["uploads/avatars/old.jpg"]
        await execute(database, LATER)
        assert await purged(tmp_path, database, folder) == "1 stray files."
        assert set(folder.files()) == {name}


def fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))


async def test_upload_on_full_disk_returns_503_and_leaves_no_file(database: URL, small_disk: Path) -> None:
    location = folder_at(small_disk)
    async with client_of(database, **location.settings) as client:
        member = await person(client, "member")
        name = await uploaded(member)
        user = (await member.request("GET", "/users/me")).json()
        filling = small_disk / "filling"
        with capture_logs() as lines:
            fill(filling)
            refused(await upload(member, plain()), 503, "Service temporarily unavailable")
        assert str(small_disk) not in str([line for line in lines if line["event"] != "request finished"])
        assert (await member.request("GET", "/users/me")).json() == user
        assert (await client.get(user["avatar_url"])).status_code == 200
        filling.unlink()
        assert list(location.files()) == [name]
        assert await column(database, NOTES) == []
        new = await uploaded(member)
        assert list(location.files()) == [new]


async def test_frozen_server_returns_503_and_purge_deletes_the_files(
    database: URL, tmp_path: Path, credentials: None
) -> None:
    with s3_server() as (address, process):
        location = bucket_of(address)
        async with client_of(database, **location.settings) as client:
            member, leaver = await person(client, "member"), await person(client, "leaver")
            name, _ = await uploaded(member), await uploaded(leaver)
            user = (await member.request("GET", "/users/me")).json()
            process.send_signal(signal.SIGSTOP)
            with capture_logs():
                tries, gone, file = await asyncio.gather(
                    upload(member, plain()),
                    leaver.request("DELETE", "/users/me", json={"password": PASSWORD}),
                    client.get(user["avatar_url"]),
                )
            refused(tries, 503)
            refused(file, 503)
            assert gone.status_code == 204
            assert (await member.request("GET", "/users/me")).json() == user
            process.send_signal(signal.SIGCONT)
            # The server may process the earlier requests now, so their notes remain.
            assert len(await column(database, NOTES)) == 2
            assert await purged(tmp_path, database, location) == "0 stray files."
            await execute(database, LATER)
            assert await purged(tmp_path, database, location) == "2 stray files."
            assert list(location.files()) == [name]
            assert await column(database, NOTES) == []


async def test_file_that_may_still_appear_remains_noted(database: URL, credentials: None) -> None:
    """A server that did not respond to a put may store the file after it has deleted it."""
    methods = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods.append((await reader.readuntil(b"\r\n\r\n")).split()[0])
        if methods[-1] == b"DELETE":
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        there = {
            "media_url": "s3://bucket",
            "media_s3_endpoint": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        }
        async with client_of(database, **there) as client:
            with capture_logs():
                refused(await upload(await person(client, "member"), plain()), 503)
    assert methods == [b"PUT", b"PUT", b"DELETE"]
    assert len(await column(database, NOTES)) == 1


async def test_purge_deletes_files_left_by_a_crash(database: URL, location: MediaLocation, tmp_path: Path) -> None:
    async with client_of(database, **location.settings) as client:
        kept = await uploaded(await person(client, "member"))
    location.put("put.webp", b"but never committed")
    for name in ("put.webp", "young.webp", "noted-alone.webp", kept):
        await execute(database, f"INSERT INTO stray_files (path) VALUES ('uploads/avatars/{name}')")
    assert await purged(tmp_path, database, location) == "0 stray files."
    await execute(database, LATER, "UPDATE stray_files SET since = now() WHERE path LIKE '%young%'")
    location.put("young.webp", b"being stored")
    assert await purged(tmp_path, database, location) == "2 stray files."
    assert set(location.files()) == {kept, "young.webp"}
    assert await column(database, NOTES) == ["uploads/avatars/young.webp"]


async def test_purge_without_store_fails_and_keeps_the_notes(database: URL, tmp_path: Path, credentials: None) -> None:
    await execute(
        database, "INSERT INTO stray_files SELECT n::text, now() - interval '1 day' FROM generate_series(1, 9) n"
    )
    away = MediaLocation({"media_url": "s3://bucket", "media_s3_endpoint": "http://127.0.0.1:1"}, dict, lambda *_: None)
    assert "The media store did not delete some stray files" in await purged(tmp_path, database, away)
    assert len(await column(database, NOTES)) == 9


async def test_upload_whose_file_was_purged_returns_503(database: URL, folder: MediaLocation, tmp_path: Path) -> None:
    """A request that takes an hour between the put and the commit must not refer to a deleted file."""
    overtake = """
    CREATE FUNCTION overtake() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN DELETE FROM stray_files WHERE path = NEW.avatar; RETURN NEW; END $$;
    CREATE TRIGGER overtake BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION overtake()
    """
    async with client_of(database, **folder.settings) as client:
        member = await person(client, "member")
        await execute(database, overtake)
        refused(await upload(member, plain()), 503)
        assert (await member.request("GET", "/users/me")).json() == member.user
        assert folder.files() == {}
        assert await column(database, NOTES) == []
