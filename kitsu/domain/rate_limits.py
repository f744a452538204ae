"""Rate limits, counted in the database, so that they hold across workers and restarts."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextvars import Context, ContextVar
from datetime import timedelta
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import msgspec
from sqlalchemy import (
    DateTime,
    Executable,
    Integer,
    Interval,
    LargeBinary,
    bindparam,
    case,
    column,
    delete,
    func,
    literal_column,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.errors import is_unavailable
from kitsu.db.models import RateLimit
from kitsu.db.statements import StatementRunner
from kitsu.errors import RateLimited


class Policy(msgspec.Struct, frozen=True):
    """`limit` hits in a window of some seconds, which begins with the first hit."""

    name: str
    limit: int
    seconds: int


class Allowance(msgspec.Struct, frozen=True):
    """The rest of a policy for a client."""

    policy: Policy
    remaining: int
    reset_seconds: int


tightest_limit: ContextVar[Allowance | None] = ContextVar("tightest_limit", default=None)
"""The limit of the request with the fewest remaining hits, for the headers of the response."""


class RequestHits(msgspec.Struct):
    """What a request has counted."""

    limiter: "RateLimiter"
    keys: list[bytes]

    def give_back(self) -> None:
        """Take the hits back: the request failed for a reason that is not the client's."""
        self.limiter.give_back(self.keys)
        self.keys = []


request_hits: ContextVar[RequestHits | None] = ContextVar("request_hits", default=None)

GIVE_BACK_SECONDS = 1.0
"""How long the limiter waits before it tries again to give hits back: the database may be away."""
MAX_OWED = 10_000
"""Subjects whose hits a worker remembers to give back."""

# Hits beyond the limit do not prolong the window.
_ended = RateLimit.ends_at <= func.clock_timestamp()
_window = bindparam("window", type_=Interval)
_statement = insert(RateLimit).values(
    key=bindparam("counter"),
    hits=bindparam("weight"),
    ends_at=func.clock_timestamp(type_=DateTime(timezone=True)) + _window,
)
HIT = _statement.on_conflict_do_update(
    index_elements=[RateLimit.key],
    set_={
        "hits": case(
            (_ended, bindparam("weight")),
            else_=func.least(RateLimit.hits + bindparam("weight"), bindparam("limit") + 1),
        ),
        "ends_at": case((_ended, func.clock_timestamp() + _window), else_=RateLimit.ends_at),
    },
).returning(RateLimit.hits, func.ceil(func.extract("epoch", RateLimit.ends_at - func.clock_timestamp())).label("reset"))
"""Counts a hit; also as a part of a larger statement. For `RateLimiter`."""
_is_counter = RateLimit.key == bindparam("counter")
_FORGET = delete(RateLimit).where(_is_counter)

_keys, _numbers = bindparam("keys", type_=ARRAY(LargeBinary)), bindparam("numbers", type_=ARRAY(Integer))
_owed = (
    func.unnest(_keys, _numbers)
    .table_valued(column("key", LargeBinary), column("number", Integer), name="owed", joins_implicitly=True)
    .render_derived()
)
_GIVE_BACK = (
    update(RateLimit)
    .where(RateLimit.key == _owed.c.key)
    .values(hits=func.greatest(RateLimit.hits - _owed.c.number, literal_column("0")))
)


