"""What becomes of a login attempt, by the counters of failures. `login_limits.py` keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from kitsu.domain.rate_limits import Policy

MAX_DELAY_SECONDS = 300
"""The longest delay of a network that tries an e-mail for the first time."""


class LoginPolicies(msgspec.Struct, frozen=True):
    """The limits. Their windows begin with the first attempt."""

    pair: Policy
    """Failures of an e-mail from a network."""
    network: Policy
    """E-mails with failures from a network."""
    email: Policy
    """Failures of an e-mail from all networks, before others have to wait."""


@dataclass(slots=True)
class Counter:
    """A row of `login_counters`."""

    failures: int
    unfinished: int
    waits_until: datetime | None
    ends_at: datetime

    @property
    def tries(self) -> int:
        return self.failures + self.unfinished

    @property
    def is_needed(self) -> bool:
        return self.tries > 0 or self.waits_until is not None


class Decision(msgspec.Struct, frozen=True):
    """What becomes of an attempt: it is admitted, waits for unfinished ones, or is refused for some seconds."""

    policy: Policy | None = None
    """That refuses it, or makes it wait."""
    seconds: int | None = None
    """None for an attempt that waits for unfinished ones."""
    is_postponed: bool = False
    """Whether it is the first one of a network that has to wait; refused ones change no counter."""

    @property
    def is_admitted(self) -> bool:
        return self.policy is None


def decide(policies: LoginPolicies, counters: Sequence[Counter], now: datetime, *, is_known: bool) -> Decision:
    """Return what becomes of an attempt. `counters` are those of the pair, the network and the e-mail.

    `is_known`: the user of the e-mail was signed in from this network.
    """
    pair, network, email = counters
    checked = [(policies.pair, pair)]
    if pair.failures == 0:
        checked.append((policies.network, network))
    for policy, counter in checked:
        if counter.failures >= policy.limit:
            return Decision(policy, seconds_until(counter.ends_at, now))
        if counter.tries >= policy.limit:
            return Decision(policy)
    beyond = email.tries - policies.email.limit
    if beyond < 0 or is_known:
        return Decision()
    if pair.waits_until is None:
        return Decision(policies.email, min(2**beyond, MAX_DELAY_SECONDS), is_postponed=True)
    if pair.waits_until > now:
        return Decision(policies.email, seconds_until(pair.waits_until, now))
    return Decision()


def seconds_until(until: datetime, now: datetime) -> int:
    """Return the whole seconds until a time, rounded up, at least one."""
    return max(1, -int((now - until).total_seconds() // 1))
