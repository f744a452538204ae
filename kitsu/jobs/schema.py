"""Whether the tables of the queue fit the installed version of pgqueuer."""

from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from sqlalchemy.ext.asyncio import AsyncEngine


async def schema_differences(engine: AsyncEngine) -> list[str]:
    """Return the statements that pgqueuer's own upgrade would run."""
    async with engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        return list((await Queries(AsyncpgDriver(raw)).plan_upgrade()).statements)
