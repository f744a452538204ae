"""One user who sends large bodies slowly, again and again: uploads and imports of the others are taken."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.accounts import bearer, register
from tests.faults.conftest import Postgres, report, service, workers
from tests.images import plain

pytestmark = pytest.mark.faults

SIZE = 32 << 20  # the largest list
SLOW_CLIENTS = 6
SECONDS = 25
MAX_MEMORY_BYTES = 512 << 20
"""WORKER_MEMORY_MB: a worker with more is replaced."""


async def test_slow_large_bodies_of_one_user_refuse_no_upload_of_others(postgres: Postgres, tmp_path: Path) -> None:
    with service(tmp_path, postgres.url, WORKERS="1") as running:
        base = f"http://{running.address}"
        async with httpx.AsyncClient(base_url=base, timeout=60, trust_env=False) as client:
            attacker = bearer(await register(client, "attacker@example.org"))
            slow: Counter[str] = Counter()
            attacks = [asyncio.create_task(_attack(running.address, attacker, slow)) for _ in range(SLOW_CLIENTS)]
            await asyncio.sleep(2)
            statuses: Counter[tuple[str, int]] = Counter()
            began, number, memory = time.monotonic(), 0, 0
            while time.monotonic() < began + SECONDS:
                number += 1
                # Another user each time, since a job imports a large list, one at a time for each user.
                other = bearer(await register(client, f"{number}@example.org"))
                avatar, listed = await asyncio.gather(
                    client.patch("/users/me", files={"avatar": ("a.png", plain(size=(900, 900)))}, headers=other),
                    client.post("/library/import", content=b" " * (SIZE - 2) + b"{}", headers=other),
                )
                statuses.update([("avatar", avatar.status_code), ("list", listed.status_code)])
                memory = max(memory, sum(psutil.Process(each.pid).memory_info().rss for each in workers(running)))
            for attack in attacks:
                attack.cancel()
            await asyncio.gather(*attacks, return_exceptions=True)
    report(
        f"{number} users beside {SLOW_CLIENTS} slow bodies of 32 MiB: {dict(statuses)}; slow: {dict(slow)}; "
        f"worker: {memory >> 20} MiB"
    )
    assert {status for _, status in statuses} == {200, 202}
    assert slow["429"] > 0
    assert slow["408"] > 0
    assert memory < MAX_MEMORY_BYTES


async def _attack(address: str, headers: dict[str, str], statuses: Counter[str]) -> None:
    """Send a large body that never ends, again and again, and count the statuses of the responses."""
    host, _, port = address.partition(":")
    head = f"POST /library/import HTTP/1.1\r\nHost: kitsu\r\nContent-Length: {SIZE}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    while True:
        reader, writer = await asyncio.open_connection(host, int(port))
        dripping = asyncio.create_task(_drip(writer, head.encode() + b" " * (SIZE - 100)))
        try:
            with suppress(OSError):
                response = await reader.read(4096)
                statuses[response[9:12].decode() or "none"] += 1
        finally:
            dripping.cancel()
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
        await asyncio.sleep(0.1)


async def _drip(writer: asyncio.StreamWriter, start: bytes) -> None:
    """Send the start of a request, and then a byte a second."""
    with suppress(OSError):
        writer.write(start)
        while True:
            await writer.drain()
            await asyncio.sleep(1)
            writer.write(b" ")
