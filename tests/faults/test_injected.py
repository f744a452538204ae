"""Each statement of each request that writes fails once, with each error that a database has on a bad day."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.faults.conftest import Postgres, service, tell
from tests.faults.faulty_proxy import FAULTS, LOST, TERMINATED, FaultyProxy
from tests.faults.writes import Accounts, Rows, Write, outcome
from tests.tcp_proxy import in_thread

pytestmark = pytest.mark.faults

MAX_SECONDS, MAX_LIVENESS_SECONDS, MAX_BUSY_SECONDS = 3, 0.5, 1
BODY = {"code": "SERVICE_UNAVAILABLE", "message": "Service temporarily unavailable", "details": None}
# The statements of the limits run too, and refuse nothing.
RATES = {f"RATE_LIMIT_{name}": "1000000/900" for name in ("LOGIN", "LOGIN_ADDRESS", "REGISTER", "REFRESH", "AVATAR")}
# A connection that leaks is missed by the next request.
SETTINGS = {"WORKERS": "1", "DB_POOL_SIZE": "1", "DB_MAX_OVERFLOW": "0", "RATE_LIMIT_ENABLED": "true", **RATES}


class Trials:
    """A runner of requests, each with one fault."""

    def __init__(self, proxy: FaultyProxy, client: httpx.AsyncClient, accounts: Accounts) -> None:
        self.client = client
        self._proxy, self._accounts = proxy, accounts
        self.statuses: Counter[int] = Counter()
        self.after_commit = 0
        """Faults behind a commit, whose request was done."""
        self.slowest = self.slowest_liveness = 0.0
        self.statements: dict[str, set[str]] = {}
        self.problems: list[str] = []

    async def run(self, write: Write) -> None:
        """Have each round trip of a request fail with each fault."""
        await self._accounts.restore()
        self._before = await self._accounts.rows()
        await self._send(write)
        await self._accounts.restore()
        self._expected_status = (await self._send(write)).status_code
        self._done = outcome(self._before, await self._accounts.rows())
        assert 200 <= self._expected_status < 300, f"{write.name}: {self._expected_status}"
        assert self._done != outcome(self._before, self._before), f"{write.name} writes nothing"
        for fault in FAULTS:
            number = 1
            while await self._is_reached(write, number, fault):
                number += 1

    async def _is_reached(self, write: Write, number: int, fault: str) -> bool:
        await self._accounts.restore()
        self._proxy.arm(number, fault)
        began = time.monotonic()
        response = await self._send(write)
        took = time.monotonic() - began
        self._proxy.disarm()
        sql = self._proxy.failed
        where = f"{write.name}, {fault} at round trip {number} ({(sql or 'none')[:80]})"
        if sql is None:
            self._check(response.status_code == self._expected_status, where, f"{response.status_code} without a fault")
            return False
        self.statements.setdefault(write.name, set()).add(sql)
        self.statuses[response.status_code] += 1
        self.slowest = max(self.slowest, took)
        self._check(took < MAX_SECONDS, where, f"took {took:.2f} s")
        await self._check_worker(where)
        await self._check_rows(response, where, fault, sql)
        await self._accounts.restore()
        again = await self._send(write)
        self._check(again.status_code == self._expected_status, where, f"then {again.status_code} {again.text}")
        return True

    async def _check_rows(self, response: httpx.Response, where: str, fault: str, sql: str) -> None:
        rows = await self._accounts.rows()
        is_done = outcome(self._before, rows) == self._done
        self.after_commit += is_done and self._proxy.has_committed
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            retry_after = response.headers.get("retry-after", "")
            self._check(response.json() == BODY, where, response.text)
            self._check(retry_after.isdecimal() and int(retry_after) > 0, where, f"Retry-After: {retry_after!r}")
            may_be_done = self._proxy.has_committed or fault == LOST
            is_whole = rows == self._before or (is_done and may_be_done)
            self._check(is_whole, where, f"half written: {_difference(self._before, rows)}")
        else:
            # The read was repeated on another connection, or what failed comes behind the answer.
            may_succeed = (fault in {TERMINATED, LOST} and _only_reads(sql)) or self._proxy.has_committed
            is_fine = may_succeed and response.status_code == self._expected_status
            self._check(is_fine, where, f"{response.status_code} {response.text}")
            self._check(is_done, where, f"succeeded with {_difference(self._before, rows)}")
        strays = await self._accounts.stray_files()
        self._check(not strays, where, f"files of nobody: {strays}")

    async def _check_worker(self, where: str) -> None:
        began = time.monotonic()
        live = await self.client.get("/health/live")
        took = time.monotonic() - began
        self.slowest_liveness = max(self.slowest_liveness, took)
        self._check(live.status_code == httpx.codes.OK, where, f"liveness {live.status_code}")
        self._check(took < MAX_LIVENESS_SECONDS, where, f"liveness took {took:.2f} s")
        ends = time.monotonic() + MAX_BUSY_SECONDS
        while (busy := await self._accounts.busy_connections()) and time.monotonic() < ends:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
        self._check(not busy, where, f"busy connections: {busy}")

    async def _send(self, write: Write) -> httpx.Response:
        return await self.client.request(write.method, write.path, **write.arguments)

    def _check(self, condition: object, where: str, problem: str) -> None:
        if not condition:
            self.problems.append(f"{where}: {problem}")


def _only_reads(sql: str) -> bool:
    """Return whether a statement may be repeated; asyncpg's look at PostgreSQL's types begins with a CTE."""
    return sql.startswith(("SELECT ", "WITH RECURSIVE typeinfo_tree")) and "FOR UPDATE" not in sql


def _difference(before: Rows, after: Rows) -> str:
    parts = []
    for table, rows in after.items():
        gone = [row for row in before[table] if row not in rows]
        new = [row for row in rows if row not in before[table]]
        if gone or new:
            parts.append(f"{table}: {gone} → {new}")
    return "; ".join(parts)


@asynccontextmanager
async def trials(postgres: Postgres, folder: Path, **settings: str) -> AsyncIterator[tuple[Trials, list[Write]]]:
    """Start the service behind the proxy, with accounts in its database."""
    with in_thread(FaultyProxy(postgres.url)) as proxy, service(folder, proxy.url, **SETTINGS, **settings) as running:
        async with httpx.AsyncClient(base_url=f"http://{running.address}", trust_env=False, timeout=15) as client:
            accounts = Accounts(client, postgres, folder / "uploads")
            writes = await accounts.make()
            try:
                yield Trials(proxy, client, accounts), writes
            finally:
                await accounts.close()


async def test_each_statement_of_each_write(postgres: Postgres, tmp_path: Path) -> None:
    began = time.monotonic()
    async with trials(postgres, tmp_path) as (run, writes):
        assert not await _untried(run.client, writes)
        for write in writes:
            await run.run(write)
    _report(run, began, "connections that are kept")


async def test_each_statement_on_new_connections(postgres: Postgres, tmp_path: Path) -> None:
    """The statements that set up a connection and prepare others fail too."""
    began = time.monotonic()
    async with trials(postgres, tmp_path, DB_POOL_RECYCLE="0") as (run, writes):
        for write in writes:
            if write.name in {"register", "change the avatar", "add a favourite", "post progress once"}:
                await run.run(write)
    _report(run, began, "new connections")


async def _untried(client: httpx.AsyncClient, writes: list[Write]) -> list[str]:
    """Return the operations that write, of which none of these requests is one."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    tried = [f"{write.method} {write.path}" for write in writes]
    return [
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method in operations
        if method in {"post", "put", "patch", "delete"}
        and not any(re.fullmatch(f"{method} {re.sub('{.*?}', '[^/]+', path)}/?", one, re.IGNORECASE) for one in tried)
    ]


def _report(run: Trials, began: float, what: str) -> None:
    statements, liveness = sum(map(len, run.statements.values())), run.slowest_liveness * 1000
    tell(
        f"{what}: {len(run.statements)} requests that write, {statements} statements, {run.statuses.total()} faults "
        f"in {time.monotonic() - began:.0f} s: {dict(run.statuses)}, {run.after_commit} of them behind a commit; "
        f"slowest answer {run.slowest:.2f} s, slowest liveness {liveness:.0f} ms"
    )
    assert not run.problems, "\n".join(run.problems)
