"""A user's own rows: how they are written, so that what was answered is on disk."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from advanced_alchemy.exceptions import IntegrityError as RepositoryIntegrityError
from sqlalchemy import Executable
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.sqlstate import violated_constraint
from kitsu.errors import NotFound, Unauthorized


class OwnRows:
    """Runs a statement that writes: it is one transaction, committed when it returns."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def write(self, statement: Executable, parameters: Mapping[str, Any]) -> Any:
        """The first row that the statement returns, None without one. Raises Unauthorized, NotFound."""
        with references():
            async with self._engine.connect() as connection:
                return (await connection.execute(statement, parameters)).first()

    async def change(self, statement: Executable, parameters: Mapping[str, Any]) -> int:
        """How many rows the statement changed or deleted."""
        async with self._engine.connect() as connection:
            changed: int = (await connection.execute(statement, parameters)).rowcount
        return changed


@contextmanager
def references() -> Iterator[None]:
    """What a row is about may go while it is written: the user (Unauthorized), the anime or episode (NotFound)."""
    try:
        yield
    except (IntegrityError, RepositoryIntegrityError) as error:
        constraint = violated_constraint(error) or ""
        if constraint.endswith("_user_id_users"):
            raise Unauthorized from error
        if constraint.endswith("_anime_id_anime"):
            raise NotFound("Anime not found") from error
        if constraint.endswith("_episode_id_episodes"):
            raise NotFound("Episode not found") from error
        raise
