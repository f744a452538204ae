"""Notices by mail about what happens to an account."""

import re
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.db.engine import execute_core
from kitsu.db.models import AuthSession, User
from kitsu.domain.accounts.context import AccountContext
from kitsu.domain.accounts.mail import send_mail
from kitsu.domain.accounts.sessions import Device
from kitsu.domain.rate_limits import network_of

Event = Literal["new-device", "password-changed", "email-changed", "second-factor-changed", "sign-in-link-changed"]
"""Each has the templates `notice-EVENT`. The last two show the value `change`, a sentence, if it is given."""

MAX_DEVICES = 1000  # of a user, newest first, with which a login is compared
MAX_DEVICE_LENGTH = 150
SESSION_TIME = timedelta(days=30)
"""An older account without sessions had some that were purged."""


async def notify(
    session: AsyncSession,
    context: AccountContext,
    user_id: UUID,
    event: Event,
    *,
    to: str | None = None,
    is_required: bool = False,
    **values: str,
) -> None:
    """Tell a user of an event when the session's transaction is committed, if NOTIFY_SECURITY_EVENTS holds.

    `to` is an address in place of the account's. A notice that is required is sent whenever mail is set up.
    """
    if context.notify_security_events or (is_required and context.mail_is_set_up):
        await send_notice(session, user_id, event, to=to, **values)


async def send_notice(
    session: AsyncSession, user_id: UUID, event: Event, *, to: str | None = None, **values: str
) -> None:
    """Tell a user of an event, as `notify`, whatever NOTIFY_SECURITY_EVENTS is."""
    query = select(User.email, User.username, User.timezone).where(User.id == user_id)
    user = (await execute_core(session, query)).one_or_none()
    if user is None:  # deleted a moment ago
        return
    time = f"{datetime.now(ZoneInfo(user.timezone)):%Y-%m-%d %H:%M} ({user.timezone})"
    await send_mail(
        session, f"notice-{event}", to or user.email, token_id=None, username=user.username, time=time, **values
    )


async def notify_new_device(session: AsyncSession, context: AccountContext, user_id: UUID, device: Device) -> None:
    """Tell a user of a login with a browser from a network that no session so far had, unless it is the first login.

    It must be called before the session of the login starts.
    """
    if not context.notify_security_events:
        return
    query = select(AuthSession.ip, AuthSession.user_agent).where(AuthSession.user_id == user_id)
    rows = await execute_core(session, query.order_by(AuthSession.id.desc()).limit(MAX_DEVICES))
    known = {_fingerprint(row.ip or "", row.user_agent) for row in rows}
    is_old = select(User.created_at < func.now() - SESSION_TIME).where(User.id == user_id)
    if _fingerprint(device.ip, device.user_agent) not in known and (known or await session.scalar(is_old)):
        shown = " ".join((device.user_agent or "unknown").split())[:MAX_DEVICE_LENGTH]
        await notify(session, context, user_id, "new-device", device=shown, ip=device.ip)


def _fingerprint(ip: str, user_agent: str | None) -> tuple[str, str]:
    # Without numbers: a browser has a new version each month. Sessions store 255 characters.
    return network_of(ip), re.sub(r"[0-9._]+", "", (user_agent or "")[:255])
