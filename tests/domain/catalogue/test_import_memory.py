"""The memory of the import: under 200 MB for any size and content of the file."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import psutil
import pytest
from sqlalchemy.engine import URL

from kitsu.domain.catalogue.importing.files import MAX_LINE
from tests.conftest import ROOT
from tests.databases import connect, execute
from tests.domain.catalogue.test_import import METADATA, entry, line_of, rows
from tests.domain.catalogue.test_import_failures import WAITS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.slow

LIMIT = 200_000_000

# A process in between: the peak of a child includes the memory of its parent at the fork, which is large here.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call([sys.executable, "-m", "kitsu", "import-catalogue", sys.argv[1]], stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


def settings(database: URL) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database.render_as_string(hide_password=False),
    }


def run_measured(database: URL, path: Path) -> tuple[int, str, int]:
    """Run the command on a file. Return its exit code, its output, and its peak in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        cwd=path.parent,
        env=settings(database),
        capture_output=True,
        text=True,
        check=False,
    )
    *printed, peak = done.stdout.splitlines()
    return done.returncode, "\n".join(printed), int(peak)


SITES = (
    "https://anidb.net/anime/",
    "https://anilist.co/anime/",
    "https://anime-planet.com/anime/slug-",
    "https://animecountdown.com/",
    "https://anisearch.com/anime/",
    "https://livechart.me/anime/",
    "https://myanimelist.net/anime/",
    "https://simkl.com/anime/",
)


def many(count: int) -> Iterator[bytes]:
    """Yield entries with 8 sources each, of which twenty each are the same anime."""
    yield line_of(METADATA)
    for number in range(count):
        sources = [f"{site}{number}" for site in SITES[:7]] + [f"{SITES[7]}{number // 20}"]
        studios = [f"studio {number} {n} {'x' * 90}" for n in range(40)]
        yield line_of(entry(number, sources=sources, studios=studios, episodes=number % 3))


async def test_large_file_is_imported_within_the_limit(database: URL, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.writelines(many(10_000))
    code, printed, peak = run_measured(database, path)
    print(f"peak {peak / 1e6:.0f} MB, file {path.stat().st_size / 1e6:.0f} MB")  # noqa: T201 - to be seen with -s
    assert code == 0
    assert printed.startswith("500 added, 0 updated, 0 unchanged, 0 refused\n9,500 entries were the same anime")
    assert await rows(database, "SELECT count(*) FROM external_ids") == [10_000 * 7 + 500]
    assert peak < LIMIT


def odd_lines(*values: dict[str, Any]) -> Iterator[bytes]:
    return map(line_of, (METADATA, entry(1), *values))


async def test_long_lines_are_read_within_the_limit(database: URL, tmp_path: Path) -> None:
    """Lines near the limit and over it: a few bytes in the file may take a hundred in memory."""
    texts = b'"ab",' * (MAX_LINE // 5 - 100) + b'"ab"'
    path = tmp_path / "odd.jsonl"
    with path.open("wb") as file:
        file.writelines(odd_lines())
        file.write(b'{"synonyms": ["' + b"x" * 100_000_000 + b'"]}\n')
        file.writelines(repeat(line_of(entry(2, sources=["no url"], synonyms=["?"])).replace(b'"?"', texts), 600))
        file.writelines(repeat(line_of(entry(2, type="x" * (MAX_LINE - 1000))), 300))
    code, printed, peak = run_measured(database, path)
    assert code == 1
    assert printed == "1 added, 0 updated, 0 unchanged, 901 refused"
    assert peak < LIMIT


async def test_one_group_of_all_entries_stays_within_the_limit(database: URL, tmp_path: Path) -> None:
    """The whole file is one group, and each entry an anime of the catalogue: n reasons could name n anime each."""
    await execute(
        database,
        "INSERT INTO anime (id, title) SELECT gen_random_uuid(), n FROM generate_series(1, 2000) n",
        "INSERT INTO external_ids SELECT 'myanimelist', title, id FROM anime",
    )
    path = tmp_path / "odd.jsonl"
    sources = ("https://myanimelist.net/anime/{}", "https://example.org/placeholder")
    each = (entry(n, sources=[source.format(n) for source in sources]) for n in range(1, 2001))
    path.write_bytes(b"".join(map(line_of, (METADATA, *each))))
    _, printed, peak = run_measured(database, path)
    assert printed in {"", "0 added, 0 updated, 0 unchanged, 2,000 refused"}
    assert peak < LIMIT


async def test_large_compression_window_stays_within_the_limit(database: URL, tmp_path: Path) -> None:
    """The file has a window of 64 MB. With the largest one, 128 MB, the import takes about 240 MB."""
    path = tmp_path / "odd.jsonl.zst"
    options: dict[int, int] = {zstd.CompressionParameter.compression_level: 1, zstd.CompressionParameter.window_log: 26}
    with zstd.open(path, "wb", options=options) as file:
        file.writelines(odd_lines(*repeat(entry(1, unknown="x" * 1_000_000), 150)))
    assert run_measured(database, path)[2] < LIMIT


async def test_many_episodes_stay_within_the_limit(database: URL, tmp_path: Path) -> None:
    """Measured while the INSERT of the episodes waits for a lock."""
    path = tmp_path / "odd.jsonl"
    path.write_bytes(b"".join(odd_lines(*(entry(n, episodes=20_000) for n in range(2, 42)))))
    connection = await connect(database)
    async with connection.transaction():
        await connection.execute("LOCK TABLE episodes IN SHARE MODE")
        command = (sys.executable, "-m", "kitsu", "import-catalogue", str(path))
        process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=settings(database), stderr=DEVNULL)
        while not await connection.fetchval(WAITS):
            assert process.returncode is None
        used = psutil.Process(process.pid).memory_info().rss
        process.kill()
        await process.wait()
    await connection.close()
    assert used < LIMIT
