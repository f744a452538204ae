"""The tables of operations: runs of commands, stray files, actions of administrators, and daily numbers."""

from datetime import date
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import BigInteger, Date, ForeignKey, Identity, Index, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CurrentTimestamp, Id, Timestamp


class CommandRun(DefaultBase):
    """The last successful run of a command."""

    __tablename__ = "command_runs"

    command: Mapped[str] = mapped_column(String(32), primary_key=True)
    ended_at: Mapped[Timestamp]


class StrayFile(DefaultBase):
    """A file that is being stored, replaced or removed. An old row was interrupted; `kitsu purge` finishes its work."""

    __tablename__ = "stray_files"

    path: Mapped[str] = mapped_column(String(255), primary_key=True)  # as in `users.avatar`
    since: Mapped[CurrentTimestamp]


class AdminAction(DefaultBase):
    """What an administrator did to a user or to what a user owns."""

    __tablename__ = "admin_actions"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    made_at: Mapped[CurrentTimestamp]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    """The administrator."""
    action: Mapped[str] = mapped_column(String(32))
    """`user created`, `user changed`, `user deleted`, `session ended` or `collection hidden`."""
    subject: Mapped[str] = mapped_column(Text)
    """The name of the user or the collection at that time."""
    subject_user_id: Mapped[Id | None]
    """The user, who may be gone."""
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)


class MissedSearch(DefaultBase):
    """A text that was searched for without a result on a day."""

    __tablename__ = "missed_searches"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    query: Mapped[str] = mapped_column(String(100), primary_key=True)
    count: Mapped[int] = mapped_column(server_default="1")


class DailyNumbers(DefaultBase):
    """What viewers did on a day. `kitsu purge` counts it on the day after."""

    __tablename__ = "daily_numbers"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    active_viewers: Mapped[int]
    watched_episodes: Mapped[int]


Index("ix_admin_actions_subject", AdminAction.subject_user_id, AdminAction.id.desc())
Index("ix_admin_actions_user_id", AdminAction.user_id, AdminAction.id.desc())
