"""The tables of operations: command runs, schedules, stray files, administrators' actions, daily numbers, uploads."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from advanced_alchemy.base import DefaultBase
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    String,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kitsu.db.columns import CurrentTimestamp, Entity, Id, Timestamp


class CommandRun(DefaultBase):
    """The last successful run of a command."""

    __tablename__ = "command_runs"

    command: Mapped[str] = mapped_column(String(32), primary_key=True)
    ended_at: Mapped[Timestamp]


class Schedule(DefaultBase):
    """What the workers run regularly."""

    __tablename__ = "schedules"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    due_at: Mapped[Timestamp]
    """The time for which it was last enqueued."""


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
    """The administrator; null for a command, and when the administrator is gone."""
    action: Mapped[str] = mapped_column(String(32))
    """One of `admin_log.Action`."""
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


class ImportRun(Entity):
    """An import of an uploaded file into the catalogue, which jobs check and apply."""

    __tablename__ = "import_runs"
    __table_args__ = (
        CheckConstraint("state IN ('uploaded', 'checking', 'checked', 'importing', 'done', 'failed')", name="state"),
    )

    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    """Who uploaded the file."""
    file_name: Mapped[str] = mapped_column(String(255))
    size: Mapped[int] = mapped_column(BigInteger, server_default="0")
    bytes_read: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """How far the check or the import has read the file."""
    state: Mapped[str] = mapped_column(String(16), server_default="uploaded")
    report: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class ImportChunk(DefaultBase):
    """A piece of the file of an import, so that a worker on any machine can read it."""

    __tablename__ = "import_chunks"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("import_runs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


Index("ix_import_runs_created_at", ImportRun.created_at.desc(), ImportRun.id.desc())
Index("ix_admin_actions_subject", AdminAction.subject_user_id, AdminAction.id.desc())
Index("ix_admin_actions_user_id", AdminAction.user_id, AdminAction.id.desc())