class RateLimiter:
    def __init__(self, runner: StatementRunner, policies: Iterable[Policy], *, enabled: bool) -> None:
        self._runner = runner
        self._policies = {policy.name: policy for policy in policies}
        self._enabled = enabled
        self._owed: Counter[bytes] = Counter()
        self._giving_back: asyncio.Task[None] | asyncio.TimerHandle | None = None

    @property
    def is_enabled(self) -> bool:
        """Whether hits count."""
        return self._enabled

    async def hit(self, name: str, *subject: str) -> None:
        """Count a hit of this subject under a policy. Raises RateLimited."""
        if self._enabled:
            policy = self._policies[name]
            row = await self._runner.write(HIT, _parameters(policy, subject, 1))
            self._note_hit(counter_key(name, *subject))
            self._check(policy, row)

    async def hit_on(self, session: AsyncSession, name: str, *subject: str) -> None:
        """Count a hit in the caller's transaction: it counts once that is committed. Raises RateLimited.

        A transaction must not wait for another connection: behind a pooler, others that do the same may have them all.
        """
        if self._enabled:
            await self.hit_in(await session.connection(), HIT, {}, name, *subject, weight=1)

    async def hit_in(
        self,
        connection: AsyncConnection,
        statement: Executable,
        values: dict[str, Any],
        name: str,
        *subject: str,
        weight: int,
    ) -> None:
        """Count a hit that counts for several, by a statement with `HIT`, in the caller's transaction.

        Raises RateLimited.
        """
        policy = self._policies[name]
        result = await connection.execute(statement, values | _parameters(policy, subject, weight))
        self._check(policy, result.one())

    def _check(self, policy: Policy, row: Any) -> None:
        hits, reset = row
        reset_seconds = max(int(reset), 1)
        note_allowance(Allowance(policy, max(policy.limit - hits, 0), reset_seconds))
        if hits > policy.limit:
            raise RateLimited(retry_after=reset_seconds)

    async def forget(self, session: AsyncSession, name: str, *subject: str) -> None:
        """Take all hits of this subject back, in the caller's transaction."""
        if self._enabled:
            await execute_core(session, _FORGET, {"counter": counter_key(name, *subject)})

    def _note_hit(self, key: bytes) -> None:
        if (found := request_hits.get()) is None:
            request_hits.set(RequestHits(self, [key]))
        else:
            found.keys.append(key)

    def give_back(self, keys: Iterable[bytes]) -> None:
        """Take hits back, as soon as the database responds."""
        for key in keys:
            if key in self._owed or len(self._owed) < MAX_OWED:
                self._owed[key] += 1
        if self._owed and self._giving_back is None:
            self._start_giving_back()

    def close(self) -> None:
        """Forget the hits that are owed."""
        self._owed.clear()
        if self._giving_back is not None:
            self._giving_back.cancel()

    def _start_giving_back(self) -> None:
        # In an empty context: no request's log fields may leak into it.
        self._giving_back = asyncio.create_task(self._give_back(), context=Context())

    async def _give_back(self) -> None:
        owed, self._owed = self._owed, Counter()
        try:
            await self._runner.write(_GIVE_BACK, {"keys": list(owed), "numbers": list(owed.values())})
        except Exception as error:
            if not is_unavailable(error):
                raise
            self._owed += owed
        finally:
            self._giving_back = None
        if self._owed:
            # A timer, since a task that sleeps would be reported at the end of the process.
            self._giving_back = asyncio.get_running_loop().call_later(GIVE_BACK_SECONDS, self._start_giving_back)


def note_allowance(allowance: Allowance) -> None:
    """Show what is left of a policy in the headers of the response, unless less is left of another one."""
    tightest = tightest_limit.get()
    if tightest is None or allowance.remaining < tightest.remaining:
        tightest_limit.set(allowance)


def plain_address(address: str) -> IPv4Address | IPv6Address:
    """Parse an address, and unwrap an IPv4 address mapped to IPv6. Raises ValueError."""
    ip = ip_address(address)
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def network_of(address: str) -> str:
    """Return the subject of limits by address: for IPv6 the /64 network, which one customer has."""
    try:
        ip = plain_address(address)
    except ValueError:
        return address
    return str(ip_network(f"{ip}/64", strict=False)) if ip.version == 6 else str(ip)


def _parameters(policy: Policy, subject: tuple[str, ...], weight: int) -> dict[str, Any]:
    window = timedelta(seconds=policy.seconds)
    return {"counter": counter_key(policy.name, *subject), "window": window, "limit": policy.limit, "weight": weight}


def counter_key(name: str, *subject: str) -> bytes:
    """Return the key under which hits are counted, which does not tell the subject."""
    return sha256("\0".join((name, *subject)).encode()).digest()
