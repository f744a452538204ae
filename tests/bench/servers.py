"""The servers of the benchmark, and wrk."""

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
"""In PYTHONPATH of the service: hides packages that only the development tools install."""
WRK_SCRIPT = Path(__file__).with_name("wrk.lua")


class Figures(NamedTuple):
    """The figures of a load."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    memory_mb: float
    failed: int
    """Unsuccessful responses and broken connections."""


@contextlib.contextmanager
def run_server(command: list[str], port: int, path: str, **environment: str) -> Iterator[psutil.Process]:
    """Start a server, wait until it responds, and stop it at the end."""
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
            raise RuntimeError(f"{command} does not respond")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def kitsu(url: URL, workers: int, **settings: str) -> Iterator[tuple[psutil.Process, int]]:
    """Run the service, and yield its process and port."""
    port = free_port()
    environment = {
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "SECRET_KEY": dataset.SECRET_KEY,
        "RATE_LIMIT_ENABLED": "false",
        "PORT": str(port),
        "WORKERS": str(workers),
    }
    with run_server(["-m", "kitsu", "serve"], port, "/health", **environment, **settings) as server:
        yield server, port


@contextlib.contextmanager
def bare(url: URL, workers: int, workloads_file: Path) -> Iterator[tuple[psutil.Process, int]]:
    """Run the bare handlers with the same server options, and yield the process and the port."""
    port = free_port()
    options = f"--interface asgi --http 1 --loop uvloop --workers {workers} --port {port} --no-ws --log-level critical"
    command = ["-m", "granian", *options.split(), "tests.bench.bare:app"]
    environment = {"BARE_DATABASE": dataset.dsn(url), "BARE_WORKLOADS": str(workloads_file)}
    with run_server(command, port, "/constant", **environment) as server:
        yield server, port


def run_load(server: psutil.Process, port: int, requests: list[Request], seconds: int = SECONDS) -> Figures:
    """Send the requests with wrk, and return the figures."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.writelines("\t".join(line) + "\n" for line in requests)
        file.flush()
        workers = server.children(recursive=True)
        before = sum(sum(worker.cpu_times()[:2]) for worker in workers)
        output = subprocess.run(
            [*_wrk(seconds), f"http://127.0.0.1:{port}", "--", file.name], capture_output=True, text=True, check=True
        ).stdout
        cpu = sum(sum(worker.cpu_times()[:2]) for worker in workers) - before
    values = next(line.split()[1:] for line in output.splitlines() if line.startswith("RESULT"))
    count, duration, p50, p99, errors, broken = map(int, values)
    memory = max(worker.memory_info().rss for worker in workers) / 1e6
    return Figures(count / duration * 1e6, p50 / 1000, p99 / 1000, cpu / max(count, 1) * 1e6, memory, errors + broken)


@contextlib.contextmanager
def background_load(port: int, requests: list[Request], seconds: int) -> Iterator[None]:
    """Send requests with another wrk until the context ends."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.writelines("\t".join(line) + "\n" for line in requests)
        file.flush()
        other = subprocess.Popen(
            [*_wrk(seconds + 4), f"http://127.0.0.1:{port}", "--", file.name], stdout=subprocess.PIPE, text=True
        )
        time.sleep(1)
        try:
            yield
            output = other.communicate()[0]
        finally:
            other.kill()
    values = next(line.split()[1:] for line in output.splitlines() if line.startswith("RESULT"))
    if int(values[0]) < seconds or int(values[4]) + int(values[5]):
        raise RuntimeError(f"the background load failed: {output}")


def largest_memory(server: psutil.Process) -> float:
    """Return the resident memory of the largest worker in MB."""
    return float(max(worker.memory_info().rss for worker in server.children(recursive=True)) / 1e6)


def _wrk(seconds: int) -> list[str]:
    return ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--timeout", "10", "-s", str(WRK_SCRIPT)]
