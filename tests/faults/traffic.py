"""Clients that read and write continuously, and record the results."""

import asyncio
import ssl
import time
from collections import Counter
from itertools import count
from typing import Any, NamedTuple, Self

import httpx

CREDENTIALS = {"email": "kaguya@example.org", "password": "a long enough password"}
CLIENT_TIMEOUT_SECONDS = 20.0
"""A request that takes longer counts as failed."""
TLS_CONTEXT = ssl.create_default_context()
"""Unused, and shared by all clients: creating one is slow."""


class Result(NamedTuple):
    """The result of a request."""

    ended_at: float
    """On the monotonic clock."""
    seconds: float
    status: int
    """0: the connection failed or was closed before the response."""
    is_write: bool
    is_cut: bool = False
    """Whether there was a connection, and it ended without a response."""


class Traffic:
    """Concurrent clients that alternate reads and writes: favourites, then progress when no anime is left."""

    def __init__(
        self, address: str, anime: list[str], clients: int = 8, *, keep_alive: bool = True, pause: float = 0
    ) -> None:
        """Each client waits for `pause` seconds after a response."""
        self._pause = pause
        self.results: list[Result] = []
        self.acknowledged: list[str] = []
        """Anime whose favourite was acknowledged."""
        self._anime = iter(anime)
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1 if keep_alive else 0)
        base = f"http://{address}"
        # A pool of many connections takes longer to choose one than the service takes to respond.
        self._clients = [
            httpx.AsyncClient(
                base_url=base, timeout=CLIENT_TIMEOUT_SECONDS, trust_env=False, limits=limits, verify=TLS_CONTEXT
            )
            for _ in range(clients)
        ]
        self.headers: dict[str, str] = {}
        """The headers that authenticate the clients."""
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False

    async def __aenter__(self) -> Self:
        await self._sign_in()
        self._tasks = [asyncio.create_task(self._run(*each)) for each in enumerate(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)
        for client in self._clients:
            await client.aclose()

    def statuses(self, since: float = 0) -> Counter[int]:
        """Return the number of responses by status."""
        return Counter(result.status for result in self.results if result.ended_at >= since)

    def slowest(self, since: float = 0) -> float:
        """Return the seconds of the slowest request."""
        return max((result.seconds for result in self.results if result.ended_at >= since), default=0.0)

    async def recovers(self, seconds: float) -> float:
        """Wait until a read and a write succeed, and return the seconds. Fails after `seconds`."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            succeeded = {each.is_write for each in self.results if each.ended_at > began and 200 <= each.status < 300}
            if succeeded == {True, False}:
                return time.monotonic() - began
            await asyncio.sleep(0.02)
        raise AssertionError(f"not recovered after {seconds} s: {self.statuses(began)}")

    async def _sign_in(self) -> None:
        response = await self._clients[0].post("/auth/login", json=CREDENTIALS)
        if response.status_code != httpx.codes.OK:
            response = await self._clients[0].post("/auth/register", json=CREDENTIALS)
        self.headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
        for client in self._clients:
            client.headers.update(self.headers)

    async def _run(self, number: int, client: httpx.AsyncClient) -> None:
        for step in count():
            if self._is_over:
                return
            if (number + step) % 2:
                await self._send(client, "GET", f"/anime?limit=5&offset={step % 500}")
            elif (anime := next(self._anime, None)) is not None:
                if await self._send(client, "POST", "/favorites", json={"anime_id": anime}) == httpx.codes.CREATED:
                    self.acknowledged.append(anime)
            elif self.acknowledged:
                body = {"anime_id": self.acknowledged[-1], "episode": 1, "position_seconds": step}
                await self._send(client, "POST", "/watch/progress", json=body)

    async def _send(self, client: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> int:
        began, status, is_cut = time.monotonic(), 0, False
        try:
            status = (await client.request(method, path, **arguments)).status_code
        except httpx.TransportError as error:
            is_cut = not isinstance(error, httpx.ConnectError)
        ended = time.monotonic()
        self.results.append(Result(ended, ended - began, status, method == "POST", is_cut))
        await asyncio.sleep(self._pause or (0 if status else 0.05))
        return status
