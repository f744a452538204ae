"""`make bench`: load the service and the bare handlers with wrk, and write the figures to RESULTS.md."""

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
from tests.bench.servers import (
    CONNECTIONS,
    ROOT,
    SECONDS,
    Figures,
    background_load,
    bare,
    kitsu,
    largest_memory,
    run_load,
)
from tests.bench.workloads import Request, Workload, encode_workloads, prepare_workloads

RESULTS = Path(__file__).with_name("RESULTS.md")
ANIME = 100_000
CONSTANT: list[Request] = [("GET", "/constant", "", "")]
COLUMNS = ("workload", "workers", "requests/s", "p50 ms", "p99 ms", "CPU µs", "MB", "baseline/s", "ratio")


def row(name: str, workers: int, ours: Figures, baseline: Figures) -> str:
    """Return a row of the table."""
    failed = f" ({ours.failed} failed)" if ours.failed else ""
    figures = (
        f"{ours.per_second:,.0f} | {ours.p50_ms:.2f} | {ours.p99_ms:.2f} | {ours.cpu_us:.0f} | {ours.memory_mb:.0f}"
    )
    ratio = f"{baseline.per_second:,.0f} | {ours.per_second / baseline.per_second:.2f}"
    return f"| {name}{failed} | {workers} | {figures} | {ratio} |"


def measure(url: URL, workers: int, workloads: dict[str, Workload], workloads_file: Path) -> Iterator[str]:
    """Measure all workloads, and yield the rows of the table."""
    with bare(url, workers, workloads_file) as (server, port):
        baseline = {"constant": run_load(server, port, CONSTANT)}
        for workload in workloads.values():
            baseline[workload.name] = run_load(server, port, workload.bare_requests())
            if baseline[workload.name].failed:
                raise RuntimeError(f"the bare handler failed with {workload.name}")
        asyncio.run(dataset.reset_viewers(url))
    with kitsu(url, workers) as (server, port):
        idle = largest_memory(server)
        for name in ("list", "detail"):
            run_load(server, port, workloads[name].requests, 1)
            cached = run_load(server, port, workloads[name].requests)
            yield row(f"{name}, cached", workers, cached, baseline["constant"])
        yield during_logins("detail, cached", workers, server, port, workloads["detail"], cached)
    with kitsu(url, workers, CATALOGUE_MEMORY_MB="0") as (server, port):
        ours: dict[str, Figures] = {}
        for workload in workloads.values():
            ours[workload.name] = run_load(server, port, workload.requests)
            yield row(workload.name, workers, ours[workload.name], baseline[workload.name])
        yield row("list, from page 4,000", workers, run_load(server, port, far_pages(port)), ours["list"])
        yield during_logins("detail", workers, server, port, workloads["detail"], ours["detail"])
        asyncio.run(dataset.reset_viewers(url))
    yield f"| idle worker | {workers} | | | | | {idle:.0f} | | |"


def during_logins(
    name: str, workers: int, server: psutil.Process, port: int, workload: Workload, alone: Figures
) -> str:
    """Measure a workload while another wrk logs in, and return its row."""
    with background_load(port, logins(), SECONDS):
        return row(f"{name}, during logins", workers, run_load(server, port, workload.requests), alone)


def far_pages(port: int) -> list[Request]:
    """Return requests of late pages by the cursors of the pages before them."""
    offsets = range(ANIME * 4 // 5, ANIME - 1000, ANIME // 1000)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        links = [client.get(f"/anime?offset={offset}").headers["link"] for offset in offsets]
    return [("GET", link[1 : link.index(">")], "", "") for link in links]


def logins() -> list[Request]:
    """Return a login of each viewer."""
    bodies = [{"email": f"user{n}@example.org", "password": dataset.PASSWORD} for n in range(1, dataset.VIEWERS + 1)]
    return [("POST", "/auth/login", "", msgspec.json.encode(body).decode()) for body in bodies]


def main() -> None:
    """Measure, and write RESULTS.md."""
    with shared_server(ROOT / ".local" / "bench-postgres") as server, tempfile.NamedTemporaryFile() as file:
        url = asyncio.run(dataset.prepare_database(server, ANIME))
        workloads = asyncio.run(prepare_workloads(url))
        file.write(encode_workloads(workloads))
        file.flush()
        lines = ["| " + " | ".join(COLUMNS) + " |", "| --- " * len(COLUMNS) + "|"]
        for workers in (1, 2):
            for each in measure(url, workers, workloads, Path(file.name)):
                lines.append(each)
                print(each, flush=True)  # noqa: T201 - the figures
    cores = f"{os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, Python {sys.version.split()[0]}"
    text = f"""# Benchmark of {datetime.now(UTC):%Y-%m-%d}

{cores}; {ANIME:,} anime, {dataset.VIEWERS} viewers, wrk with {CONNECTIONS} connections for {SECONDS} s per
workload, all on one machine. `baseline` runs the same statement in an ASGI handler without a framework, with the same
server and database. For cached responses, the baseline is a handler that returns a constant. For late pages and during
logins (another wrk with as many connections), it is the same workload of the service without these. Compare the
ratios: the other figures depend on the machine. CPU is the time of all workers per request, MB the memory of the
largest worker.

"""
    RESULTS.write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
