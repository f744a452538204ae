"""`make bench`: build a catalogue, serve it beside bare handlers, load both with wrk, write the table."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
import msgspec
import psutil
from sqlalchemy.engine import URL

from kitsu.db.embedded import shared_server
from tests.bench import world
from tests.bench.works import Request, Work, jsonable, works
from tests.cli.process import free_port

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("RESULTS.md")
CONNECTIONS = 16
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
ANIME = int(os.environ.get("BENCH_ANIME", "100000"))
"""Other sizes are built beside, and leave the results of the day alone."""
CONSTANT: list[Request] = [("GET", "/constant", "", "")]
WRK = Path(__file__).with_name("wrk.lua")


class Figures(NamedTuple):
    """What came of a load."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    memory_mb: float
    bad: int


@contextlib.contextmanager
def served(command: list[str], port: int, path: str, **environment: str) -> Iterator[psutil.Process]:
    """A server, once it answers."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(400):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).is_success:
                    break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{command} does not answer")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def kitsu(url: URL, workers: int, **settings: str) -> Iterator[tuple[psutil.Process, int]]:
    """The service."""
    port = free_port()
    environment = {
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "SECRET_KEY": world.SECRET_KEY,
        "RATE_LIMIT_ENABLED": "false",
        "PORT": str(port),
        "WORKERS": str(workers),
    }
    with served(["-m", "kitsu", "serve"], port, "/health", **environment, **settings) as server:
        yield server, port


@contextlib.contextmanager
def bare(url: URL, workers: int, works_file: Path) -> Iterator[tuple[psutil.Process, int]]:
    """The handlers without a framework, on the same server with the same options."""
    port = free_port()
    options = f"--interface asgi --http 1 --loop uvloop --workers {workers} --port {port} --no-ws --log-level critical"
    command = ["-m", "granian", *options.split(), "tests.bench.bare:app"]
    environment = {"BARE_DATABASE": world.plain(url), "BARE_WORKS": str(works_file)}
    with served(command, port, "/constant", **environment) as server:
        yield server, port


def loaded(server: psutil.Process, port: int, requests: list[Request], seconds: int = SECONDS) -> Figures:
    """Have wrk ask for some seconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.writelines("\t".join(line) + "\n" for line in requests)
        file.flush()
        running = server.children(recursive=True)
        before = sum(sum(worker.cpu_times()[:2]) for worker in running)
        options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--timeout", "10", "-s", str(WRK)]
        said = subprocess.run(
            ["wrk", *options, f"http://127.0.0.1:{port}", "--", file.name], capture_output=True, text=True, check=True
        ).stdout
        cpu = sum(sum(worker.cpu_times()[:2]) for worker in running) - before
    found = next(line.split()[1:] for line in said.splitlines() if line.startswith("RESULT"))
    count, took, p50, p99, status, broken = map(int, found)
    memory = max(worker.memory_info().rss for worker in running) / 1e6
    return Figures(count / took * 1e6, p50 / 1000, p99 / 1000, cpu / max(count, 1) * 1e6, memory, status + broken)


def line(name: str, workers: int, ours: Figures, base: Figures) -> str:
    """A line of the table."""
    bad = f" ({ours.bad} refused)" if ours.bad else ""
    figures = (
        f"{ours.per_second:,.0f} | {ours.p50_ms:.2f} | {ours.p99_ms:.2f} | {ours.cpu_us:.0f} | {ours.memory_mb:.0f}"
    )
    ratio = f"{base.per_second:,.0f} | {ours.per_second / base.per_second:.2f}"
    return f"| {name}{bad} | {workers} | {figures} | {ratio} |"


def measured(url: URL, workers: int, todo: dict[str, Work], works_file: Path) -> Iterator[str]:
    """The lines of one number of workers."""
    with bare(url, workers, works_file) as (server, port):
        base = {"constant": loaded(server, port, CONSTANT)}
        for work in todo.values():
            requests = [("GET", f"/{work.name.replace(' ', '-')}/{n}", "", "") for n in range(len(work.arguments))]
            base[work.name] = loaded(server, port, requests)
            if base[work.name].bad:
                raise RuntimeError(f"the bare handler failed at {work.name}")
        as_built(url)
    with kitsu(url, workers) as (server, port):
        rest = max(worker.memory_info().rss for worker in server.children(recursive=True)) / 1e6
        for name in ("list", "detail"):
            loaded(server, port, todo[name].requests, 1)
            yield line(f"{name}, from memory", workers, loaded(server, port, todo[name].requests), base["constant"])
    with kitsu(url, workers, CATALOGUE_MEMORY_MB="0") as (server, port):
        for work in todo.values():
            yield line(work.name, workers, loaded(server, port, work.requests), base[work.name])
        as_built(url)
    yield f"| worker at rest | {workers} | | | | | {rest:.0f} | | |"


def as_built(url: URL) -> None:
    """What the viewers keep, as it was: a favourite is added once, and lists shall not grow from run to run."""

    async def restore() -> None:
        connection: Any = await asyncpg.connect(world.plain(url))
        await connection.execute("TRUNCATE favorites, watch_progress, views")
        for statement in world.LISTS:
            await connection.execute(statement, world.VIEWERS, world.LISTED)
        await connection.close()

    asyncio.run(restore())


async def prepared(server: URL, url: URL) -> dict[str, Work]:
    """The database, built once, and what is done with it."""
    names = {str(name) for name in await world.ids(server, "SELECT datname FROM pg_database")}
    if url.database not in names:
        connection: Any = await asyncpg.connect(world.plain(server))
        await connection.execute(f"CREATE DATABASE {url.database} TEMPLATE kitsu")
        await connection.close()
        await world.build(url, ANIME)
    return await works(url)


def main() -> None:
    """Run it all."""
    with shared_server(ROOT / ".local" / "bench-postgres") as server, tempfile.NamedTemporaryFile() as file:
        url = server.set(database=f"bench_{ANIME}")
        todo = asyncio.run(prepared(server, url))
        described = {
            work.name.replace(" ", "-"): {
                "sql": work.sql,
                "arguments": [[jsonable(value) for value in each] for each in work.arguments],
            }
            for work in todo.values()
        }
        file.write(msgspec.json.encode(described))
        file.flush()
        columns = ("work", "workers", "requests/s", "p50 ms", "p99 ms", "CPU µs", "MB", "bare/s", "ratio")
        lines = ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
        for workers in (1, 2):
            for each in measured(url, workers, todo, Path(file.name)):
                lines.append(each)
                print(each, flush=True)  # noqa: T201 - what it is for
    cores = f"{os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, Python {sys.version.split()[0]}"
    text = f"""# Benchmark of {datetime.now(UTC):%Y-%m-%d}

{cores}; {ANIME:,} anime, {world.VIEWERS} viewers, wrk with {CONNECTIONS} connections for {SECONDS} s each, all on
one machine. `bare` is the same statement in an ASGI handler without a framework on the same server and database, for
answers from memory one that answers a constant; the ratios tell more than the figures. CPU is that of the workers, for
one request; MB the largest worker's.

"""
    if ANIME == 100_000:
        RESULTS.write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
