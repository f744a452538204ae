"""What happens to avatars when the disk is full."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.conftest import Postgres, service, tell
from tests.faults.traffic import Traffic
from tests.images import noise

pytestmark = pytest.mark.faults


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 256 kB."""
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
    """The names of all files."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


async def test_full_disk(postgres: Postgres, small_disk: Path, tmp_path: Path) -> None:
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
            kept = files_in(small_disk)
            filler = small_disk / "filler"
            with suppress(OSError):
                filler.write_bytes(b"x" * 300_000)
            statuses = [await upload() for _ in range(3)]
            after = (await client.get("/users/me")).json()["avatar_url"]
            left = files_in(small_disk) - {"filler"}
            picture = await client.get(before)
            filler.unlink()
            again = await upload()
        tell(f"full disk: uploads {statuses}, afterwards {again}; files {sorted(kept)} → {sorted(left)}")
        assert statuses == [503] * 3
        assert after == before
        assert picture.status_code == 200
        assert left == kept
        assert again == 200
