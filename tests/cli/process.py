"""A `kitsu` command as a process of its own, in a folder of its own; whatever it started ends with the test."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar

import httpx
import psutil
from sqlalchemy.engine import URL

T = TypeVar("T")

SECRET_KEY = "a-secret-key-for-tests-that-nobody-may-read"
ROOT = Path(__file__).parents[2]


class Kitsu:
    """A running command. What it wrote so far is in `output` and `errors`."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes], out: IO[bytes], err: IO[bytes]) -> None:
        self.folder, self.port, self.process = folder, port, process
        self._out, self._err = out, err

    @property
    def output(self) -> str:
        """What it wrote to stdout."""
        return os.pread(self._out.fileno(), 1 << 20, 0).decode()

    @property
    def errors(self) -> str:
        """What it wrote to stderr."""
        return os.pread(self._err.fileno(), 1 << 20, 0).decode()

    def prints(self, text: str) -> None:
        """Wait until it has printed a text."""
        self.until(lambda: text in self.output, f"the output {text!r}")

    def serves(self, path: str = "/health") -> httpx.Response:
        """Wait until it answers, and return the answer."""
        return self.until(lambda: self.get(path), f"an answer of {path}")

    def get(self, path: str) -> httpx.Response | None:
        """Ask once, on a new connection; None when nobody answers."""
        with httpx.Client(trust_env=False) as client, suppress(httpx.TransportError):
            return client.get(f"http://127.0.0.1:{self.port}{path}")
        return None

    def until(self, condition: Callable[[], T], what: str) -> T:
        """Wait until a condition holds; it never will once the process has ended."""
        return until(
            lambda: condition() or (self.process.poll() is not None and self._fail(f"ended before {what}")),  # type: ignore[return-value] # _fail never returns
            what,
        )

    def ends(self, seconds: float = 10) -> int:
        """Wait for its end and return the exit code. Nothing that it started may be left, nor a traceback."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._fail(f"still ran after {seconds} s")
        assert "Traceback" not in self.output + self.errors, self.output + self.errors
        assert SECRET_KEY not in self.output + self.errors
        left = self.left()
        assert not left, f"left running: {left}"
        return code

    def ended_by(self, signal_number: int, *, group: bool = False) -> int:
        """Send a signal, to the process alone or as a terminal does to its group, and return the exit code."""
        (os.killpg if group else os.kill)(self.process.pid, signal_number)
        return self.ends()

    def left(self) -> list[psutil.Process]:
        """What lives of the processes that it started, the embedded PostgreSQL too."""
        return [process for process in psutil.process_iter(["pid", "cmdline"]) if self._is_mine(process)]

    def _is_mine(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, ProcessLookupError):
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            in_session = os.getsid(process.pid) == self.process.pid
            return in_session or str(self.folder / ".local/postgres") in (process.info["cmdline"] or [])
        return False

    def _fail(self, what: str) -> bool:
        raise AssertionError(f"{what}; stdout:\n{self.output}\nstderr:\n{self.errors}")


@contextmanager
def kitsu(
    folder: Path, *arguments: str, database: URL | None = None, stdout: int | None = None, **settings: str
) -> Iterator[Kitsu]:
    """Start `kitsu` in a folder, without a database with the embedded one; kill what is left of it at the end."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SECRET_KEY": SECRET_KEY, "PORT": str(port)}
    if database is not None:
        environment["DATABASE_URL"] = database.render_as_string(hide_password=False)
    # A shell that starts the tests in the background has them, and their children, ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "kitsu", *arguments],
            cwd=folder,
            env=environment | settings,
            stdin=subprocess.DEVNULL,
            stdout=out if stdout is None else stdout,
            stderr=err,
            start_new_session=True,
        )
        signal.signal(signal.SIGINT, before)
        running = Kitsu(folder, port, process, out, err)
        try:
            yield running
        finally:
            for left in running.left():
                with suppress(psutil.Error):
                    left.kill()
            process.wait()


def until(condition: Callable[[], T], what: str, seconds: float = 30) -> T:
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return value


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
