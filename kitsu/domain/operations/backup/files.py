"""The files of the media store, for a backup of all of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from mimetypes import guess_type
from pathlib import Path
from typing import TypeVar

import obstore

from kitsu.domain.media.store import MediaStore, Store
from kitsu.domain.operations.backup.archive import BackupError
from kitsu.errors import AppError, NotFound, ServiceUnavailable

T = TypeVar("T")

CONCURRENT_FILES = 16
LIST_TIMEOUT_SECONDS = 600
MAX_TRIES = 3
RETRY_SECONDS = 0.5


class MediaFiles(MediaStore):
    def holds(self, path: Path) -> bool:
        """Return whether the path lies in the store."""
        return self._folder is not None and self._folder.resolve() in path.resolve().parents

    async def keys(self) -> list[str]:
        """Return the sorted keys of all files. Raises BackupError."""

        async def work(store: Store) -> list[str]:
            return sorted([meta["path"] async for chunk in obstore.list(store, chunk_size=1000) for meta in chunk])

        try:
            return await self._run(work, LIST_TIMEOUT_SECONDS, missing=ServiceUnavailable)
        except AppError as error:
            raise BackupError("The media store can't be read: check MEDIA_URL.") from error

    async def read_all(self, keys: Sequence[str]) -> AsyncIterator[tuple[str, bytes | None]]:
        """Yield keys with their files, or None for a missing file. Raises BackupError."""
        for batch in _batches(keys):
            for item in zip(batch, await asyncio.gather(*map(self._read, batch)), strict=True):
                yield item

    async def _read(self, key: str) -> bytes | None:
        async def read() -> bytes:
            return await (await self.get(key)).read()

        try:
            return await _with_retries(read)
        except NotFound:
            return None
        except AppError as error:
            raise BackupError("A file of the media store can't be read: check MEDIA_URL.") from error

    async def fill(self, keys: Sequence[str], read: Callable[[str], bytes], put: list[str]) -> None:
        """Put files, and add their keys to `put` before. Raises BackupError after all puts in progress have ended."""
        for batch in _batches(keys):
            put += batch
            for error in await asyncio.gather(*(self._fill(key, read) for key in batch), return_exceptions=True):
                if error is not None:
                    raise error

    async def _fill(self, key: str, read: Callable[[str], bytes]) -> None:
        data = read(key)
        media_type = guess_type(key, strict=False)[0] or "application/octet-stream"
        try:
            await _with_retries(lambda: self.put(key, data, media_type))
        except AppError as error:
            raise BackupError(f"The media store can't store {key}: check MEDIA_URL, and its disk.") from error

    async def remove(self, keys: Sequence[str]) -> int:
        """Delete files until the first error. Return how many may be left."""
        for number, batch in enumerate(_batches(keys)):
            if any(await asyncio.gather(*map(self.delete, batch), return_exceptions=True)):
                return len(keys) - number * CONCURRENT_FILES
        return 0


async def _with_retries(work: Callable[[], Awaitable[T]]) -> T:
    for _ in range(MAX_TRIES - 1):
        with suppress(ServiceUnavailable):
            return await work()
        await asyncio.sleep(RETRY_SECONDS)
    return await work()


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + CONCURRENT_FILES] for start in range(0, len(keys), CONCURRENT_FILES))
