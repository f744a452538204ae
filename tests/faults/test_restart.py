"""PostgreSQL restarts while the service is idle: the first request of each kind succeeds at each worker."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.cli.process import Process, until
from tests.faults.conftest import Postgres, report, service, workers
from tests.faults.traffic import CREDENTIALS
from tests.images import plain

pytestmark = pytest.mark.faults

LIST = b'[{"provider": "myanimelist", "external_id": "1", "status": "completed"}]'


@contextmanager
def client_of_each_worker(running: Process) -> Iterator[dict[int, httpx.Client]]:
    """Yield a client with a kept connection to each worker, by the worker's process id."""
    with ExitStack() as stack:
        found: dict[int, httpx.Client] = {}

        def connect() -> bool:
            client = httpx.Client(base_url=f"http://{running.address}", trust_env=False, timeout=20)
            stack.enter_context(client)
            stream = client.get("/health/live").extensions["network_stream"]
            port = stream.get_extra_info("client_addr")[1]
            for worker in workers(running):
                if any(each.raddr and each.raddr.port == port for each in worker.net_connections("tcp4")):
                    found.setdefault(worker.pid, client)
            return len(found) == len(workers(running))

        until(connect, "each worker has a client")
        yield found


class Requests:
    """The requests of one user, each of which writes on a connection that was idle before."""

    def __init__(self, client: httpx.Client, anime: list[str]) -> None:
        self._anime = iter(anime)
        self._numbers = count()
        tokens = client.post("/auth/register", json=CREDENTIALS).raise_for_status().json()
        self._signed_in = {"Authorization": f"Bearer {tokens['access_token']}"}
        self._sessions = [client.post("/auth/login", json=CREDENTIALS).json() for _ in range(4)]

    def kinds(self) -> dict[str, Callable[[httpx.Client], httpx.Response]]:
        """Return the functions that send them."""

        def new(**more: Any) -> dict[str, Any]:
            return {"headers": self._signed_in, **more}

        def refresh_token() -> dict[str, str]:
            return {"refresh_token": self._sessions.pop()["refresh_token"]}

        return {
            "login": lambda c: c.post("/auth/login", json=CREDENTIALS),
            "register": lambda c: c.post(
                "/auth/register", json={**CREDENTIALS, "email": f"user{next(self._numbers)}@example.org"}
            ),
            "refresh": lambda c: c.post("/auth/refresh", json=refresh_token()),
            "logout": lambda c: c.post("/auth/logout", json=refresh_token()),
            "favourite": lambda c: c.post("/favorites", **new(json={"anime_id": next(self._anime)})),
            "progress": lambda c: c.post(
                "/watch/progress", **new(json={"anime_id": next(self._anime), "episode": 1, "position_seconds": 3})
            ),
            "collection": lambda c: c.post("/collections", **new(json={"name": "One"})),
            "library": lambda c: c.put(f"/library/{next(self._anime)}", **new(json={"status": "completed"})),
            "avatar": lambda c: c.patch("/users/me", **new(files={"avatar": ("a.png", plain(), "image/png")})),
            "list": lambda c: c.get("/favorites", **new()),
        }


def test_first_request_after_restart_of_idle_database_succeeds(
    postgres: Postgres, anime: list[str], tmp_path: Path
) -> None:
    statuses: dict[str, list[int]] = {}
    with service(tmp_path, postgres.url, RATE_LIMIT_ENABLED="true") as running:
        with client_of_each_worker(running) as clients:
            requests = Requests(next(iter(clients.values())), anime)
            kinds = requests.kinds()
            for name, send in kinds.items():
                for client in clients.values():
                    # Each pool has a connection that the restart closes.
                    for warm in ("collection", "list", "progress"):
                        assert kinds[warm](client).is_success
                postgres.stop()
                postgres.start()
                time.sleep(0.3)
                statuses[name] = [send(client).status_code for client in clients.values()]
        report(f"idle database restarted {len(kinds)} times: first responses of both workers {statuses}")
        assert all(200 <= status < 300 for found in statuses.values() for status in found)
        assert all(psutil.pid_exists(pid) for pid in clients)
