"""The limits of logins: of an e-mail from a network, of a network, and of an e-mail from all networks.

An attempt is counted before its password is checked, as unfinished. Where failures and unfinished attempts together
reach a limit, further attempts wait for the outcome: people who log in at the same moment are not refused, and as many
guesses at the same moment don't get more checks than one after the other.

A network is refused by the number of e-mails for which it has sent wrong passwords: one forgetful person does not lock
out the others. An e-mail is never locked, since attackers could use that against its owner. Beyond its limit each
further network has to come back after a delay, which grows with each of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import DateTime, Uuid, any_, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kitsu.db.models import AuthSession, LoginCounter
from kitsu.db.statements import StatementRunner
from kitsu.domain.accounts.login_rules import Counter, Decision, LoginPolicies, decide, seconds_until
from kitsu.domain.concurrency import released_slot
from kitsu.domain.rate_limits import Allowance, Policy, counter_key, network_of, note_allowance
from kitsu.errors import RateLimited

MAX_WAITING = 100  # attempts of a worker that wait for unfinished ones
WAIT_SECONDS = 5.0  # how long they wait
WAIT_INTERVAL_SECONDS = 0.2
RETRY_SECONDS = 2  # `Retry-After` of one that has waited in vain
MAX_IPS = 1000  # of a user's sessions

log = structlog.get_logger("kitsu.security")


class Attempt(msgspec.Struct):
    """An attempt that is admitted. Without keys nothing is counted."""

    keys: tuple[bytes, ...] = ()
    is_of_network: bool = False
    """Whether it is counted for its network: its e-mail was not yet."""
    is_right: bool | None = None
    """The outcome, for the caller to set; None: it has none, since the password was not checked."""


_counter = LoginCounter
_now = func.clock_timestamp(type_=DateTime(timezone=True)).label("now")
_columns = (_counter.key, _counter.failures, _counter.unfinished, _counter.waits_until, _counter.ends_at)
_COUNTERS = select(*_columns, _now).where(_counter.key == any_(bindparam("keys", type_=ARRAY(BYTEA))))
_LOCK = _COUNTERS.order_by(_counter.key).with_for_update()
_ADD = insert(_counter).values(key=bindparam("key"), ends_at=func.now()).on_conflict_do_nothing()
_STORE = (
    update(_counter)
    .where(_counter.key == bindparam("of_key"))
    .values({name: bindparam(f"new_{name}") for name in ("failures", "unfinished", "waits_until", "ends_at")})
)
_DELETE = delete(_counter).where(_counter.key == any_(bindparam("keys", type_=ARRAY(BYTEA))))
_IPS = (
    select(AuthSession.ip)
    .where(
        AuthSession.user_id == bindparam("user_id", type_=Uuid),
        or_(AuthSession.revoke_reason.is_(None), AuthSession.revoke_reason == "logout"),
    )
    .distinct()
    .limit(MAX_IPS)
)


class LoginLimiter:
    """Counts logins in the database, so that the limits hold across workers and restarts."""

    def __init__(self, engine: AsyncEngine, runner: StatementRunner, policies: LoginPolicies, *, enabled: bool) -> None:
        self._engine = engine
        self._runner = runner
        self._policies = policies
        self._enabled = enabled
        self._waiting = 0
        self._endings: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def attempt(self, subject: str, user_id: UUID | None, ip: str) -> AsyncIterator[Attempt]:
        """Count an attempt for a subject, which is an e-mail, and at the end its outcome. Raises RateLimited.

        `user_id` is None for an unknown e-mail. After a right password the failures of its e-mail from its network no
        longer count.
        """
        attempt = await self._begin(subject, user_id, ip)
        try:
            yield attempt
        except asyncio.CancelledError:
            # The request is out of time, and its response does not wait for the database.
            ending = asyncio.create_task(self._end_in_background(attempt))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            raise
        except Exception:
            await self._end(attempt)
            raise
        await self._end(attempt)

    async def _begin(self, subject: str, user_id: UUID | None, ip: str) -> Attempt:
        if not self._enabled:
            return Attempt()
        network = network_of(ip)
        policies = self._policies
        keys = (
            counter_key("login", subject, network),
            counter_key("login-address", network),
            counter_key("login-account", subject),
        )
        started = time.monotonic()
        is_known = None
        while True:
            # Refused attempts are most of those of an attack: they only read.
            counters, now = await self._read(keys)
            decision = decide(policies, counters, now, is_known=bool(is_known))
            if decision.is_admitted or (decision.is_postponed and is_known is not None):
                decision, attempt = await self._count(keys, is_known)
                if decision.is_admitted:
                    return attempt
            if decision.policy is policies.email and is_known is None:
                is_known = network in await self._networks(user_id)
                continue
            may_wait = time.monotonic() - started < WAIT_SECONDS and self._waiting < MAX_WAITING
            if decision.seconds is not None or not may_wait:
                raise self._refusal(decision, user_id)
            await self._wait()

    async def _end_in_background(self, attempt: Attempt) -> None:
        # Without the database it stays unfinished until its window ends.
        with suppress(Exception):
            await self._end(attempt)

    async def _end(self, attempt: Attempt) -> None:
        if not attempt.keys:
            return
        async with self._engine.begin() as connection:
            counters, _ = await self._locked(connection, attempt.keys)
            pair, network, email = counters
            counted = counters if attempt.is_of_network else (pair, email)
            for counter in counted:
                counter.unfinished = max(counter.unfinished - 1, 0)
            if attempt.is_right:
                network.failures = max(network.failures - (pair.failures > 0), 0)
                pair.failures, pair.waits_until = 0, None
            elif attempt.is_right is not None:
                network.failures += pair.failures == 0
                pair.failures += 1
                email.failures += 1
            await _store(connection, attempt.keys, counters)

    async def _count(self, keys: tuple[bytes, ...], is_known: bool | None) -> tuple[Decision, Attempt]:  # noqa: FBT001 - None: not asked yet
        """Decide about an attempt, and count it if it is admitted or postponed."""
        async with self._engine.begin() as connection:
            counters, now = await self._locked(connection, keys)
            decision = decide(self._policies, counters, now, is_known=bool(is_known))
            pair, network, email = counters
            attempt = Attempt(keys, is_of_network=pair.failures == 0)
            if decision.is_admitted:
                for counter in counters if attempt.is_of_network else (pair, email):
                    counter.unfinished += 1
                pair.waits_until = None
                self._show(self._policies.pair, pair, now)
                self._show(self._policies.network, network, now)
            elif decision.is_postponed and decision.seconds and is_known is not None:
                pair.waits_until = now + timedelta(seconds=decision.seconds)
                email.failures += 1
            await _store(connection, keys, counters)
            return decision, attempt

    async def _read(self, keys: tuple[bytes, ...]) -> tuple[list[Counter], datetime]:
        rows = await self._runner.rows(_COUNTERS, {"keys": list(keys)})
        if not rows:
            now = datetime.now(UTC)
            return [Counter(0, 0, None, now) for _ in keys], now
        return self._counters(keys, rows)

    async def _locked(self, connection: AsyncConnection, keys: tuple[bytes, ...]) -> tuple[list[Counter], datetime]:
        """Lock the counters in one order for all attempts, and add those that are missing."""
        while True:
            rows = (await connection.execute(_LOCK, {"keys": list(keys)})).mappings().all()
            if len(rows) == len(keys):
                return self._counters(keys, rows)
            # Another attempt may add the same ones, or delete one again.
            there = {row["key"] for row in rows}
            await connection.execute(_ADD, [{"key": key} for key in sorted(keys) if key not in there])

    def _counters(self, keys: tuple[bytes, ...], rows: Sequence[Any]) -> tuple[list[Counter], datetime]:
        """Return the counters in the order of the keys, and the time; a window that has ended begins again."""
        now: datetime = rows[0]["now"]
        found = {row["key"]: row for row in rows}
        policies = (self._policies.pair, self._policies.network, self._policies.email)
        counters = []
        for key, policy in zip(keys, policies, strict=True):
            window = timedelta(seconds=policy.seconds)
            row = found.get(key)
            if row is not None and row["ends_at"] > now:
                counters.append(Counter(row["failures"], row["unfinished"], row["waits_until"], row["ends_at"]))
            else:
                # The end of a delay may be later than that of the window in which it began.
                until = row and row["waits_until"]
                counters.append(Counter(0, 0, until if until and until + window > now else None, now + window))
        return counters, now

    async def _networks(self, user_id: UUID | None) -> set[str]:
        """Return the networks from which a user is signed in, or was. For no user it takes as long."""
        rows = await self._runner.rows(_IPS, {"user_id": user_id or UUID(int=0)})
        return {network_of(row["ip"]) for row in rows if row["ip"]}

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            with released_slot():
                await asyncio.sleep(WAIT_INTERVAL_SECONDS)
        finally:
            self._waiting -= 1

    @staticmethod
    def _show(policy: Policy, counter: Counter, now: datetime) -> None:
        left = max(policy.limit - counter.tries, 0)
        note_allowance(Allowance(policy, left, seconds_until(counter.ends_at, now)))

    @staticmethod
    def _refusal(decision: Decision, user_id: UUID | None) -> RateLimited:
        seconds = decision.seconds or RETRY_SECONDS
        if decision.policy is not None:
            note_allowance(Allowance(decision.policy, 0, seconds))
            log.warning("login locked", user_id=user_id and str(user_id), limit=decision.policy.name)
        return RateLimited(retry_after=seconds)


async def _store(connection: AsyncConnection, keys: Sequence[bytes], counters: Sequence[Counter]) -> None:
    """Store locked counters, and delete those that count nothing."""
    of_keys = list(zip(keys, counters, strict=True))
    needed = [
        {
            "of_key": key,
            "new_failures": each.failures,
            "new_unfinished": each.unfinished,
            "new_waits_until": each.waits_until,
            "new_ends_at": each.ends_at,
        }
        for key, each in of_keys
        if each.is_needed
    ]
    if needed:
        await connection.execute(_STORE, needed)
    if len(needed) < len(of_keys):
        await connection.execute(_DELETE, {"keys": [key for key, each in of_keys if not each.is_needed]})
