"""The media store, in a folder and in a bucket of a real S3 server."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kitsu.domain.media import store as media
from kitsu.domain.media.store import MediaStore, PutOutcomeUnknown
from kitsu.errors import NotFound, ServiceUnavailable
from tests.cli.process import CLIENT, free_port, server_folder
from tests.media_locations import SIGNED, MediaLocation, bucket_of, folder_at

KEY = "avatars/a.webp"
DATA = bytes(range(256)) * 4


def store_at(location: MediaLocation) -> MediaStore:
    return MediaStore(*location.settings.values())


async def test_file_is_put_found_read_and_deleted(location: MediaLocation) -> None:
    store = store_at(location)
    await store.put(KEY, DATA, "image/webp")
    assert location.files() == {"a.webp": DATA}
    file = await store.get(KEY)
    assert (file.size, await file.read()) == (len(DATA), DATA)
    assert (await file.read(10, 20), await file.read(1000), await file.read(5, 5)) == (DATA[10:20], DATA[1000:], b"")
    assert file.tag == (await store_at(location).get(KEY)).tag
    await store.put("avatars/b.webp", DATA + b"more", "image/webp")
    assert (await store.get("avatars/b.webp")).tag != file.tag
    await store.delete(KEY)
    assert location.files() == {"b.webp": DATA + b"more"}
    await store.delete(KEY)
    with pytest.raises(NotFound):
        await file.read()


async def test_empty_file_is_read(location: MediaLocation) -> None:
    location.put("empty.webp", b"")
    file = await store_at(location).get("avatars/empty.webp")
    assert (file.size, await file.read()) == (0, b"")


def test_unusable_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()

    def problem(location: str) -> str | None:
        return MediaStore(f"file://{location}").folder_problem()

    assert [problem(location) for location in (str(tmp_path), ".", "./deep/down")] == [None, None, None]
    for location, named in ((f"{tmp_path}/nowhere", "nowhere"), (f"{tmp_path}/file", "file"), ("./file", "file")):
        assert problem(location) == f"{tmp_path}/{named} is not a folder: create it, or mount its volume."
    assert MediaStore("s3://bucket").folder_problem() is None
    assert not (tmp_path / "deep").exists()


def test_folder_without_permission_is_reported() -> None:
    with server_folder() as folder:
        (folder / "hidden" / "deep").mkdir(parents=True)
        for each, mode in ((folder, 0o755), (folder / "hidden", 0o600)):
            each.chmod(mode)
        store = [MediaStore(f"file://{location}") for location in (folder, folder / "hidden" / "deep")]
        folder.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            problems = [each.folder_problem() for each in store]
        finally:
            if is_root:
                os.seteuid(0)
            folder.chmod(0o700)
            (folder / "hidden").chmod(0o700)
    assert problems == [
        f"Kitsu may not write to {p}: let its user do so." for p in (folder, folder / "hidden" / "deep")
    ]


@pytest.mark.parametrize("key", [KEY, "avatars/..", "avatars/a\nb", "avatars/a\0b", "../x", "avatars/.../x"])
async def test_missing_file_raises_not_found_and_is_deleted(location: MediaLocation, key: str) -> None:
    store = store_at(location)
    location.put("b.webp", DATA)
    with pytest.raises(NotFound):
        await store.get(key)
    await store.delete(key)
    assert location.files() == {"b.webp": DATA}


async def test_file_in_bucket_has_type_and_cache_headers(s3: str, credentials: None) -> None:
    location = bucket_of(s3)
    await store_at(location).put(KEY, DATA, "image/webp")
    bucket = location.settings["media_url"].split("/")[2]
    headers = CLIENT.get(f"{s3}/{bucket}/media/{KEY}", headers=SIGNED).headers
    assert (headers["content-type"], headers["cache-control"]) == ("image/webp", "public, max-age=31536000, immutable")


async def test_delete_removes_unfinished_files(tmp_path: Path) -> None:
    avatars = tmp_path / "avatars"
    avatars.mkdir()
    for name in ("a.webp#1", "a.webp#27", "aXwebp#1", "b.webp#1"):
        (avatars / name).write_bytes(b"half")
    await MediaStore(f"file://{tmp_path}").delete(KEY)
    assert {file.name for file in avatars.iterdir()} == {"aXwebp#1", "b.webp#1"}


def test_new_store_creates_no_folder(tmp_path: Path) -> None:
    MediaStore(f"file://{tmp_path}/uploads")
    assert list(tmp_path.iterdir()) == []


async def test_relative_folder_is_of_the_working_directory_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = MediaStore("file://./my%20uploads")
    monkeypatch.chdir("/")
    await store.put(KEY, DATA, "image/webp")
    assert (tmp_path / "my uploads" / KEY).read_bytes() == DATA


async def test_put_on_full_disk_raises_and_leaves_no_file(small_disk: Path) -> None:
    store = MediaStore(f"file://{small_disk}/uploads")
    await store.put("avatars/old.webp", DATA, "image/webp")
    with capture_logs() as lines, pytest.raises(ServiceUnavailable) as caught:
        await store.put(KEY, os.urandom(200_000), "image/webp")
    assert not isinstance(caught.value, PutOutcomeUnknown)
    assert list(folder_at(small_disk / "uploads").files()) == ["old.webp"]
    (line,) = lines
    assert (line["log_level"], str(small_disk) in str(line)) == ("warning", False)
    assert "No space left on device" in line["reason"]


async def test_file_instead_of_folder_raises_service_unavailable(tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file")
    for operation in operations(MediaStore(f"file://{tmp_path}/uploads")):
        with pytest.raises(ServiceUnavailable):
            await operation()


async def test_log_does_not_contain_the_folder(tmp_path: Path) -> None:
    (tmp_path / "avatars").write_text("a file")
    for operation in operations(MediaStore(f"file://{tmp_path}")):
        with capture_logs() as lines, pytest.raises(ServiceUnavailable):
            await operation()
        (line,) = lines
        assert "/avatars/a.webp" in line["reason"]
        assert str(tmp_path) not in str(line)


def operations(store: MediaStore) -> list[Callable[[], Awaitable[object]]]:
    return [lambda: store.put(KEY, DATA, "image/webp"), lambda: store.get(KEY), lambda: store.delete(KEY)]


async def test_unreachable_server_or_missing_bucket_raises(s3: str, credentials: None) -> None:
    for address in (f"http://127.0.0.1:{free_port()}", s3):
        put, get, delete = operations(MediaStore("s3://nowhere/media", address))
        with pytest.raises(PutOutcomeUnknown):
            await put()
        with pytest.raises(ServiceUnavailable):
            await delete()
        with pytest.raises(NotFound if address == s3 else ServiceUnavailable):
            await get()


async def test_unresponsive_server_raises_after_the_timeout(credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    store = MediaStore("s3://bucket/media", f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}")
    for name in ("TIMEOUT", "DELETE_TIMEOUT"):
        monkeypatch.setattr(media, name, 0.2)
    for operation in operations(store):
        with pytest.raises(PutOutcomeUnknown):
            await operation()
    silent.close()
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
