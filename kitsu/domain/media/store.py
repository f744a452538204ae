"""The media store: files of users in a folder or in an S3 bucket, by key."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from glob import escape
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import unquote

import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from kitsu.domain.concurrency import released_slot
from kitsu.errors import AppError, NotFound, ServiceUnavailable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

log = structlog.get_logger("kitsu.media")

T = TypeVar("T")
Store = LocalStore | S3Store

CACHE_CONTROL = "public, max-age=31536000, immutable"  # a key is used for one file only
TIMEOUT = 1.8  # seconds for one put or get with its retry, so that a request with its clean-up fails within 3 s
DELETE_TIMEOUT = 0.7  # seconds; `kitsu purge` deletes the rest
CONNECT_TIMEOUT = 1.0
READ_BYTES = 128 * 1024  # bytes of each read of a stream; each is a request to a bucket


class PutOutcomeUnknown(ServiceUnavailable):
    """A put failed, and the file may still appear later."""


class Media(NamedTuple):
    """A file that was found. Reading raises NotFound if it was deleted meanwhile, and ServiceUnavailable."""

    size: int
    tag: str
    read_range: Callable[[int, int], Awaitable[bytes]]

    async def read(self, start: int = 0, end: int | None = None) -> bytes:
        return await self.read_range(start, self.size if end is None else end)

    async def pieces(self, start: int, end: int) -> AsyncIterator[bytes]:
        for begin in range(start, end, READ_BYTES):
            yield await self.read_range(begin, min(begin + READ_BYTES, end))


class MediaStore:
    """Puts, gets and deletes files. Each failure of the store raises ServiceUnavailable."""

    def __init__(self, url: str, s3_endpoint: str | None = None) -> None:
        """Takes `file://` with an absolute path or one from `./`, or `s3://bucket/prefix`. Connects on first use."""
        path = Path(unquote(url.removeprefix("file://"))) if url.startswith("file://") else None
        self._folder = path.absolute() if path else None
        self._is_made = path is not None and not path.is_absolute()
        self._store: Store | None = None if self._folder else _bucket(url, s3_endpoint)

    async def put(self, key: str, data: bytes, media_type: str) -> None:
        """Store a file, all of it or nothing. Raises ServiceUnavailable, PutOutcomeUnknown."""
        # A folder has no attributes. Browsers may read from the bucket itself.
        attributes = None if self._folder else {"Content-Type": media_type, "Cache-Control": CACHE_CONTROL}
        failure = ServiceUnavailable if self._folder else PutOutcomeUnknown
        await self._run(
            lambda store: store.put_async(key, data, attributes=attributes, use_multipart=False),
            TIMEOUT,
            missing=failure,
            failure=failure,
        )

    async def get(self, key: str) -> Media:
        """Find a file. Raises NotFound, ServiceUnavailable."""

        async def read_range(start: int, end: int) -> bytes:
            if start >= end:
                return b""
            return bytes(await self._run(lambda store: store.get_range_async(key, start=start, end=end), TIMEOUT))

        meta = await self._run(lambda store: store.head_async(key), TIMEOUT)
        version = f"{meta['e_tag']} {meta['last_modified']} {meta['size']}"
        # Hashed, since the tag of a folder contains the inode number.
        return Media(meta["size"], blake2b(version.encode(), digest_size=12).hexdigest(), read_range)

    def folder_problem(self) -> str | None:
        """Return why the folder can't store files, in a sentence for operators; None if it can, or for a bucket.

        Only a folder of the working directory is created if it is missing. Another one is a volume that is not mounted.
        """
        folder = self._folder
        if folder is None:
            return None
        with suppress(PermissionError):  # of a parent folder
            while self._is_made and not folder.exists():
                folder = folder.parent
            if not folder.is_dir():
                return f"{folder} is not a folder: create it, or mount its volume."
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
        """Delete a file, if it exists. Raises ServiceUnavailable."""

        async def work(store: Store) -> None:
            if self._folder:
                # A put writes beside the file and renames; a killed process leaves the unfinished file.
                path = self._folder / key
                for unfinished in path.parent.glob(f"{escape(path.name)}#*"):
                    unfinished.unlink(missing_ok=True)
            try:
                await store.delete_async(key)
            except TypeError as error:  # for an invalid key, in this method only
                raise NotFound from error

        # A bucket ignores a missing file, so what is missing is the bucket.
        with suppress(NotFound):
            await self._run(work, DELETE_TIMEOUT, missing=NotFound if self._folder else ServiceUnavailable)

    async def _run(
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
        except ValueError as error:  # an invalid key
            raise NotFound from error
        except TimeoutError as error:
            log.warning("media store failed", error="TimeoutError")
            raise PutOutcomeUnknown from error
        except (BaseError, OSError) as error:
            reason = str(error).partition("\n")[0].replace(str(self._folder), "")
            log.warning("media store failed", error=type(error).__name__, reason=reason)
            raise failure from error


def _bucket(url: str, endpoint: str | None) -> S3Store:
    timeout = timedelta(seconds=TIMEOUT)
    options: ClientConfig = {"connect_timeout": timedelta(seconds=CONNECT_TIMEOUT), "timeout": timeout}
    retries: RetryConfig = {
        "max_retries": 1,
        "retry_timeout": timeout,
        "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(milliseconds=100)},
    }
    config: S3Config = {"disable_bulk_delete": True}  # some servers don't support it
    if endpoint:
        options["allow_http"] = endpoint.startswith("http://")
        config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    return S3Store.from_url(url, config=config, client_options=options, retry_config=retries)
