"""Run a command as a process in a folder of its own; all its processes end with the test."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

import httpx
import psutil
from sqlalchemy.engine import URL

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
# One for all tests, since creating one is slow. It keeps no connection.
CLIENT = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

SECRET_KEY = "a-secret-key-that-no-output-may-contain"

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Processes that a shell starts in the background ignore SIGINT, and so do their children.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Process:
    """A running command, with its `output` and `errors` so far."""

    def __init__(
        self, process: subprocess.Popen[bytes], address: str, server: Path | None, out: IO[bytes], err: IO[bytes]
    ) -> None:
        self.process, self.address, self.server = process, address, server
        self._out, self._err = out, err

    @property
    def pid(self) -> int:
        """Return its process id, which is also that of its process group and session."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Return what it wrote to stdout."""
        return os.pread(self._out.fileno(), 1 << 24, 0).decode()

    @property
    def errors(self) -> str:
        """Return what it wrote to stderr."""
        return os.pread(self._err.fileno(), 1 << 20, 0).decode()

    def prints(self, text: str) -> None:
        """Wait until it has printed the text."""
        self.until(lambda: text in self.output, f"it printed {text!r}")

    def serves(self) -> None:
        """Wait until it responds, with success."""
        self.until(self._responds, "it responded")

    def _responds(self) -> bool:
        try:
            response = self.get("/health")
        except httpx.TransportError:
            return False
        if not response.is_success:
            self.fail(f"responded with {response.status_code}")
        return True

    def get(self, path: str) -> httpx.Response:
        """Send a GET request on a new connection."""
        return CLIENT.get(f"http://{self.address}{path}")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds. Fails when the process ends before."""
        is_met = False

        def is_over() -> bool:
            nonlocal is_met
            is_met = bool(condition())
            return is_met or self.process.poll() is not None

        try:
            until(is_over, what)
        except AssertionError as error:
            self.fail(str(error))
        # The condition may have become true just before its end.
        if not is_met and not condition():
            self.fail(f"ended before {what}")

    def ends(self, seconds: float = 30) -> int:
        """Wait for its end and return the exit code. Fails on processes that are left, and on a traceback."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.fail(f"still ran after {seconds} s")
        written = self.output + self.errors
        if "Traceback" in written or "Exception" in written:
            self.fail("wrote a traceback")
        assert SECRET_KEY not in written
        if left := self.left():
            self.fail(f"left running: {left}")
        return code

    def ended_by(self, signal_number: int, *, group: bool = False) -> int:
        """Send a signal to the process, or as a terminal to its group, and return the exit code."""
        (os.killpg if group else os.kill)(self.pid, signal_number)
        return self.ends()

    def left(self) -> list[psutil.Process]:
        """Return the processes that it started and that still run, with the embedded PostgreSQL."""
        return [process for process in psutil.process_iter(["cmdline"]) if self._is_mine(process)]

    def _is_mine(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, ProcessLookupError):
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return os.getsid(process.pid) == self.pid or str(self.server) in (process.info["cmdline"] or [])
        return False

    def fail(self, what: str) -> NoReturn:
        """Fail the test with the output of the process."""
        raise AssertionError(f"{what}; stdout:\n{self.output[-2000:]}\nstderr:\n{self.errors[-2000:]}")


@contextmanager
def started(
    folder: Path,
    command: Sequence[str],
    environment: dict[str, str],
    *,
    stdout: int | None = None,
    server: Path | None = None,
) -> Iterator[Process]:
    """Start Python with this command line, and kill what is left of it at the end. Its stdin is open until then.

    `server` is the folder of an embedded PostgreSQL that must end with it.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.PIPE,
            stdout=out if stdout is None else stdout,
            stderr=err,
            start_new_session=True,
        )
        address = f"{environment.get('HOST', '127.0.0.1')}:{environment.get('PORT')}"
        running = Process(process, address, server, out, err)
        try:
            yield running
        finally:
            with suppress(psutil.Error):
                for left in running.left():
                    left.kill()
            process.communicate()


def kitsu(
    folder: Path,
    *arguments: str,
    database: URL | None = None,
    command: Sequence[str] = ("-m", "kitsu"),
    stdout: int | None = None,
    **settings: str,
) -> AbstractContextManager[Process]:
    """Start `kitsu` in a folder, on a free port; without a database it uses the embedded one."""
    environment = {"SECRET_KEY": SECRET_KEY, "PORT": str(free_port())}
    if database is not None:
        environment["DATABASE_URL"] = database.render_as_string(hide_password=False)
    # Other commands join the server of a service.
    server = folder / ".local" / "postgres" if database is None and arguments[0] in {"run", "serve"} else None
    return started(folder, [*command, *arguments], environment | settings, stdout=stdout, server=server)


@contextmanager
def server_folder() -> Iterator[Path]:
    """Yield a folder for an embedded PostgreSQL.

    As root, the server runs as another user, who can't enter the folders of pytest.
    """
    with tempfile.TemporaryDirectory(prefix="kitsu-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def at_once(work: Callable[..., object], cases: Iterable[tuple[Any, ...]]) -> None:
    """Do the work for all cases concurrently: most of the time is spent on imports of the processes."""
    with ThreadPoolExecutor(4) as pool:
        done = [(case, pool.submit(work, *case)) for case in cases]
    failed = [f"{case}: {future.exception()!r}" for case, future in done if future.exception()]
    assert not failed, "\n\n".join(failed)


def until(condition: Callable[[], T], what: str, seconds: float = 30) -> T:
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s until {what}"
        time.sleep(0.02)
    return value


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
