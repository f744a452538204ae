"""Several instances of the service behind a proxy, and clients that read and write through it."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, Self
from uuid import uuid4

import httpx
from sqlalchemy.engine import URL

from tests.cli.process import Process, free_port, kitsu, until
from tests.deploy.proxy import Proxy, caddy, nginx

CLIENTS = 6
INSTANCES = 3
ACCOUNT = {"email": "kaguya@example.org", "password": "a long enough password"}
SETTINGS: dict[str, Any] = {
    "TRUSTED_PROXIES": "127.0.0.1",
    "RATE_LIMIT_ENABLED": "false",
    "LOG_LEVEL": "warning",
    "STOP_NOTICE_SECONDS": "1",
}


class Instances:
    """Instances on one database. Each is in a stack of its own, so that it can be replaced."""

    def __init__(self, folder: Path, database: URL) -> None:
        self._folder, self._database = folder, database
        self._stacks = [ExitStack() for _ in range(INSTANCES)]
        self._ports = [str(free_port()) for _ in range(INSTANCES)]
        self.running: list[Process] = []

    @property
    def addresses(self) -> list[str]:
        """Return the addresses, the same after a restart."""
        return [f"127.0.0.1:{port}" for port in self._ports]

    def __enter__(self) -> Self:
        self.running = [self._start(number, {}) for number in range(INSTANCES)]
        for each in self.running:
            each.serves()
        return self

    def __exit__(self, *_: object) -> None:
        for stack in self._stacks:
            stack.close()

    def _start(self, number: int, environment: dict[str, Any]) -> Process:
        settings = SETTINGS | {"PORT": self._ports[number]} | environment
        return self._stacks[number].enter_context(kitsu(self._folder, "serve", database=self._database, **settings))

    def restart(self, number: int, **environment: Any) -> None:
        """Stop an instance with SIGTERM, start another one, and wait until it is ready."""
        assert self.running[number].ended_by(signal.SIGTERM) == 0
        self.start(number, **environment)

    def start(self, number: int, **environment: Any) -> None:
        """Start an instance that has ended, and wait until it is ready."""
        self._stacks[number].close()
        self.running[number] = self._start(number, environment)
        self.running[number].until(lambda: self.is_ready(number), "it was ready")

    def kill(self, number: int) -> None:
        """Kill all processes of an instance with SIGKILL."""
        for process in self.running[number].left():
            process.kill()
        self.running[number].process.wait(10)

    def is_ready(self, number: int) -> bool:
        """Return whether the instance is ready."""
        try:
            return self.running[number].get("/health/ready").is_success
        except httpx.TransportError:
            return False


class Failure(NamedTuple):
    """A request that failed."""

    at: float
    """On the monotonic clock."""
    method: str
    what: str
    """The status, or the error of the connection."""


class Load:
    """Clients, each with one user and one connection, that read, store collections and store library entries."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._is_over = False
        self._threads = [Thread(target=self._work) for _ in range(CLIENTS)]
        self.requests: Counter[str] = Counter()
        """The number of requests by method."""
        self.failures: list[Failure] = []
        self.acknowledged: list[str] = []
        """The names of the collections whose creation was acknowledged."""
        self.seconds: list[float] = []
        self._errors: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until(lambda: self._errors or len(self.acknowledged) > 10 * CLIENTS, "the clients wrote")
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()
        assert self._errors == []

    def __str__(self) -> str:
        kinds = Counter((each.method, each.what) for each in self.failures)
        return (
            f"{len(self.failures)} of {self.requests.total()} failed {dict(kinds)}, slowest {max(self.seconds):.1f} s"
        )

    def _work(self) -> None:
        try:
            with self._proxy.client() as client:
                self._play(client)
        except BaseException as error:  # noqa: BLE001 - raised at the end
            self._errors.append(error)

    def _play(self, client: httpx.Client) -> None:
        account = ACCOUNT | {"email": f"{uuid4()}@example.org"}
        token = client.post("/auth/register", json=account).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        anime = [each["id"] for each in client.get("/anime?limit=20").raise_for_status().json()]
        while not self._is_over:
            for anime_id in anime:
                self._send(client, "GET", f"/anime/{anime_id}")
                self._send(client, "GET", "/watch/continue")
                self._send(client, "PUT", f"/library/{anime_id}", {"status": "watching", "notes": "n" * 2000})
            name = uuid4().hex
            if self._send(client, "POST", "/collections", {"name": name}):
                self.acknowledged.append(name)

    def _send(self, client: httpx.Client, method: str, path: str, body: object = None) -> bool:
        self.requests[method] += 1
        began = time.monotonic()
        try:
            response = client.request(method, path, json=body)
            what = "" if response.is_success else str(response.status_code)
        except httpx.TransportError as error:
            what = type(error).__name__
        now = time.monotonic()
        self.seconds.append(now - began)
        if what:
            self.failures.append(Failure(now, method, what))
        return not what


@contextmanager
def behind(name: str, folder: Path, addresses: list[str]) -> Iterator[Proxy]:
    """Run a proxy, `caddy` or `nginx`, in front of instances."""
    if name == "caddy":
        with caddy(folder, " ".join(addresses)) as proxy:
            yield proxy
    else:
        with nginx(folder, addresses[0], others=addresses[1:]) as proxy:
            yield proxy
