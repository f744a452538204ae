"""All files of the media store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from mimetypes import guess_type
from pathlib import Path
from typing import TypeVar

import obstore

from kitsu.domain.media.store import MediaStore, Store
from kitsu.domain.operations.backup.archive import BackupError
from kitsu.errors import AppError, NotFound, ServiceUnavailable

T = TypeVar("T")

AT_ONCE = 16
"""Files that are read or put concurrently."""
LIST_TIMEOUT = 600
"""Seconds."""
TRIES = 3
PAUSE = 0.5
"""Seconds between them."""


class MediaFiles(MediaStore):
    """The media store, read and filled as a whole."""

    def holds(self, path: Path) -> bool:
        """Return whether a file of this path would be in the store."""
        return self._folder is not None and self._folder.resolve() in path.resolve().parents

    async def keys(self) -> list[str]:
        """Return the sorted keys of all files. Raises BackupError."""

        async def work(store: Store) -> list[str]:
            return sorted([meta["path"] async for chunk in obstore.list(store, chunk_size=1000) for meta in chunk])

        try:
            return await self._run(work, LIST_TIMEOUT, missing=ServiceUnavailable)
        except AppError as error:
            raise BackupError("The media store can't be read: check MEDIA_URL.") from error

    async def read_all(self, keys: Iterable[str]) -> AsyncIterator[tuple[str, bytes | None]]:
        """Yield the files of these keys in order, None for a missing one. Raises BackupError."""
        try:
            for some in _groups(keys):
                for key, data in zip(some, await asyncio.gather(*map(self._read, some)), strict=True):
                    yield key, data
        except AppError as error:
            raise BackupError("A file of the media store can't be read: check MEDIA_URL.") from error

    async def _read(self, key: str) -> bytes | None:
        async def work() -> bytes | None:
            with suppress(NotFound):
                return await (await self.get(key)).read()
            return None

        return await _tried(work)

    async def fill(self, keys: Iterable[str], read: Callable[[str], bytes], put: list[str]) -> None:
        """Put files, after adding their keys to `put`. Raises BackupError, when no put is under way any more."""
        for some in _groups(keys):
            put += some
            for error in await asyncio.gather(*(self._fill(key, read) for key in some), return_exceptions=True):
                if error is not None:
                    raise error

    async def _fill(self, key: str, read: Callable[[str], bytes]) -> None:
        data = read(key)
        media_type = guess_type(key, strict=False)[0] or "application/octet-stream"
        try:
            await _tried(lambda: self.put(key, data, media_type))
        except AppError as error:
            raise BackupError(f"The media store does not take {key}: check MEDIA_URL, and its disk.") from error

    async def remove(self, keys: Sequence[str]) -> int:
        """Remove files until the store refuses. Return how many may be left."""
        for number, some in enumerate(_groups(keys)):
            if any(await asyncio.gather(*map(self.delete, some), return_exceptions=True)):
                return len(keys) - number * AT_ONCE
        return 0


async def _tried(work: Callable[[], Awaitable[T]]) -> T:
    for _ in range(TRIES - 1):
        with suppress(ServiceUnavailable):
            return await work()
        await asyncio.sleep(PAUSE)
    return await work()


def _groups(keys: Iterable[str]) -> Iterable[list[str]]:
    listed = list(keys)
    return (listed[start : start + AT_ONCE] for start in range(0, len(listed), AT_ONCE))
