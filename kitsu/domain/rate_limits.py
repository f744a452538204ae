"""Limits on how often something may be tried, counted in the database: right across workers and restarts."""

from collections.abc import Iterable
from contextvars import ContextVar
from datetime import timedelta
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import msgspec
from sqlalchemy import DateTime, Interval, bindparam, case, delete, func, literal_column, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import RateLimit
from kitsu.db.statements import StatementRunner
from kitsu.errors import RateLimited


class Policy(msgspec.Struct, frozen=True):
    """So many times in so many seconds, from the first time on."""

    name: str
    limit: int
    seconds: int


class Allowance(msgspec.Struct, frozen=True):
    """What is left of a policy for whoever asks."""

    policy: Policy
    remaining: int
    reset_seconds: int


# What the answer's headers tell: the tightest limit that the request met.
tightest_limit: ContextVar[Allowance | None] = ContextVar("met", default=None)

# Past the limit a counter stands still, and its window is not prolonged.
_ended = RateLimit.ends_at <= func.clock_timestamp()
_window = bindparam("window", type_=Interval)
_statement = insert(RateLimit).values(
    key=bindparam("key"), hits=1, ends_at=func.clock_timestamp(type_=DateTime(timezone=True)) + _window
)
_HIT = _statement.on_conflict_do_update(
    index_elements=[RateLimit.key],
    set_={
        "hits": case((_ended, 1), else_=func.least(RateLimit.hits + 1, bindparam("limit") + 1)),
        "ends_at": case((_ended, func.clock_timestamp() + _window), else_=RateLimit.ends_at),
    },
).returning(RateLimit.hits, func.ceil(func.extract("epoch", RateLimit.ends_at - func.clock_timestamp())).label("reset"))
_FORGET = delete(RateLimit).where(RateLimit.key == bindparam("forgotten"))
_REFUND = (
    update(RateLimit)
    .where(RateLimit.key == bindparam("refunded"))
    .values(hits=func.greatest(RateLimit.hits - 1, literal_column("0")))
)


class RateLimiter:
    """Counts tries in the database, and refuses those beyond a limit."""

    def __init__(self, runner: StatementRunner, policies: Iterable[Policy], *, enabled: bool) -> None:
        self._runner = runner
        self._policies = {policy.name: policy for policy in policies}
        self._enabled = enabled

    async def hit(self, name: str, *subject: str) -> None:
        """Count one try of this subject under a policy. Raises RateLimited when it is beyond the limit."""
        if not self._enabled:
            return
        policy = self._policies[name]
        window = timedelta(seconds=policy.seconds)
        parameters = {"key": _key(name, subject), "window": window, "limit": policy.limit}
        hits, reset = await self._runner.write(_HIT, parameters)
        allowance = Allowance(policy, max(policy.limit - hits, 0), max(int(reset), 1))
        tightest = tightest_limit.get()
        if tightest is None or allowance.remaining < tightest.remaining:
            tightest_limit.set(allowance)
        if hits > policy.limit:
            raise RateLimited(retry_after=allowance.reset_seconds)

    async def forget(self, session: AsyncSession, name: str, *subject: str) -> None:
        """Take all tries of this subject back, in the caller's transaction."""
        if self._enabled:
            await execute_core(session, _FORGET, {"forgotten": _key(name, subject)})

    async def refund(self, session: AsyncSession, name: str, *subject: str) -> None:
        """Take one try of this subject back, in the caller's transaction."""
        if self._enabled:
            await execute_core(session, _REFUND, {"refunded": _key(name, subject)})


def plain_address(address: str) -> IPv4Address | IPv6Address:
    """The address; an IPv4 one that a socket for both protocols shows as IPv6 as what it is. Raises ValueError."""
    ip = ip_address(address)
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def network_of(address: str) -> str:
    """What counts as one address: for IPv6 the network that one customer has."""
    try:
        ip = plain_address(address)
    except ValueError:
        return address
    return str(ip_network(f"{ip}/64", strict=False)) if ip.version == 6 else str(ip)


def _key(name: str, subject: tuple[str, ...]) -> bytes:
    return sha256("\0".join((name, *subject)).encode()).digest()
