"""Avatars on a full disk."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.conftest import Postgres, report, service
from tests.faults.traffic import Traffic
from tests.images import noise

pytestmark = pytest.mark.faults


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB."""
    folder = tmp_path / "media"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def files_in(folder: Path) -> set[str]:
    """Return the names of all files in a folder."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


async def test_upload_on_full_disk_is_503_and_keeps_the_avatar(
    postgres: Postgres, small_disk: Path, tmp_path: Path
) -> None:
    with service(tmp_path, postgres.url, MEDIA_URL=f"file://{small_disk}") as running:
        async with Traffic(running.address, [], clients=1) as traffic:
            pass
        async with httpx.AsyncClient(
            base_url=f"http://{running.address}", headers=traffic.headers, trust_env=False
        ) as client:

            async def upload() -> int:
                files = {"avatar": ("a.png", noise("PNG", (400, 400)), "image/png")}
                return (await client.patch("/users/me", files=files)).status_code

            assert await upload() == 200
            before = (await client.get("/users/me")).json()["avatar_url"]
            files_before = files_in(small_disk)
            filler = small_disk / "filler"
            with suppress(OSError):
                filler.write_bytes(b"x" * 300_000)
            statuses = [await upload() for _ in range(3)]
            after = (await client.get("/users/me")).json()["avatar_url"]
            files_after = files_in(small_disk) - {"filler"}
            picture = await client.get(before)
            filler.unlink()
            later = await upload()
        report(
            f"full disk: uploads get {statuses}, then {later} with free space; files before: {sorted(files_before)}, "
            f"after: {sorted(files_after)}"
        )
        assert statuses == [503] * 3
        assert after == before
        assert picture.status_code == 200
        assert files_after == files_before
        assert later == 200
