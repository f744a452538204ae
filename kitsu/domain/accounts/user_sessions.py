"""The sessions of other users, for administrators and the command line."""

from uuid import UUID

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import User
from kitsu.domain.accounts.ended_sessions import IS_ACTIVE, revoke_sessions
from kitsu.domain.accounts.identities import ACTIVE_SESSIONS, Session, session_of
from kitsu.domain.admin_log import log_action
from kitsu.errors import NotFound

log = structlog.get_logger("kitsu.security")


class UserSessions:
    """Lists and ends the sessions of a user."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def active(self, email: str) -> list[Session]:
        """Return the active sessions of the user with this e-mail, last used first. Raises NotFound."""
        parameters = {"user_id": (await self._by_email(email)).id, "session_id": None}
        rows = await execute_core(self._session, ACTIVE_SESSIONS, parameters)
        return [session_of(row) for row in rows]

    async def end_all_of(self, email: str) -> int:
        """End the sessions of the user with this e-mail, for a command. Return their number. Raises NotFound."""
        return await self._end_all(await self._by_email(email), by=None)

    async def end_all(self, user_id: UUID, *, by: UUID) -> int:
        """End the sessions of a user, for an administrator. Return their number. Raises NotFound."""
        user = await self._session.get(User, user_id)
        if user is None:
            raise NotFound("User not found")
        return await self._end_all(user, by=by)

    async def _end_all(self, user: User, *, by: UUID | None) -> int:
        user_id = user.id
        ended = await revoke_sessions(self._session, "ended", user_id, *IS_ACTIVE)
        number = len(ended.all())
        if number:
            await log_action(self._session, by, "sessions ended", user.username, user_id, number=number)
        await self._session.commit()
        log.info("sessions ended", user_id=str(user_id), number=number)
        return number

    async def _by_email(self, email: str) -> User:
        by_email = select(User).where(func.lower(User.email) == func.lower(email.strip()))
        user = await self._session.scalar(by_email)
        if user is None:
            raise NotFound(f"No user has the e-mail {email}.")
        return user
