"""The schema's revisions in the code and in the database, and migrations between them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

# Beside the package in a checkout, inside it in an installed wheel.
_PACKAGE = Path(__file__).parent.parent
SCRIPTS = next(path for path in (_PACKAGE / "migrations", _PACKAGE.parent / "migrations") if path.is_dir())

# "kitsu" as a number. The lock allows one migration at a time, whatever the number of instances.
_LOCK = 0x6B69747375


class SchemaError(Exception):
    """A schema that this version can't work with; the message is one line for an operator."""


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration. An alembic.ini could disagree with the settings."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@cache
def revisions() -> list[str]:
    """Return the revisions that this version of Kitsu can migrate from, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]


def head() -> str:
    """Return the revision that this version of Kitsu needs."""
    return revisions()[0]


async def current(engine: AsyncEngine) -> str | None:
    """Return the database's revision, None for an empty database."""
    async with engine.connect() as connection:
        return await connection.run_sync(_current)


async def check_schema(engine: AsyncEngine) -> None:
    """Raise SchemaError unless the database has the revision of this version."""
    if problem := explain(await current(engine)):
        raise SchemaError(problem)


def explain(revision: str | None) -> str | None:
    """Return what is wrong with a database at this revision in one line, or None."""
    if revision == head():
        return None
    if revision is None:
        return "The database has no tables yet: run `kitsu migrate`."
    if revision in revisions():
        return f"The database's schema {revision} is older than Kitsu needs ({head()}): run `kitsu migrate`."
    return (
        f"The database's schema {revision} is not known to this version of Kitsu, which has {head()}: "
        "it is newer, or not Kitsu's. Run the version that made it."
    )


async def migrate(
    engine: AsyncEngine, revision: str = "head", *, waiting: Callable[[], None] = lambda: None
) -> tuple[str | None, str | None]:
    """Upgrade or downgrade the schema in one transaction, and return the revisions before and after.

    Concurrent calls wait for each other, after a call of `waiting`. Raises SchemaError for an unknown revision.
    """
    async with engine.begin() as connection:
        if not await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}):
            waiting()
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        before = await connection.run_sync(_current)
        if before is not None and before not in revisions():
            raise SchemaError(explain(before) or "")
        await connection.run_sync(_move, before, revision)
        return before, await connection.run_sync(_current)


async def make_revision(engine: AsyncEngine, message: str) -> Path | None:
    """Write a revision with the differences between models and database. Raises SchemaError.

    Return its path, or None if there are no differences.
    """
    await check_schema(engine)
    next_id = f"{int(head()) + 1:04}"
    async with engine.connect() as connection:
        script = await connection.run_sync(
            lambda sync: command.revision(
                alembic_config(sync),
                message,
                autogenerate=True,
                rev_id=next_id,
                process_revision_directives=_drop_empty,
            )
        )
    return Path(script.path) if isinstance(script, Script) else None


def _drop_empty(_context: object, _revision: object, directives: list[Any]) -> None:
    if directives[0].upgrade_ops.is_empty():
        directives.clear()


def _current(connection: Connection) -> str | None:
    heads = MigrationContext.configure(connection).get_current_heads()
    if len(heads) > 1:
        raise SchemaError(
            f"The database is at several revisions ({', '.join(heads)}): settle its alembic_version table."
        )
    return heads[0] if heads else None


def _move(connection: Connection, before: str | None, revision: str) -> None:
    order = [None, *reversed(revisions())]
    target = {"head": order[-1], "base": None}.get(revision, revision)
    if target not in order:
        raise SchemaError(f"There is no revision {revision}; the newest is {head()}.")
    move = command.downgrade if order.index(target) < order.index(before) else command.upgrade
    move(alembic_config(connection), revision)
