"""`kitsu import-catalogue`: exit codes and output."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from tests.cli.invoke import invoked
from tests.conftest import ROOT
from tests.databases import execute
from tests.domain.catalogue.test_import import dump, entry, import_entries, rows, write


def start(database: URL, folder: Path, *arguments: object, **streams: Any) -> subprocess.Popen[str]:
    """Start the command in a folder without `.env`."""
    # Processes that a shell starts in the background ignore SIGINT, and so do their children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "kitsu", "import-catalogue", *map(str, arguments)],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DATABASE_URL": database.render_as_string(hide_password=False),
            },
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
        )
    finally:
        signal.signal(signal.SIGINT, before)


async def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of a command; return its exit code, stdout and stderr, which has no traceback."""
    out, err = await asyncio.to_thread(process.communicate)
    assert "Traceback" not in err
    return process.returncode, out, err


async def run(database: URL, folder: Path, *arguments: object) -> tuple[int, str, str]:
    return await invoked(folder, "import-catalogue", *map(str, arguments), database=database)


async def fails(database: URL, folder: Path, *arguments: object) -> str:
    """Run a command that fails with exit code 1, without output, and return its one line on stderr."""
    code, out, err = await run(database, folder, *arguments)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"Error: .*\n", err), err
    return err


def without_progress(err: str) -> list[str]:
    return [line for line in err.splitlines() if not re.fullmatch(r"read \d+ % of catalogue\.jsonl", line)]


async def test_second_import_changes_nothing(database: URL, tmp_path: Path) -> None:
    path = write(tmp_path, *(entry(n, episodes=0) for n in range(1200)))
    code, out, err = await ended(start(database, tmp_path, path))
    assert (code, out) == (0, "1,200 added, 0 updated, 0 unchanged, 0 refused\n")
    # Without a terminal the progress is printed as lines.
    assert err == "".join(f"read {percent} % of catalogue.jsonl\n" for percent in range(10, 101, 10))

    before = await dump(database)
    assert (await run(database, tmp_path, path))[:2] == (0, "0 added, 0 updated, 1,200 unchanged, 0 refused\n")
    assert await dump(database) == before


async def test_import_reports_counts_and_refused_entries(database: URL, tmp_path: Path) -> None:
    await import_entries(database, tmp_path, entry(1), entry(2), entry(4))
    await execute(database, "UPDATE catalogue_imports SET sample = fields->>'title' = 'Anime 4'")
    changed = (entry(1, title="Changed"), entry(2), entry(3), entry(3), entry(4))
    path = write(tmp_path, entry(1, type="BOOK"), *changed, b"no JSON")
    code, out, err = await run(database, tmp_path, path)
    assert code == 1
    assert out.splitlines() == [
        "2 added, 1 updated, 1 unchanged, 2 refused",
        "1 of those added took the place of sample titles.",
        "1 entries were the same anime as an earlier one of the file.",
    ]
    assert without_progress(err) == [
        "refused 2: Invalid enum value 'BOOK' - at `$.type`",
        "refused 8: JSON is malformed: invalid character (byte 4)",
    ]


async def test_dry_run_writes_nothing(database: URL, tmp_path: Path) -> None:
    path = write(tmp_path, entry(1), entry(2, type="BOOK"))
    before = await dump(database)
    code, out, err = await run(database, tmp_path, "--dry-run", path)
    assert (code, out) == (1, "1 added, 0 updated, 0 unchanged, 1 refused (a dry run: nothing was written)\n")
    assert await dump(database) == before
    assert without_progress(err) == ["refused 3: Invalid enum value 'BOOK' - at `$.type`"]


@asynccontextmanager
async def terminal() -> AsyncIterator[tuple[int, Callable[[], str]]]:
    """Yield the end of a pseudo-terminal for a command, and a function that reads what the command wrote."""
    ours, theirs = os.openpty()

    def read() -> str:
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                written += chunk
        except OSError:  # Linux reports the closed end like this
            pass
        return written.decode()

    try:
        yield theirs, read
    finally:
        os.close(ours)


async def test_import_on_terminal_shows_progress_bar(database: URL, tmp_path: Path) -> None:
    path = write(tmp_path, *(entry(n, episodes=0) for n in range(1200)))
    async with terminal() as (theirs, read):
        process = start(database, tmp_path, path, stdin=theirs, stdout=theirs, stderr=theirs)
        screen = await asyncio.to_thread(read)
        assert process.wait() == 0
    assert "\x1b[" in screen
    assert "━━━" in screen
    assert "100%" in screen
    assert "read 10 %" not in screen
    # At the end the bar is removed and the cursor shown.
    assert screen.rindex("\x1b[2K") < screen.rindex("1,200 added, 0 updated, 0 unchanged, 0 refused")
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")


async def test_unreadable_files_are_refused(database: URL, tmp_path: Path) -> None:
    before = await dump(database)
    messages = {"missing.jsonl": "does not exist", f"{'x' * 300}.jsonl": "name too long"}
    lines = [await fails(database, tmp_path, name) for name in messages]
    for (name, message), line in zip(messages.items(), lines, strict=True):
        assert name in line
        assert message in line
        assert line.endswith(" Nothing was imported.\n")
        assert "PostgreSQL" not in line
    assert await dump(database) == before


async def test_file_with_too_many_bad_entries_is_refused(database: URL, tmp_path: Path) -> None:
    path = write(tmp_path, entry(1), *[b"{}"] * 100_000)
    code, out, err = await run(database, tmp_path, path)
    assert (code, out) == (1, "")
    (line,) = without_progress(err)
    assert line.startswith("Error: ")
    assert "ore than 1,000 entries are not anime" in line
    assert line.endswith(" Nothing was imported.")
    assert await rows(database, "SELECT FROM anime") == []


async def test_unusable_databases_are_refused(bare_database: URL, server: URL, tmp_path: Path) -> None:
    path = write(tmp_path, entry(1))
    away = server.set(host="127.0.0.1", port=1, query={}, password="secret-word")
    urls = (bare_database, server.set(database="nowhere"), away)
    bare, wrong_name, unreachable = [await fails(url, tmp_path, path) for url in urls]
    assert "no tables yet: run `kitsu migrate`" in bare
    assert "no database 'nowhere'" in wrong_name
    assert "can't be reached" in unreachable
    assert "DATABASE_URL" in unreachable
    assert "secret-word" not in unreachable
