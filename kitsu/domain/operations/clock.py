"""The clock of this machine, compared with the database's.

Tokens and codes are checked by the machine's clock, sessions and links by the database's.
"""

import time

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

MAX_CLOCK_DIFFERENCE_SECONDS = 10
"""Access tokens are accepted for as long after their end."""

_NOW = select(func.extract("epoch", func.clock_timestamp()))


async def clock_difference(engine: AsyncEngine) -> float:
    """Return by at least how many seconds this machine's clock is ahead of the database's; negative if it is behind."""
    async with engine.connect() as connection:
        before = time.time()
        there = float((await connection.execute(_NOW)).scalar_one())
        after = time.time()
    # The database's time between these two is no difference: it may be that of the statement itself.
    return round(max(before - there, 0.0) + min(after - there, 0.0), 3)


def is_too_large(difference: float) -> bool:
    """Return whether users notice such a difference."""
    return abs(difference) > MAX_CLOCK_DIFFERENCE_SECONDS
