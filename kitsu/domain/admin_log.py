"""The log of what administrators do. An entry belongs to the transaction of its action."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import Uuid, bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import AdminAction, User
from kitsu.db.statements import StatementRunner
from kitsu.domain.mapping import Rows, columns_of
from kitsu.domain.pagination import Listing, Page, PageRequest, descending

Action = Literal[
    "user created",
    "user changed",
    "user deleted",
    "user invited",
    "invitation revoked",
    "session ended",
    "sessions ended",
    "reset mail sent",
    "password changed",
    "second factor reset",
    "collection hidden",
]


class LoggedAction(msgspec.Struct):
    """What an administrator did. `details` has values, or pairs of values before and after."""

    id: int
    made_at: datetime
    by: str | None
    action: str
    subject: str
    subject_user_id: UUID | None
    details: dict[str, Any]


_ACTIONS: Rows = select(*columns_of(LoggedAction, AdminAction, by=User.username)).outerjoin(
    User, User.id == AdminAction.user_id
)
_CONDITIONS = {
    "user": AdminAction.user_id == bindparam("user", type_=Uuid),
    "subject": AdminAction.subject_user_id == bindparam("subject", type_=Uuid),
}
_LISTINGS = {
    name: Listing(
        LoggedAction, _ACTIONS.where(*where), descending(AdminAction.id), counted=select(AdminAction.id).where(*where)
    )
    for name, where in {"": (), **{name: (condition,) for name, condition in _CONDITIONS.items()}}.items()
}


async def log_action(
    session: AsyncSession, by: UUID | None, action: Action, subject: str, subject_user_id: UUID | None, **details: Any
) -> None:
    """Log an action of an administrator, None for a command's, in the caller's transaction."""
    entry = {"user_id": by, "action": action, "subject": subject, "subject_user_id": subject_user_id}
    await execute_core(session, insert(AdminAction).values(**entry, details=details))


class AdminLogReader:
    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    async def page(
        self, request: PageRequest, *, user: UUID | None = None, subject: UUID | None = None
    ) -> Page[LoggedAction]:
        """Return actions, newest first: all, those of an administrator, or those that concern a user."""
        given = {name: value for name, value in {"user": user, "subject": subject}.items() if value is not None}
        return await _LISTINGS[next(iter(given), "")].page(self._runner, given, request)
