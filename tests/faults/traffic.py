"""Clients that read and write all the time, and keep what they were answered."""

import asyncio
import ssl
import time
from collections import Counter
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple, Self

import httpx

CREDENTIALS = {"email": "kaguya@example.org", "password": "a long enough password"}
QUEUE_TIMEOUT_SECONDS = 20.0
"""Seconds until a client gives up, which is a hang."""
UNUSED = ssl.create_default_context()
"""One for all clients, since each takes long to make."""


class Answer(NamedTuple):
    """What a request came to."""

    at: float
    """When it ended, on the monotonic clock."""
    took: float
    status: int
    """0: the connection broke before there was one, or there never was one."""
    is_write: bool


class Traffic:
    """So many clients at once, who read and write in turn: favourites, and progress when no anime is left."""

    def __init__(
        self, address: str, anime: list[str], clients: int = 8, *, keep_alive: bool = True, pause: float = 0
    ) -> None:
        """Each client waits for `pause` seconds behind an answer."""
        self._pause = pause
        self.answers: list[Answer] = []
        self.acknowledged: list[str] = []
        """Anime that were made favourites."""
        self._anime = iter(anime)
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1 if keep_alive else 0)
        base = f"http://{address}"
        # Each with a connection of its own: a pool of many takes longer to choose one than the service does to answer.
        self._clients = [
            httpx.AsyncClient(
                base_url=base, timeout=QUEUE_TIMEOUT_SECONDS, trust_env=False, limits=limits, verify=UNUSED
            )
            for _ in range(clients)
        ]
        self.headers: dict[str, str] = {}
        """What they are signed in with."""
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False

    async def __aenter__(self) -> Self:
        await self._sign_in()
        self._tasks = [asyncio.create_task(self._go_on(*each)) for each in enumerate(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)
        for client in self._clients:
            await client.aclose()

    def statuses(self, since: float = 0) -> Counter[int]:
        """How many answers of each status there were."""
        return Counter(answer.status for answer in self.answers if answer.at >= since)

    def slowest(self, since: float = 0) -> float:
        """The seconds of the slowest answer."""
        return max((answer.took for answer in self.answers if answer.at >= since), default=0.0)

    async def recovers(self, seconds: float) -> float:
        """The seconds until a read and a write are answered well again. Fails after `seconds`."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            fine = {answer.is_write for answer in self.answers if answer.at > began and 200 <= answer.status < 300}
            if fine == {True, False}:
                return time.monotonic() - began
            await asyncio.sleep(0.02)
        raise AssertionError(f"not well again after {seconds} s: {self.statuses(began)}")

    async def _sign_in(self) -> None:
        response = await self._clients[0].post("/auth/login", json=CREDENTIALS)
        if response.status_code != httpx.codes.OK:
            response = await self._clients[0].post("/auth/register", json=CREDENTIALS)
        self.headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
        for client in self._clients:
            client.headers.update(self.headers)

    async def _go_on(self, number: int, client: httpx.AsyncClient) -> None:
        for turn in count():
            if self._is_over:
                return
            if (number + turn) % 2:
                await self._ask(client, "GET", f"/anime?limit=5&offset={turn % 500}")
            elif (anime := next(self._anime, None)) is not None:
                if await self._ask(client, "POST", "/favorites", json={"anime_id": anime}) == httpx.codes.CREATED:
                    self.acknowledged.append(anime)
            elif self.acknowledged:
                body = {"anime_id": self.acknowledged[-1], "episode": 1, "position_seconds": turn}
                await self._ask(client, "POST", "/watch/progress", json=body)

    async def _ask(self, client: httpx.AsyncClient, method: str, path: str, **arguments: Any) -> int:
        began, status = time.monotonic(), 0
        with suppress(httpx.TransportError):
            status = (await client.request(method, path, **arguments)).status_code
        ended = time.monotonic()
        self.answers.append(Answer(ended, ended - began, status, method == "POST"))
        await asyncio.sleep(self._pause or (0 if status else 0.05))
        return status
