"""The media store: files of users in a folder or in a bucket of S3, by key."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from glob import escape
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from kitsu.domain.concurrency import released_slot
from kitsu.errors import AppError, NotFound, ServiceUnavailable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

log = structlog.get_logger("kitsu.media")

T = TypeVar("T")
Store = LocalStore | S3Store

CACHE_CONTROL = "public, max-age=31536000, immutable"
"""A name is used once: what it names never changes."""
TIMEOUT = 1.8
"""Seconds for one put or get, with its retry: a store that is away is told of within 3 s, the cleaning up included."""
DELETE_TIMEOUT = 0.7
"""Seconds. What is not deleted in time, `kitsu purge` deletes."""
CONNECT_TIMEOUT = 1.0
READ_BYTES = 128 * 1024
"""Bytes of a file that are read at once for a stream: a bucket gets a request for each."""


class PutOutcomeUnknown(ServiceUnavailable):
    """A put failed, and may all the same come through later."""


class Media:
    """A file that was found: how long it is, its tag, and its bytes when they are asked for."""

    def __init__(self, read: Callable[[int, int], Awaitable[bytes]], size: int, tag: str) -> None:
        self._read = read
        self.size = size
        self.tag = tag

    async def read(self, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from start to before end. Raises NotFound when it went meanwhile, ServiceUnavailable."""
        return await self._read(start, self.size if end is None else end)

    async def pieces(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from start to before end, each piece read when it is needed. Raises as `read` does."""
        for begin in range(start, end, READ_BYTES):
            yield await self._read(begin, min(begin + READ_BYTES, end))


class MediaStore:
    """Puts, gets and deletes; whatever goes wrong with the store is ServiceUnavailable."""

    def __init__(self, url: str, s3_endpoint: str | None = None) -> None:
        """Takes `file://` with a path, absolute or from `./` on, or `s3://bucket/prefix`. Connects on first use."""
        path = Path(unquote(url.removeprefix("file://"))) if url.startswith("file://") else None
        self._folder = path.absolute() if path else None
        self._is_made = path is not None and not path.is_absolute()
        self._store: Store | None = None if self._folder else _bucket(url, s3_endpoint)

    async def put(self, key: str, data: bytes, media_type: str) -> None:
        """Store a file whole or not at all. Raises ServiceUnavailable; PutOutcomeUnknown when it may yet appear."""
        # A folder knows no attributes; from a bucket browsers may fetch it themselves.
        attributes = None if self._folder else {"Content-Type": media_type, "Cache-Control": CACHE_CONTROL}

        async def work(store: Store) -> None:
            await obstore.put_async(store, key, data, attributes=attributes, use_multipart=False)

        failure = ServiceUnavailable if self._folder else PutOutcomeUnknown
        await self._answer(work, TIMEOUT, missing=failure, failure=failure)

    async def get(self, key: str) -> Media:
        """Find a file. Raises NotFound, ServiceUnavailable."""

        async def work(store: Store) -> Media:
            meta = await obstore.head_async(store, key)
            known = f"{meta['e_tag']} {meta['last_modified']} {meta['size']}"
            # Hashed, since a folder's own tag tells the number of the file's inode.
            return Media(read, meta["size"], blake2b(known.encode(), digest_size=12).hexdigest())

        async def read(start: int, end: int) -> bytes:
            async def part(store: Store) -> bytes:
                return bytes(await obstore.get_range_async(store, key, start=start, end=end)) if start < end else b""

            return await self._answer(part, TIMEOUT)

        return await self._answer(work, TIMEOUT)

    def folder_problem(self) -> str | None:
        """Why nothing can be stored in the folder, in words for an operator; None when all is well, or for a bucket.

        Only a folder of the working directory is made when it is missing: another one is a volume that is not there.
        """
        folder = self._folder
        if folder is None:
            return None
        with suppress(PermissionError):  # by which a folder above keeps this user out
            while self._is_made and not folder.exists():
                folder = folder.parent
            if not folder.is_dir():
                return f"{folder} is no folder: make it, or mount the volume that it is on."
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            return f"Kitsu may not write to {folder}: let its user do so."
        return None

    async def probe(self) -> None:
        """Raise ServiceUnavailable unless files can be stored and found."""
        if self.folder_problem() is not None:
            raise ServiceUnavailable
        with suppress(NotFound):
            await self.get("probe")

    async def delete(self, key: str) -> None:
        """Remove a file, if it is there. Raises ServiceUnavailable."""

        async def work(store: Store) -> None:
            if self._folder:
                _remove_unfinished(self._folder / key)
            try:
                await obstore.delete_async(store, key)
            except TypeError as error:  # obstore's word, in this one method, for a key that can't be
                raise NotFound from error

        # A bucket does not mind a missing file: what it misses then is the bucket.
        with suppress(NotFound):
            await self._answer(work, DELETE_TIMEOUT, missing=NotFound if self._folder else ServiceUnavailable)

    async def _answer(
        self,
        work: Callable[[Store], Awaitable[T]],
        seconds: float,
        *,
        missing: type[AppError] = NotFound,
        failure: type[AppError] = ServiceUnavailable,
    ) -> T:
        try:
            if self._store is None:
                self._store = LocalStore(self._folder, mkdir=True)
            with released_slot():
                async with asyncio.timeout(seconds):
                    return await work(self._store)
        except FileNotFoundError as error:
            raise missing from error
        except ValueError as error:  # no store has a file by such a name
            raise NotFound from error
        except TimeoutError as error:
            log.warning("media store away", error="TimeoutError")
            raise PutOutcomeUnknown from error
        except (BaseError, OSError) as error:
            reason = str(error).partition("\n")[0].replace(str(self._folder), "")
            log.warning("media store away", error=type(error).__name__, reason=reason)
            raise failure from error


def _bucket(url: str, endpoint: str | None) -> S3Store:
    name, _, prefix = url.removeprefix("s3://").partition("/")
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT),
        "timeout": timedelta(seconds=TIMEOUT),
    }
    config: S3Config = {"disable_bulk_delete": True}  # which not every other store has
    if endpoint:
        options["allow_http"] = endpoint.startswith("http://")
        config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    return S3Store(
        name,
        prefix=prefix.strip("/") or None,
        config=config,
        client_options=options,
        retry_config={
            "max_retries": 1,
            "retry_timeout": timedelta(seconds=TIMEOUT),
            "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(milliseconds=100)},
        },
    )


def _remove_unfinished(path: Path) -> None:
    """What a process that was killed within a put left: a folder's files are written beside, then renamed."""
    for unfinished in path.parent.glob(f"{escape(path.name)}#*"):
        unfinished.unlink(missing_ok=True)
