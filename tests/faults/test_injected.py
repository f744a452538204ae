"""Each statement of each request that writes fails once with each of FAULTS."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.faults.conftest import Postgres, report, service
from tests.faults.faulty_proxy import FAULTS, LOST, LOST_CONNECTIONS, FaultyProxy
from tests.faults.writes import Accounts, Rows, Write, outcome
from tests.tcp_proxy import in_thread

pytestmark = pytest.mark.faults

MAX_SECONDS, MAX_LIVENESS_SECONDS, MAX_BUSY_SECONDS = 3, 0.5, 1
BODY = {"code": "SERVICE_UNAVAILABLE", "message": "Service temporarily unavailable", "details": None}
# The rate limits run their statements, but reject nothing.
RATES = {f"RATE_LIMIT_{name}": "1000000/900" for name in ("LOGIN", "LOGIN_ADDRESS", "REGISTER", "REFRESH", "AVATAR")}
# With one connection, the next request fails if a connection leaks.
SETTINGS = {"WORKERS": "1", "DB_POOL_SIZE": "1", "DB_MAX_OVERFLOW": "0", "RATE_LIMIT_ENABLED": "true", **RATES}

EXEMPT = {
    # They need the link of a mail, a code, a passkey or a provider.
    *("PATCH /users/me/email", "POST /auth/email/confirm", "POST /auth/email/revert", "POST /auth/verify"),
    *("POST /auth/verify/request", "POST /auth/password/forgot", "POST /auth/password/reset"),
    *("POST /auth/login/second-factor", "DELETE /auth/second-factor", "POST /auth/second-factor/recovery-codes"),
    *("POST /auth/second-factor/totp", "POST /auth/second-factor/totp/confirm", "DELETE /auth/second-factor/totp"),
    *("POST /auth/login/second-factor/passkey", "POST /auth/login/second-factor/passkey/options"),
    *("POST /auth/second-factor/passkeys", "POST /auth/second-factor/passkeys/options"),
    *("DELETE /auth/second-factor/passkeys/{passkey_id}", "POST /auth/oidc/token", "POST /auth/oidc/{name}/link"),
    *("DELETE /users/me/links/{link_id}", "POST /api/import/{provider}"),
    # They change the catalogue, which the test does not restore.
    *("POST /anime", "PATCH /anime/{anime_id}", "DELETE /anime/{anime_id}", "POST /anime/{anime_id}/merge"),
    *("POST /anime/{anime_id}/split", "POST /anime/{anime_id}/history/{change_id}/revert"),
    *(
        "DELETE /anime/{anime_id}/edited-fields/{field}",
        "POST /merges/{merge_id}/undo",
        "POST /import-reviews/{review_id}",
    ),
    *("POST /releases", "PATCH /releases/{release_id}", "DELETE /releases/{release_id}"),
    *("POST /episodes", "PATCH /episodes/{episode_id}", "DELETE /episodes/{episode_id}"),
}
"""Operations that write and are not tested here."""


class Trials:
    """Sends requests with one fault each, and collects the problems."""

    def __init__(self, proxy: FaultyProxy, client: httpx.AsyncClient, accounts: Accounts) -> None:
        self.client = client
        self._proxy, self._accounts = proxy, accounts
        self.statuses: Counter[int] = Counter()
        self.after_commit = 0
        """The number of faults after a commit; their requests were stored."""
        self.slowest = self.slowest_liveness = 0.0
        self.statements: dict[str, set[str]] = {}
        self.problems: list[str] = []

    async def run(self, write: Write) -> None:
        """Send a request again and again, so that each of its round trips fails with each fault."""
        await self._accounts.restore()
        self._before = await self._accounts.rows()
        await self._send(write)
        await self._accounts.restore()
        self._expected_status = (await self._send(write)).status_code
        self._expected_rows = outcome(self._before, await self._accounts.rows())
        assert 200 <= self._expected_status < 300, f"{write.name}: {self._expected_status}"
        assert self._expected_rows != outcome(self._before, self._before), f"{write.name} writes nothing"
        for fault in FAULTS:
            number = 1
            while await self._fails_at(write, number, fault):
                number += 1

    async def _fails_at(self, write: Write, number: int, fault: str) -> bool:
        await self._accounts.restore()
        self._proxy.arm(number, fault)
        began = time.monotonic()
        response = await self._send(write)
        seconds = time.monotonic() - began
        self._proxy.disarm()
        sql = self._proxy.failed
        where = f"{write.name}, {fault} at round trip {number} ({(sql or 'none')[:80]})"
        if sql is None:
            self._check(response.status_code == self._expected_status, where, f"{response.status_code} without a fault")
            return False
        self.statements.setdefault(write.name, set()).add(sql)
        self.statuses[response.status_code] += 1
        self.slowest = max(self.slowest, seconds)
        self._check(seconds < MAX_SECONDS, where, f"took {seconds:.2f} s")
        await self._check_worker(where)
        await self._check_rows(response, where, fault, sql)
        await self._accounts.restore()
        retry = await self._send(write)
        self._check(retry.status_code == self._expected_status, where, f"retry: {retry.status_code} {retry.text}")
        return True

    async def _check_rows(self, response: httpx.Response, where: str, fault: str, sql: str) -> None:
        rows = await self._accounts.rows()
        is_done = outcome(self._before, rows) == self._expected_rows
        self.after_commit += is_done and self._proxy.has_committed
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            retry_after = response.headers.get("retry-after", "")
            self._check(response.json() == BODY, where, response.text)
            self._check(retry_after.isdecimal() and int(retry_after) > 0, where, f"Retry-After: {retry_after!r}")
            may_be_done = self._proxy.has_committed or fault == LOST
            is_atomic = rows == self._before or (is_done and may_be_done)
            self._check(is_atomic, where, f"partly written: {_difference(self._before, rows)}")
        else:
            # A read was repeated on another connection, or a statement after the commit failed.
            may_succeed = (fault in LOST_CONNECTIONS and _only_reads(sql)) or self._proxy.has_committed
            is_expected = may_succeed and response.status_code == self._expected_status
            self._check(is_expected, where, f"{response.status_code} {response.text}")
            self._check(is_done, where, f"success with changes {_difference(self._before, rows)}")
        orphans = await self._accounts.orphan_files()
        self._check(not orphans, where, f"orphan files: {orphans}")

    async def _check_worker(self, where: str) -> None:
        began = time.monotonic()
        live = await self.client.get("/health/live")
        seconds = time.monotonic() - began
        self.slowest_liveness = max(self.slowest_liveness, seconds)
        self._check(live.status_code == httpx.codes.OK, where, f"liveness {live.status_code}")
        self._check(seconds < MAX_LIVENESS_SECONDS, where, f"liveness took {seconds:.2f} s")
        deadline = time.monotonic() + MAX_BUSY_SECONDS
        while (busy := await self._accounts.busy_connections()) and time.monotonic() < deadline:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
        self._check(not busy, where, f"busy connections: {busy}")

    async def _send(self, write: Write) -> httpx.Response:
        return await self.client.request(write.method, write.path, **write.arguments)

    def _check(self, condition: object, where: str, problem: str) -> None:
        if not condition:
            self.problems.append(f"{where}: {problem}")


def _only_reads(sql: str) -> bool:
    """Return whether a statement may be repeated; asyncpg reads the types with a CTE."""
    return sql.startswith(("SELECT ", "WITH RECURSIVE typeinfo_tree")) and "FOR UPDATE" not in sql


def _difference(before: Rows, after: Rows) -> str:
    parts = []
    for table, rows in after.items():
        deleted = [row for row in before[table] if row not in rows]
        new = [row for row in rows if row not in before[table]]
        if deleted or new:
            parts.append(f"{table}: {deleted} → {new}")
    return "; ".join(parts)


@asynccontextmanager
async def trials(postgres: Postgres, folder: Path, **settings: str) -> AsyncIterator[tuple[Trials, list[Write]]]:
    """Run the service with the proxy before its database, and create the accounts."""
    with in_thread(FaultyProxy(postgres.url)) as proxy, service(folder, proxy.url, **SETTINGS, **settings) as running:
        async with httpx.AsyncClient(base_url=f"http://{running.address}", trust_env=False, timeout=15) as client:
            accounts = Accounts(client, postgres, folder / "uploads")
            try:
                writes = await accounts.create()
                yield Trials(proxy, client, accounts), writes
            finally:
                await accounts.close()


async def test_fault_at_any_statement_leaves_no_partial_write(postgres: Postgres, tmp_path: Path) -> None:
    began = time.monotonic()
    async with trials(postgres, tmp_path) as (run, writes):
        assert not await _untested_operations(run.client, writes) - EXEMPT
        for write in writes:
            await run.run(write)
    _check_and_report(run, began, "kept connections")


async def test_fault_at_any_statement_on_new_connection_leaves_no_partial_write(
    postgres: Postgres, tmp_path: Path
) -> None:
    """The faults also hit statements that set up a connection or prepare others."""
    began = time.monotonic()
    async with trials(postgres, tmp_path, DB_POOL_RECYCLE="0") as (run, writes):
        for write in writes:
            if write.name in {"register", "change the avatar", "add a favourite", "post progress once"}:
                await run.run(write)
    _check_and_report(run, began, "new connections")


async def _untested_operations(client: httpx.AsyncClient, writes: list[Write]) -> set[str]:
    """Return the operations that write and that these requests do not cover."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    tested = [f"{write.method} {write.path}" for write in writes]
    return {
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method in operations
        if method in {"post", "put", "patch", "delete"}
        and not any(re.fullmatch(f"{method} {re.sub('{.*?}', '[^/]+', path)}/?", one, re.IGNORECASE) for one in tested)
    }


def _check_and_report(run: Trials, began: float, name: str) -> None:
    statements, liveness = sum(map(len, run.statements.values())), run.slowest_liveness * 1000
    report(
        f"{name}: {len(run.statements)} requests that write, {statements} statements, {run.statuses.total()} faults "
        f"in {time.monotonic() - began:.0f} s: responses {dict(run.statuses)}, {run.after_commit} after a commit; "
        f"slowest response {run.slowest:.2f} s, slowest liveness {liveness:.0f} ms"
    )
    assert not run.problems, "\n".join(run.problems)
