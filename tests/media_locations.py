"""Folders and S3 buckets for a media store, and access to their files without Kitsu's code."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from tests.cli.process import CLIENT, free_port


class MediaLocation(NamedTuple):
    """A folder or a bucket: its settings, and its files by their names under `avatars/`."""

    settings: dict[str, Any]
    files: Callable[[], dict[str, bytes]]
    put: Callable[[str, bytes], object]


# The server checks only the form of the signature.
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"}


def folder_at(path: Path) -> MediaLocation:
    """Return a folder as a location; it need not exist."""
    avatars = path / "avatars"

    def put(name: str, data: bytes) -> None:
        avatars.mkdir(parents=True, exist_ok=True)
        (avatars / name).write_bytes(data)

    def files() -> dict[str, bytes]:
        return {str(file.relative_to(avatars)): file.read_bytes() for file in path.rglob("*") if file.is_file()}

    return MediaLocation({"media_url": f"file://{path}"}, files, put)


def bucket_of(server: str) -> MediaLocation:
    """Create a bucket and return it with a prefix."""
    bucket = f"{server}/b{uuid4().hex}"
    CLIENT.put(bucket).raise_for_status()

    def files() -> dict[str, bytes]:
        keys = re.findall("<Key>(.*?)</Key>", CLIENT.get(f"{bucket}?list-type=2").text)
        return {
            key.removeprefix("media/avatars/"): CLIENT.get(f"{bucket}/{key}", headers=SIGNED).content for key in keys
        }

    def put(name: str, data: bytes) -> httpx.Response:
        return CLIENT.put(f"{bucket}/media/avatars/{name}", content=data).raise_for_status()

    url = f"s3://{bucket.rpartition('/')[2]}/media/"
    return MediaLocation({"media_url": url, "media_s3_endpoint": server}, files, put)


@contextmanager
def s3_server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start an S3 server, and yield its URL and its process."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(200):
                assert process.poll() is None, "the S3 server ended"
                try:
                    CLIENT.get(f"{address}/moto-api/")
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            yield address, process
        finally:
            process.kill()
