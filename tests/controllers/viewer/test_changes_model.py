"""A device that syncs only changes ends with the same rows as the list, despite writes between and during its syncs.

Beside the API transactions of others write, which began before a page was read and are committed after it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.assertions import read_pages
from tests.controllers.viewer.synced import KINDS, Device, Kind, Row
from tests.databases import connect
from tests.factories import Backend, Viewer, insert

SYNCS = 12


class Others:
    """Writes of other devices, and of open transactions on the database."""

    def __init__(self, backend: Backend, viewer: Viewer, kind: Kind, random: Random) -> None:
        self.backend, self.viewer, self.kind, self.random = backend, viewer, kind, random
        self.open: list[tuple[asyncpg.Connection, Any]] = []
        self.taken: set[str] = set()
        """Rows that an open transaction deleted: another write of one waits for its end."""

    async def act(self) -> None:
        """Do one random write."""
        rows = [row for row in await self.viewer.read(f"{self.kind.path}?limit=100") if row["id"] not in self.taken]
        acts: list[Callable[[], Coroutine[Any, Any, None]]] = [self._make, self._begin]
        if rows:
            row = self.random.choice(rows)
            acts += [lambda: self._change(row), lambda: self._remove(row), lambda: self._begin(row)]
        if self.open:
            acts += [self._end, self._end]
        await self.random.choice(acts)()

    async def settle(self) -> None:
        """End all open transactions."""
        while self.open:
            await self._end()

    async def _make(self) -> None:
        await self.kind.make(self.backend, self.viewer)

    async def _change(self, row: Row) -> None:
        await self.kind.change(self.backend, self.viewer, row)

    async def _remove(self, row: Row) -> None:
        await self.kind.remove(self.backend, self.viewer, row)

    async def _begin(self, removed: Row | None = None) -> None:
        if len(self.open) == 3:
            await self._end()
        connection = await connect(self.backend.url)
        transaction = connection.transaction()
        await transaction.start()
        self.open.append((connection, transaction))
        if removed is None:
            columns = {"user_id": self.viewer.id, **await self.kind.columns(self.backend)}
            await insert(connection, self.kind.table, columns)
        else:
            self.taken.add(removed["id"])
            await connection.execute(f"DELETE FROM {self.kind.table} WHERE id = $1", UUID(removed["id"]))

    async def _end(self) -> None:
        connection, transaction = self.open.pop(self.random.randrange(len(self.open)))
        await (transaction.commit() if self.random.random() < 0.8 else transaction.rollback())
        await connection.close()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.table)
async def test_device_that_syncs_by_changes_ends_with_the_list(backend: Backend, kind: Kind, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - what happens, not a secret
    viewer = await backend.viewer()
    others, device = Others(backend, viewer, kind, random), Device(viewer, kind.path)
    for _ in range(5):
        await kind.make(backend, viewer)
    for _ in range(SYNCS):
        pages = device.pages(random.randint(2, 5))
        reading = asyncio.ensure_future(anext(pages, False))
        while await asyncio.shield(reading) is None:
            reading = asyncio.ensure_future(anext(pages, False))
            for _ in range(random.randrange(3)):
                await others.act()
    await others.settle()
    async for _ in device.pages(3):
        pass
    held = [row for page in await read_pages(viewer, f"{kind.path}?limit=100") for row in page.json()]
    assert device.rows == {row["id"]: row for row in held}
