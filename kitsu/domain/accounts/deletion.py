"""Deletion of accounts whose time has come, in small steps: a user may have 100,000 rows."""

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

import structlog
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Executable,
    ForeignKeyConstraint,
    Row,
    Table,
    Uuid,
    bindparam,
    delete,
    func,
    null,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import Tombstone, User
from kitsu.domain.accounts.context import OrphanNotes
from kitsu.domain.accounts.deactivation import delete_user
from kitsu.domain.accounts.users import administrators
from kitsu.domain.jobs import Job, enqueue

BATCH = 1000

log = structlog.get_logger("kitsu.security")


class DeleteAccount(Job, frozen=True):
    """Deletes an account that its owner deactivated."""

    name: ClassVar[str] = "delete-account"
    user_id: UUID


_user_id = bindparam("owner", type_=Uuid)
_users = User.metadata.tables[User.__tablename__]
_is_due = User.deletion_at <= func.clock_timestamp(type_=DateTime(timezone=True))
_DUE = select(User.id).where(_is_due).order_by(User.deletion_at)
_LOCK = select(User.avatar, User.role).where(User.id == _user_id, _is_due).with_for_update()


def _batch(table: Table, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition for the next rows of a table."""
    keys = list(table.primary_key)
    return tuple_(*keys).in_(select(*keys).where(condition).limit(BATCH).correlate(None))


def _references(to: Table) -> Iterator[tuple[Table, ForeignKeyConstraint]]:
    for table in User.metadata.sorted_tables:
        for key in table.foreign_key_constraints:
            if key.referred_table is to and key.ondelete in {"CASCADE", "SET NULL"}:
                yield table, key


def _statements() -> Iterator[Executable]:
    """Yield statements that together do what PostgreSQL does when a user is deleted, for a batch of rows each."""
    for table, key in _references(_users):
        (column,) = key.columns
        condition = column == _user_id
        if key.ondelete == "SET NULL":
            yield update(table).where(_batch(table, condition)).values({column: null()})
            continue
        for child, its_key in _references(table):
            if its_key.ondelete == "CASCADE":
                of_user = select(*(element.column for element in its_key.elements)).where(condition)
                yield delete(child).where(_batch(child, tuple_(*its_key.columns).in_(of_user)))
        if table is not Tombstone.__table__:
            yield delete(table).where(_batch(table, condition))
    # The deletion of the others adds some.
    tombstones = User.metadata.tables[Tombstone.__tablename__]
    yield delete(tombstones).where(_batch(tombstones, tombstones.c.user_id == _user_id))


_STATEMENTS = tuple(_statements())


async def enqueue_deletions(session: AsyncSession) -> None:
    """Enqueue the deletion of each account whose time has come, in the caller's transaction."""
    for user_id in await session.scalars(_DUE):
        await enqueue(session, DeleteAccount(user_id))


async def delete_account(engine: AsyncEngine, orphans: OrphanNotes, user_id: UUID) -> None:
    """Delete an account with all rows and files, unless its owner has come back or it is the last administrator.

    Each step is a transaction. Run again, it continues where it was interrupted, since its user can't sign in any more.
    """
    async with AsyncSession(engine) as session:
        if await _locked(session, user_id) is None:
            return
        await session.rollback()
    for statement in _STATEMENTS:
        changed = BATCH
        while changed == BATCH:
            async with engine.begin() as connection:
                changed = (await connection.execute(statement, {"owner": user_id})).rowcount
    async with AsyncSession(engine) as session:
        if (row := await _locked(session, user_id)) is not None:
            await delete_user(session, orphans, user_id, row.avatar)


async def _locked(session: AsyncSession, user_id: UUID) -> Row[Any] | None:
    """Lock an account that is to be deleted, and return it. Return None if it is gone or has to stay."""
    active = await administrators(session)  # before the user, as in other transactions
    row = (await execute_core(session, _LOCK, {"owner": user_id})).one_or_none()
    if row is not None and row.role == "admin" and not active:
        log.warning("deletion refused", user_id=str(user_id), reason="last_administrator")
        return None
    return row
