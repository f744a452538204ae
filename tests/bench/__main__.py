"""`make bench`: build a catalogue, serve it beside bare handlers, load both with wrk, write the table."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import psutil
from sqlalchemy.engine import URL

from kitsu.db.embedded import shared_server
from tests.bench import dataset
from tests.bench.servers import CONNECTIONS, ROOT, SECONDS, Figures, bare, kitsu, loaded, memory_of, under_load
from tests.bench.workloads import Request, Work, described, works

RESULTS = Path(__file__).with_name("RESULTS.md")
ANIME = 100_000
CONSTANT: list[Request] = [("GET", "/constant", "", "")]
COLUMNS = ("work", "workers", "requests/s", "p50 ms", "p99 ms", "CPU µs", "MB", "beside/s", "ratio")


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
            base[work.name] = loaded(server, port, work.for_bare())
            if base[work.name].bad:
                raise RuntimeError(f"the bare handler failed at {work.name}")
        asyncio.run(dataset.as_built(url))
    with kitsu(url, workers) as (server, port):
        rest = memory_of(server)
        for name in ("list", "detail"):
            loaded(server, port, todo[name].requests, 1)
            cached = loaded(server, port, todo[name].requests)
            yield line(f"{name}, from memory", workers, cached, base["constant"])
        yield storm("detail, from memory", workers, server, port, todo["detail"], cached)
    with kitsu(url, workers, CATALOGUE_MEMORY_MB="0") as (server, port):
        ours: dict[str, Figures] = {}
        for work in todo.values():
            ours[work.name] = loaded(server, port, work.requests)
            yield line(work.name, workers, ours[work.name], base[work.name])
        yield line("list, page 4,000 and on", workers, loaded(server, port, far_pages(port)), ours["list"])
        yield storm("detail", workers, server, port, todo["detail"], ours["detail"])
        asyncio.run(dataset.as_built(url))
    yield f"| worker at rest | {workers} | | | | | {rest:.0f} | | |"


def storm(name: str, workers: int, server: psutil.Process, port: int, work: Work, alone: Figures) -> str:
    """The line of a work while another wrk signs in."""
    with under_load(port, logins(), SECONDS):
        return line(f"{name}, in a storm of logins", workers, loaded(server, port, work.requests), alone)


def far_pages(port: int) -> list[Request]:
    """Pages of the list by their cursors, as the pages before them name them."""
    offsets = range(ANIME * 4 // 5, ANIME - 1000, ANIME // 1000)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        links = [client.get(f"/anime?offset={offset}").headers["link"] for offset in offsets]
    return [("GET", link[1 : link.index(">")], "", "") for link in links]


def logins() -> list[Request]:
    """One of each viewer."""
    bodies = [{"email": f"user{n}@example.org", "password": dataset.PASSWORD} for n in range(1, dataset.VIEWERS + 1)]
    return [("POST", "/auth/login", "", msgspec.json.encode(body).decode()) for body in bodies]


def main() -> None:
    """Run it all."""
    with shared_server(ROOT / ".local" / "bench-postgres") as server, tempfile.NamedTemporaryFile() as file:
        url = asyncio.run(dataset.prepared(server, ANIME))
        todo = asyncio.run(works(url))
        file.write(described(todo))
        file.flush()
        lines = ["| " + " | ".join(COLUMNS) + " |", "| --- " * len(COLUMNS) + "|"]
        for workers in (1, 2):
            for each in measured(url, workers, todo, Path(file.name)):
                lines.append(each)
                print(each, flush=True)  # noqa: T201 - what it is for
    cores = f"{os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, Python {sys.version.split()[0]}"
    text = f"""# Benchmark of {datetime.now(UTC):%Y-%m-%d}

{cores}; {ANIME:,} anime, {dataset.VIEWERS} viewers, wrk with {CONNECTIONS} connections for {SECONDS} s each, all on
one machine. `beside` is the same statement in an ASGI handler without a framework on the same server and database; for
answers from memory one that answers a constant; for far pages and in the storm of logins (another wrk with as many
connections) the service itself without that. The ratios tell more than the figures. CPU is that of the workers, for
one request; MB the largest worker's.

"""
    RESULTS.write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
