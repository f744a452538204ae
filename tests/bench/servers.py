"""The servers of the benchmark and the load that is put on them."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
from sqlalchemy.engine import URL

from tests.bench import dataset
from tests.bench.workloads import Request
from tests.cli.process import free_port

ROOT = Path(__file__).parents[2]
CONNECTIONS = 16
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
PRODUCTION = Path(__file__).with_name("production")
"""On the path of the service: keeps what only the tests' tools install from being found."""
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
        env={**os.environ, "PYTHONPATH": f"{PRODUCTION}:{ROOT}", **environment},
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
        "SECRET_KEY": dataset.SECRET_KEY,
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
    environment = {"BARE_DATABASE": dataset.plain(url), "BARE_WORKS": str(works_file)}
    with served(command, port, "/constant", **environment) as server:
        yield server, port


def loaded(server: psutil.Process, port: int, requests: list[Request], seconds: int = SECONDS) -> Figures:
    """Have wrk ask for some seconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.writelines("\t".join(line) + "\n" for line in requests)
        file.flush()
        running = server.children(recursive=True)
        before = sum(sum(worker.cpu_times()[:2]) for worker in running)
        said = subprocess.run(
            [*_wrk(seconds), f"http://127.0.0.1:{port}", "--", file.name], capture_output=True, text=True, check=True
        ).stdout
        cpu = sum(sum(worker.cpu_times()[:2]) for worker in running) - before
    found = next(line.split()[1:] for line in said.splitlines() if line.startswith("RESULT"))
    count, took, p50, p99, status, broken = map(int, found)
    memory = max(worker.memory_info().rss for worker in running) / 1e6
    return Figures(count / took * 1e6, p50 / 1000, p99 / 1000, cpu / max(count, 1) * 1e6, memory, status + broken)


@contextlib.contextmanager
def under_load(port: int, requests: list[Request], seconds: int) -> Iterator[None]:
    """While another wrk asks for these."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.writelines("\t".join(line) + "\n" for line in requests)
        file.flush()
        other = subprocess.Popen(
            [*_wrk(seconds + 4), f"http://127.0.0.1:{port}", "--", file.name], stdout=subprocess.PIPE, text=True
        )
        time.sleep(1)
        try:
            yield
            said = other.communicate()[0]
        finally:
            other.kill()
    found = next(line.split()[1:] for line in said.splitlines() if line.startswith("RESULT"))
    if int(found[0]) < seconds or int(found[4]) + int(found[5]):
        raise RuntimeError(f"the other load was no load: {said}")


def memory_of(server: psutil.Process) -> float:
    """The resident megabytes of the largest worker."""
    return float(max(worker.memory_info().rss for worker in server.children(recursive=True)) / 1e6)


def _wrk(seconds: int) -> list[str]:
    return ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--timeout", "10", "-s", str(WRK)]
