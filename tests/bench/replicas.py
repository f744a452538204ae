"""`make bench-replicas`: reads per second without and with one and two replicas, and how late a replica is under load.

All runs on one machine. Each PostgreSQL server may use only a part of a core (a control group, so this needs root on
Linux): what gives out is the databases, as on machines of their own, and not the clients.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import URL

from tests.bench import dataset
from tests.bench.servers import CONNECTIONS, SECONDS, Figures, background_load, kitsu, run_load
from tests.bench.workloads import Workload, prepare_workloads
from tests.cli.process import server_folder, until
from tests.cluster.nodes import Node, primary_and_standbys
from tests.databases import connect, execute

RESULTS = Path(__file__).with_name("RESULTS-REPLICAS.md")
ANIME = 10_000
ROUNDS = 3
WORKERS = 2
SHARE = 0.2
"""Of a core, for each server."""
PERIOD_US = 10_000
READS = ("list", "detail", "search", "favorites", "continue")
PROBES_SECONDS = 10
REPLAYED = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"


@contextmanager
def limited(node: Node, share: float) -> Iterator[None]:
    """Limit the CPU of a server to a part of a core until its end, with version 1 or 2 of control groups."""
    first = Path("/sys/fs/cgroup/cpu")
    group = (first if first.is_dir() else Path("/sys/fs/cgroup")) / f"kitsu-bench-{node.port}"
    quota = int(PERIOD_US * share)
    group.mkdir()
    try:
        if first.is_dir():
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        # A process joins alone; those that it starts from now on are in its group.
        for pid in node.pids():
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        node.kill()
        until(lambda: not (group / "cgroup.procs").read_text(), "the processes of the server ended")
        group.rmdir()


def measure(urls: list[URL], workloads: dict[str, Workload]) -> dict[str, Figures]:
    """Measure the reads with the first server as the primary and the others as its replicas."""
    replicas = ",".join(each.render_as_string(hide_password=False) for each in urls[1:])
    settings = {"DATABASE_REPLICA_URLS": replicas} if replicas else {}
    with kitsu(urls[0], WORKERS, CATALOGUE_MEMORY_MB="0", **settings) as (server, port):
        time.sleep(2)  # until the replicas are used
        figures = {}
        for name in READS:
            run_load(server, port, workloads[name].requests, 2)
            figures[name] = run_load(server, port, workloads[name].requests)
            if figures[name].failed:
                raise RuntimeError(f"{figures[name].failed} requests failed: {name}")
    return figures


async def lags(primary: URL, replica: URL, seconds: float) -> list[float]:
    """Return how many seconds the replica took to replay what the primary had committed, again and again."""
    writer, reader = await connect(primary), await connect(replica)
    found = []
    ends_at = time.perf_counter() + seconds
    while time.perf_counter() < ends_at:
        await writer.execute(
            "INSERT INTO command_runs (command, ended_at) VALUES ('probe', now()) "
            "ON CONFLICT (command) DO UPDATE SET ended_at = now()"
        )
        began = time.perf_counter()
        position = await writer.fetchval("SELECT pg_current_wal_lsn()::text")
        while not await reader.fetchval(REPLAYED, position):
            pass
        found.append(time.perf_counter() - began)
        await asyncio.sleep(0.005)
    await writer.close()
    await reader.close()
    return sorted(found)


def staleness(urls: list[URL], workloads: dict[str, Workload]) -> list[str]:
    """Return rows of a table: the lag of a replica while idle, during progress, and during changes of the catalogue."""
    primary, replica = urls[:2]
    rows = [lag_row("none", asyncio.run(lags(primary, replica, PROBES_SECONDS)))]
    reports = workloads["post progress"].requests
    with kitsu(primary, WORKERS) as (_, port), background_load(port, reports, PROBES_SECONDS):
        found = asyncio.run(lags(primary, replica, PROBES_SECONDS))
    rows.append(lag_row("progress, as fast as it goes", found))

    async def change_catalogue() -> list[float]:
        change = asyncio.create_task(execute(primary, *["UPDATE anime SET score = 1 + random() * 8"] * 3))
        found = await lags(primary, replica, PROBES_SECONDS)
        await change
        return found

    return [*rows, lag_row("all anime change, three times", asyncio.run(change_catalogue()))]


def lag_row(load: str, found: list[float]) -> str:
    """Return the row of a table."""
    values = (found[len(found) // 2], found[len(found) * 99 // 100], found[-1])
    return f"| {load} | " + " | ".join(f"{each * 1000:.1f}" for each in values) + " |"


def main() -> None:
    """Measure, and write RESULTS-REPLICAS.md."""
    with server_folder() as folder, primary_and_standbys(folder, "b", "c") as nodes, ExitStack() as stack:
        asyncio.run(execute(nodes[0].url, "CREATE DATABASE kitsu"))  # the template of the next one
        url = asyncio.run(dataset.prepare_database(nodes[0].url, ANIME))
        workloads = asyncio.run(prepare_workloads(url))
        urls = [each.url.set(database=url.database) for each in nodes]
        late = staleness(urls, workloads)
        print("\n".join(late), flush=True)  # noqa: T201 - the figures
        for node in nodes:
            stack.enter_context(limited(node, SHARE))
        rounds = [[measure(urls[: count + 1], workloads) for count in range(3)] for _ in range(ROUNDS)]
    lines = ["| reads | none/s | one/s | two/s | ratio with one | ratio with two |", "| --- " * 6 + "|"]
    for name in READS:
        none, one, two = (sorted(each[n][name].per_second for each in rounds)[ROUNDS // 2] for n in range(3))
        lines.append(f"| {name} | {none:,.0f} | {one:,.0f} | {two:,.0f} | {one / none:.2f} | {two / none:.2f} |")
    text = f"""# Read replicas, {datetime.now(UTC):%Y-%m-%d}

{os.cpu_count()} cores, Python {sys.version.split()[0]}; {ANIME:,} anime, {WORKERS} workers, no cached responses,
wrk with {CONNECTIONS} connections for {SECONDS} s; the median of {ROUNDS} rounds.

## Reads with none, one and two replicas

Each PostgreSQL server may use {SHARE:.0%} of a core, so the databases are what gives out. With replicas the primary
only checks the sessions of viewers. Compare the ratios: the other figures depend on the machine.

{chr(10).join(lines)}

## How late a replica is

Milliseconds from the commit at the primary until a replica has replayed it, with all of the machine for both.

| load | p50 | p99 | slowest |
| --- | --- | --- | --- |
{chr(10).join(late)}
"""
    RESULTS.write_text(text)
    print("\n".join(lines))  # noqa: T201 - the figures


if __name__ == "__main__":
    main()
