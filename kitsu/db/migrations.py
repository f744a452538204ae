"""The schema's revisions in the code and in the database, and migrations between them.

A revision names the oldest revision whose version of Kitsu can serve with it (`compatible_with`, see CONTRIBUTING.md).
Older versions don't have the file, so `migrate` notes that in the database, as the comment of Alembic's table.
"""

import asyncio
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.db.errors import LOCK_NOT_AVAILABLE, sqlstate

# Beside the package in a checkout, inside it in an installed wheel.
_PACKAGE = Path(__file__).parent.parent
SCRIPTS = next(path for path in (_PACKAGE / "migrations", _PACKAGE.parent / "migrations") if path.is_dir())

# "kitsu" as a number. The lock allows one migration at a time, whatever the number of instances.
_LOCK = 0x6B69747375

# Statements queue behind one that waits for a table, so a migration waits for less than a request does
# (DB_LOCK_TIMEOUT_MS), and is tried again.
LOCK_TIMEOUT_MS = 500
LOCK_ATTEMPTS = 200  # five minutes
LOCK_PAUSE_SECONDS = 1.0

_NOTE = text("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')")
_NOTE_WORDS = " is compatible with "


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
def _scripts() -> list[Script]:
    """Return the revisions' files, oldest first."""
    return [*ScriptDirectory.from_config(alembic_config()).walk_revisions()][::-1]


def revisions() -> list[str]:
    """Return the revisions that this version of Kitsu can migrate from, newest first."""
    return [script.revision for script in reversed(_scripts())]


def head() -> str:
    """Return the revision that this version of Kitsu needs."""
    return revisions()[0]


def compatible_with(revision: str) -> str:
    """Return the oldest revision whose version of Kitsu can serve with the schema of a revision of this version."""
    order = [script.revision for script in _scripts()]
    made = _scripts()[: order.index(revision) + 1]
    return max((getattr(script.module, "compatible_with", script.revision) for script in made), key=order.index)


async def current(engine: AsyncEngine) -> str | None:
    """Return the database's revision, None for an empty database."""
    async with engine.connect() as connection:
        return await connection.run_sync(_current)


async def check_schema(engine: AsyncEngine) -> None:
    """Raise SchemaError unless this version can serve with the database's schema."""
    if found := await problem(engine):
        raise SchemaError(found)


async def problem(engine: AsyncEngine) -> str | None:
    """Return in one line why this version can't serve with the database's schema, or None. Raises SchemaError."""
    async with engine.connect() as connection:
        return await connection.run_sync(_problem)


async def migrate(
    engine: AsyncEngine,
    revision: str = "head",
    *,
    rolling: bool = False,
    waiting: Callable[[], None] = lambda: None,
    locked: Callable[[], None] = lambda: None,
) -> tuple[str | None, str | None]:
    """Upgrade or downgrade the schema in one transaction, and return the revisions before and after.

    A newer schema that this version can serve with stays as it is. Concurrent calls wait for each other, after a call
    of `waiting`. While a table is locked the call tries again, after a first call of `locked`. Raises SchemaError for
    an unknown revision, for a table that stays locked, and with `rolling` for a schema that running instances can't
    serve with; then nothing was changed.
    """
    for attempt in range(LOCK_ATTEMPTS):
        try:
            async with engine.begin() as connection:
                if not await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}):
                    waiting()
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
                return await connection.run_sync(_migrate, revision, rolling)
        except DBAPIError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
        if attempt == 0:
            locked()
        await asyncio.sleep(LOCK_PAUSE_SECONDS)
    raise SchemaError(
        "Nothing was migrated: a long transaction has a lock on a table, such as a backup or an import. "
        "pg_stat_activity lists it. Run `kitsu migrate` again when it has ended."
    )


async def make_revision(engine: AsyncEngine, message: str) -> Path | None:
    """Write a revision with the differences between models and database. Raises SchemaError.

    Return its path, or None if there are no differences.
    """
    if (revision := await current(engine)) != head():
        raise SchemaError(_explain(revision) or "")
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


def _problem(connection: Connection) -> str | None:
    revision = _current(connection)
    return _explain(revision, None if revision in revisions() else connection.scalar(_NOTE))


def _explain(revision: str | None, note: str | None = None) -> str | None:
    if revision == head():
        return None
    if revision is None:
        return "The database has no tables yet: run `kitsu migrate`."
    if revision in revisions():
        running = (
            "stop running instances before" if _ends_service(revision, head()) else "running instances can serve on"
        )
        return f"The database's schema {revision} is older than Kitsu needs ({head()}): run `kitsu migrate`; {running}."
    # A note of another revision is out of date, as after `alembic stamp`.
    noted, _, oldest = (note or "").partition(_NOTE_WORDS)
    if noted != revision:
        return (
            f"The database's schema {revision} is not known to this version of Kitsu, which has {head()}: "
            "it is newer, or not Kitsu's. Run the version that made it."
        )
    if oldest in revisions():
        return None
    return (
        f"The database's schema {revision} is newer than this version of Kitsu, which has {head()}, can serve with: "
        f"run a version that has {oldest} or newer."
    )


def _ends_service(before: str, after: str) -> bool:
    """Return whether instances of one revision can't serve with the schema of another."""
    order = revisions()
    return order.index(compatible_with(after)) < order.index(before)


def _migrate(connection: Connection, revision: str, rolling: bool) -> tuple[str | None, str | None]:  # noqa: FBT001 - of `run_sync`
    before = _current(connection)
    if before is not None and before not in revisions():
        if found := _problem(connection):
            raise SchemaError(found)
        if revision == "head":
            return before, before
        raise SchemaError(f"The database's schema {before} is newer than {head()}: use the version that made it.")
    _move(connection, before, revision, rolling=rolling)
    after = _current(connection)
    if after is not None:
        # PostgreSQL takes no parameters here; the revisions are those of files.
        note = f"{after}{_NOTE_WORDS}{compatible_with(after)}"
        if connection.scalar(_NOTE) != note:
            connection.execute(text(f"COMMENT ON TABLE alembic_version IS '{note}'"))
    return before, after


def _move(connection: Connection, before: str | None, revision: str, *, rolling: bool) -> None:
    order = [None, *reversed(revisions())]
    target = {"head": order[-1], "base": None}.get(revision, revision)
    if target not in order:
        raise SchemaError(f"There is no revision {revision}; the newest is {head()}.")
    if rolling and before is not None and target != before and (target is None or _ends_service(before, target)):
        raise SchemaError(
            f"Running instances, which have the schema {before}, can't serve with {target or 'none'}: stop them and "
            "migrate without --rolling, or upgrade to a version between first."
        )
    move = command.downgrade if order.index(target) < order.index(before) else command.upgrade
    move(alembic_config(connection), revision)
